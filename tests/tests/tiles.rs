//! How products are cut on GPUs: which tiles, which slices, and that slices change nothing but roundings.

use std::collections::HashSet;
use wgpu_sft::gpu::{Counts, Family, Gpu, GpuOptions, Of, PlanBuilder, Rows, Scalars, Storage};
use wgpu_sft::model::Use;
use wgpu_sft::ops::matmul::{Class, Layout, Matmul, Matrix, Output, Product, Tile, scratch_len, tune};
use wgpu_sft::random::{Stream, block, normals};
use wgpu_sft::reference;
use wgpu_sft::train::{TrainConfig, Trainer, memory};
use wgpu_sft_tests::golden_model;

const FAMILIES: [Family; 4] = [
    Family::Tiled,
    Family::Subgroup(8),
    Family::Register,
    Family::Cooperative {
        size: 16,
        lanes: [32, 32],
    },
];

#[test]
fn candidates_are_tiles_of_the_family_and_the_first_is_picked() {
    for family in FAMILIES {
        let plain = if family.is_cpu() { family } else { Family::Tiled };
        let all: HashSet<Tile> = [Tile::all(family), Tile::all(plain)].concat().into_iter().collect();
        let mut seen = HashSet::new();
        for m in [1, 4, 5, 16, 17, 48, 576, 2048, 70_001] {
            for n in [1, 8, 33, 64, 576, 3072, 49_152] {
                for k in [4, 16, 576, 8192] {
                    let candidates = Tile::candidates(family, m, n, k);
                    assert_eq!(
                        candidates.first(),
                        Some(&Tile::pick(family, m, n, k)),
                        "{family} {m}x{n}x{k}"
                    );
                    let distinct: HashSet<_> = candidates.iter().copied().collect();
                    assert_eq!(distinct.len(), candidates.len(), "{family} {m}x{n}x{k}: a tile twice");
                    // A CPU adapter's tiles are cut to narrow results.
                    assert!(
                        family.is_cpu() || distinct.is_subset(&all),
                        "{family} {m}x{n}x{k}: {candidates:?}"
                    );
                    seen.insert(candidates[0]);
                }
            }
        }
        assert!(
            family.is_cpu() || Tile::all(family).iter().all(|tile| seen.contains(tile)),
            "{family}: {seen:?}"
        );
    }
}

#[test]
fn large_results_take_large_tiles() {
    let results = |m, n, k| match Tile::pick(Family::Tiled, m, n, k) {
        Tile::Tiled {
            across,
            down,
            rows,
            vectors,
            ..
        } => [down * rows, across * vectors * 4],
        other => panic!("{other:?}"),
    };
    assert_eq!(results(8192, 3072, 576), [128, 128]);
    assert_eq!(results(1024, 1536, 576), [64, 128]);
    assert_eq!(results(512, 1536, 576), [64, 64]);
    // A quarter of a 64×64 tile would lie inside.
    assert_eq!(results(576, 16, 2048), [32, 32]);
    assert_eq!(results(16, 576, 2048), [16, 64]);
    assert_eq!(results(1, 49_152, 576), [4, 64]);
}

fn gpu(family: Family) -> Gpu {
    let options = GpuOptions {
        family: Some(family),
        ..GpuOptions::default()
    };
    pollster::block_on(Gpu::request(&options)).expect("an adapter")
}

#[test]
fn scratch_is_allocated_once_and_planned() {
    let [tiled, register] = [Family::Tiled, Family::Register].map(|family| {
        let gpu = gpu(family);
        let model = golden_model(&gpu, "llama_tied_gqa", Use::Trained);
        let limits = (gpu.max_binding(), family);
        let plan = memory::plan(
            model.config(),
            Use::Trained,
            [Storage::F32; 2],
            None,
            (100, false),
            limits,
        )
        .expect("a plan");
        let trainer = pollster::block_on(Trainer::new(model, &TrainConfig::default(), 3, 100)).expect("a trainer");
        let live = gpu.memory().live();
        drop(trainer);
        (plan.activations, live)
    });
    assert_eq!(tiled.0 - register.0, 4 * scratch_len(Family::Tiled));
    // Plans' own uniforms may differ a little.
    assert!(
        (tiled.1 - register.1).abs_diff(tiled.0 - register.0) < 8192,
        "{tiled:?} {register:?}"
    );
}

/// A product on the tiled family, of a batch of each of these sizes in turn: its dispatches and its largest error, relative
/// to the result's largest magnitude.
fn products(layout: Layout, [m, n, k]: [usize; 3], batches: &[usize]) -> (usize, f64) {
    let gpu = gpu(Family::Tiled);
    let numbers = |len: usize, lane: u32| -> Vec<f32> {
        let draw = |i| normals(block(3, Stream::Init, lane, i)).map(|v| v as f32);
        (0..len.div_ceil(4) as u64).flat_map(draw).take(len).collect()
    };
    let (a, b) = (numbers(m * k, 0), numbers(n * k, 1));
    let (ga, gb) = (gpu.upload("a", &a), gpu.upload("b", &b));
    let c = gpu.tensor("c", (m * n) as u64, Storage::F32);
    let [a_stride, b_stride] = match layout {
        Layout::Nt => [k, k],
        Layout::Nn => [k, n],
        Layout::Tn => [m, n],
    };
    let operands = (
        Matrix::new(&ga, a_stride as u32),
        Matrix::new(&gb, b_stride as u32),
        Matrix::new(&c, n as u32),
    );
    let most = if layout == Layout::Tn { k } else { m } as u32;
    let rows = (Rows::of(Of::Tokens), most);
    let mut plan = PlanBuilder::new(&gpu, "product");
    Matmul::new(layout, operands, (m as u32, n as u32, k as u32), rows, Output::Write).record(&mut plan);
    let plan = pollster::block_on(plan.finish()).expect("a plan");
    let mut error = 0.0f64;
    for &batch in batches {
        let counts = Counts {
            tokens: batch as u32,
            ..Counts::default()
        };
        let run = || {
            plan.run(&counts, &Scalars::default());
            pollster::block_on(gpu.read(&c)).expect("numbers")
        };
        let got = run();
        assert!(got == run(), "not the same bits again");
        let (m, k) = if layout == Layout::Tn { (m, batch) } else { (batch, k) };
        let wide = |x: &[f32]| x.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
        let want = reference::matmul::product(layout, &wide(&a[..m * k]), &wide(&b[..n * k]), (m, n, k));
        let largest = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        for (got, want) in got.iter().zip(&want) {
            error = error.max((f64::from(*got) - want).abs() / largest);
        }
    }
    (plan.dispatches(), error)
}

#[test]
fn a_gradient_over_tokens_is_cut_and_added_in_order() {
    // A batch so short that it has no row for most slices comes after a long one: nothing of that one may stay.
    let (dispatches, error) = products(Layout::Tn, [36, 16, 2000], &[2000, 90, 1]);
    assert_eq!(dispatches, 2);
    assert!(error < 1e-6, "{error:e}");
    let (dispatches, _) = products(Layout::Tn, [36, 16, 200], &[200]);
    assert_eq!(dispatches, 1, "too short to cut");
}

#[test]
fn a_long_contraction_is_cut_whatever_the_result() {
    // A narrow result in slices, a wide one in pieces of at most 1,024 steps, each added to the one before.
    let (dispatches, error) = products(Layout::Nn, [340, 12, 5000], &[340, 3]);
    assert_eq!(dispatches, 2);
    assert!(error < 1e-6, "{error:e}");
    let (dispatches, error) = products(Layout::Nn, [340, 100, 5000], &[3]);
    assert_eq!(dispatches, 5);
    assert!(error < 1e-6, "{error:e}");
}

#[test]
fn a_tile_decides_no_bit() {
    let gpu = gpu(Family::Tiled);
    let numbers: Vec<f32> = (0..40u64 * 96)
        .flat_map(|i| normals(block(5, Stream::Init, 0, i)).map(|v| v as f32))
        .take(160 * 96)
        .collect();
    let (a, c) = (gpu.upload("a", &numbers), gpu.tensor("c", 160 * 160, Storage::F32));
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        // 96×96 through 160, or 160×160 through 96.
        let (m, n, k) = if layout == Layout::Nt {
            (160, 160, 96)
        } else {
            (96, 96, 160)
        };
        let [a_stride, b_stride] = match layout {
            Layout::Nn => [160, 96],
            _ => [96, 96],
        };
        let results: HashSet<Vec<u32>> = Tile::all(Family::Tiled)
            .into_iter()
            .map(|tile| {
                let operands = (Matrix::new(&a, a_stride), Matrix::new(&a, b_stride), Matrix::new(&c, n));
                let rows = Rows::fixed(if layout == Layout::Tn { k } else { m });
                let mut plan = PlanBuilder::new(&gpu, "product");
                Matmul::new(layout, operands, (m, n, k), (rows, 160), Output::Write).record_tile(&mut plan, tile);
                let plan = pollster::block_on(plan.finish()).expect("a plan");
                plan.run(&Counts::default(), &Scalars::default());
                let got = pollster::block_on(gpu.read(&c)).expect("numbers");
                got[..(m * n) as usize].iter().map(|v| v.to_bits()).collect()
            })
            .collect();
        assert_eq!(results.len(), 1, "{layout:?}");
    }
}

/// Also where the sums of all rows' slices find no room, and where by the rows alone nothing would be cut.
#[test]
fn contractions_cut_as_for_one_row_have_its_bits() {
    let gpu = gpu(Family::Tiled);
    let (n, k) = (4096u32, 1024u32);
    let numbers: Vec<f32> = (0..u64::from(n * k / 4))
        .flat_map(|i| normals(block(6, Stream::Init, 0, i)).map(|v| v as f32))
        .collect();
    let x = gpu.upload("x", &numbers[..70 * k as usize]);
    let weight = gpu.upload("weight", &numbers);
    let product = |m: u32, first: u32, as_rows: Option<u32>| {
        let c = gpu.tensor("c", u64::from(m * n), Storage::F32);
        let a = Matrix {
            offset: first * k,
            ..Matrix::new(&x, k)
        };
        let mut plan = PlanBuilder::new(&gpu, "product");
        if let Some(rows) = as_rows {
            plan.slice_as(rows);
        }
        let operands = (a, Matrix::new(&weight, k), Matrix::new(&c, n));
        Matmul::new(Layout::Nt, operands, (0, n, k), (Rows::fixed(m), m), Output::Write).record(&mut plan);
        let plan = pollster::block_on(plan.finish()).expect("a plan");
        plan.run(&Counts::default(), &Scalars::default());
        let numbers = pollster::block_on(gpu.read(&c)).expect("numbers");
        let bits: Vec<u32> = numbers.iter().map(|v| v.to_bits()).collect();
        (plan.dispatches(), bits)
    };
    let (dispatches, all) = product(70, 0, Some(1));
    assert_eq!(dispatches, 4, "64 rows, and 6");
    let (dispatches, whole) = product(70, 0, None);
    assert_eq!(dispatches, 1);
    assert_ne!(all, whole);
    for row in [0, 63, 64, 69] {
        let wanted = |rows: &[u32]| rows[(row * n) as usize..][..n as usize].to_vec();
        assert_eq!(product(1, row, None), (2, wanted(&all)), "row {row}");
        assert_eq!(product(1, row, Some(70)), (1, wanted(&whole)), "row {row}");
    }
}

#[test]
fn the_fastest_tile_is_kept_and_used() {
    let gpu = gpu(Family::Tiled);
    let products = [Product {
        layout: Layout::Nt,
        m: 256,
        n: 256,
        k: 16,
    }];
    let tiles = Tile::candidates(Family::Tiled, 256, 256, 16);
    assert!(tiles.len() > 1);
    // A clock by which the second tile is the fastest. It is read once at the beginning; then for each tile before its first
    // run, before and after two more, and to see how much time is left.
    let calls = std::cell::Cell::new(0u32);
    let now = || {
        let call = calls.replace(calls.get() + 1).max(1) - 1;
        let seconds = if call / 6 == 1 { 1e-3 } else { 2e-3 };
        if matches!(call % 6, 2 | 4) { seconds } else { 0.0 }
    };
    let measured = pollster::block_on(tune(&gpu, &products, [Storage::F32; 2], now, 2.0)).expect("a choice");
    assert_eq!(measured, 1);
    let class = Class::new(Layout::Nt, Storage::F32, [256, 256, 16]);
    assert_eq!(gpu.tiles().get(&class), Some(&tiles[1]));
    assert_eq!(
        pollster::block_on(tune(&gpu, &products, [Storage::F32; 2], || 0.0, 2.0)).expect("nothing to do"),
        0,
        "known already"
    );

    // Out of time: the family's choice stays. A tile of another family is not taken.
    let late = self::gpu(Family::Tiled);
    let clock = std::cell::Cell::new(0.0);
    let now = || {
        clock.set(clock.get() + 1.0);
        clock.get()
    };
    assert_eq!(
        pollster::block_on(tune(&late, &products, [Storage::F32; 2], now, 2.0)).expect("no choice"),
        0
    );
    let foreign = Tile::all(Family::Register)[0];
    late.set_tiles([(class, foreign)]);
    assert!(late.tiles().is_empty());
}
