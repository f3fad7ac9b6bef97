//! Activations in 16 bits: how they round, what that does to the golden models' losses and gradients, and what it does not.

use crate::packing::{batches, examples, gradients, methods, model};
use crate::shaders::{each_kernel, validated};
use naga::{Scalar, TypeInner};
use wgpu_sft::Error;
use wgpu_sft::data::MicroBatch;
use wgpu_sft::formats::Dtype;
use wgpu_sft::gpu::{Access, Counts, Kernel, Of, PlanBuilder, Rows, Scalars, Storage, bindings};
use wgpu_sft::model::{Model, ModelBuilder, ModelConfig, Use, init};
use wgpu_sft::ops::{gather, rmsnorm::Place};
use wgpu_sft::train::{Recompute, TrainConfig, Trainer};
use wgpu_sft_tests::{GOLDEN, gpu, state};

/// Each storage with the largest differences from f32 that are allowed: of the loss, of a tensor's gradient (the norm of the
/// difference, divided by the gradient's norm), of all gradients together.
const STORAGES: [(Storage, [f64; 3]); 2] = [(Storage::Bf16, [6e-4, 6e-2, 3e-2]), (Storage::F16, [8e-5, 7e-3, 4e-3])];

pub fn trainer(model: Model, capacity: usize, activations: Storage, recompute: Recompute) -> Trainer {
    let config = TrainConfig {
        activations,
        recompute,
        learning_rate: Some(2e-3),
        ..TrainConfig::default()
    };
    pollster::block_on(Trainer::new(model, &config, 6, capacity as u32)).expect("a trainer")
}

/// Every document of a golden folder in one micro-batch.
fn whole(name: &str) -> (Vec<MicroBatch>, usize) {
    let examples = examples(name);
    let all: Vec<usize> = (0..examples.len()).collect();
    let tokens = examples.iter().map(|e| e.ids.len()).sum();
    (batches(&examples, &[&all]), tokens)
}

/// Squares of the norms of the difference and of what is wanted.
fn squares(got: &[f32], want: &[f32]) -> [f64; 2] {
    let sum = |terms: &mut dyn Iterator<Item = f64>| terms.map(|v| v * v).sum();
    let differences = got.iter().zip(want).map(|(a, b)| f64::from(*a) - f64::from(*b));
    [sum(&mut { differences }), sum(&mut want.iter().map(|&v| f64::from(v)))]
}

#[test]
fn losses_and_gradients_stay_close_to_those_of_f32() {
    for name in GOLDEN {
        let (batch, tokens) = whole(name);
        for (method, adapter) in methods() {
            let run = |storage| {
                let model = model(name, adapter.as_ref());
                gradients(&mut trainer(model, tokens, storage, Recompute::Off), &batch)
            };
            let (loss, want) = run(Storage::F32);
            for (storage, [most_loss, most_tensor, most_all]) in STORAGES {
                let (got_loss, got) = run(storage);
                let mut all = [0.0; 2];
                let mut worst = (0.0, "");
                for (parameter, want) in &want {
                    let [difference, size] = squares(&got[parameter], want);
                    all = [all[0] + difference, all[1] + size];
                    let relative = (difference / size).sqrt();
                    assert!(
                        relative <= most_tensor,
                        "{name}, {method}, {storage:?}, {parameter}: {relative:.1e}"
                    );
                    if relative > worst.0 {
                        worst = (relative, parameter);
                    }
                }
                let off = (got_loss - loss).abs() / loss;
                let all = (all[0] / all[1]).sqrt();
                println!(
                    "{name}, {method}, {storage:?}: loss {off:.1e}, gradients {all:.1e}, worst {:.1e} {}",
                    worst.0, worst.1
                );
                assert!(off > 0.0 && all > 0.0, "{name}, {method}: {storage:?} rounds nothing");
                assert!(off <= most_loss, "{name}, {method}, {storage:?}: loss {off:.1e}");
                assert!(all <= most_all, "{name}, {method}, {storage:?}: gradients {all:.1e}");
            }
        }
    }
}

/// The words of `numbers` after a copy into this storage, and what the `half` crate makes of them.
fn rounded(numbers: &[f32], storage: Storage) -> [Vec<u16>; 2] {
    let gpu = gpu();
    let n = numbers.len() as u32;
    assert!(n.is_multiple_of(4));
    let (x, y) = (gpu.upload("x", numbers), gpu.tensor("y", n.into(), storage));
    let index = gpu.upload_u32("index", &(0..n / 4).collect::<Vec<_>>());
    let mut plan = PlanBuilder::new(&gpu, "round");
    let place = Place::rows(4);
    gather::gather(&mut plan, Rows::of(Of::Tokens), &index, 0, (&x, place), (&y, place));
    let counts = Counts {
        tokens: n / 4,
        ..Counts::default()
    };
    let plan = pollster::block_on(plan.finish()).expect("a plan");
    plan.run(&counts, &Scalars::default());
    let words = bytemuck::pod_collect_to_vec(&pollster::block_on(gpu.read_bytes(&y)).expect("bytes"));
    let half = |v: &f32| match storage {
        Storage::Bf16 => half::bf16::from_f32(*v).to_bits(),
        _ => half::f16::from_f32(*v).to_bits(),
    };
    [words, numbers.iter().map(half).collect()]
}

#[test]
fn numbers_round_to_the_nearest_with_ties_to_even() {
    // Around every number that f16 has, up to the last that it rounds to an infinity; and numbers of every other size.
    let mut numbers: Vec<f32> = (0..0x7c00u16)
        .flat_map(|word| {
            let [low, high] = [word, word + 1].map(|w| half::f16::from_bits(w).to_f32());
            let high = if high.is_finite() { high } else { 65536.0 };
            let middle = ((f64::from(low) + f64::from(high)) / 2.0) as f32;
            [low, middle.next_down(), middle, middle.next_up()]
        })
        .collect();
    // Subnormal numbers of f32 aside, which a device may take for zero.
    numbers.extend(
        (0x0080..0x7f80u32).flat_map(|high| [0u32, 0x7fff, 0x8000, 0x8001].map(|low| f32::from_bits(high << 16 | low))),
    );
    numbers.extend([65519.9, 65520.0, 1e30, f32::MAX]);
    let signed: Vec<f32> = numbers
        .iter()
        .chain(&numbers)
        .enumerate()
        .map(|(i, &v)| if i < numbers.len() { v } else { -v })
        .collect();
    for storage in [Storage::Bf16, Storage::F16] {
        let [got, want] = rounded(&signed, storage);
        for ((got, want), v) in got.iter().zip(&want).zip(&signed) {
            assert_eq!(got, want, "{storage:?}: {v:e} became {got:#06x}, wanted {want:#06x}");
        }
        let nans = [0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff, 0xffff_ffffu32].map(f32::from_bits);
        let [got, _] = rounded(&nans, storage);
        let infinity = if storage == Storage::Bf16 { 0x7f80 } else { 0x7c00 };
        assert!(got.iter().all(|word| word & 0x7fff > infinity), "{storage:?}: {got:x?}");
    }
}

#[test]
fn recomputation_changes_no_bit() {
    for (name, (_, adapter)) in GOLDEN.into_iter().zip(methods()) {
        let (batch, tokens) = whole(name);
        let [kept, again] = [Recompute::Off, Recompute::On].map(|recompute| {
            let mut trainer = trainer(model(name, adapter.as_ref()), tokens, Storage::Bf16, recompute);
            assert_eq!(trainer.recomputes(), recompute == Recompute::On);
            let gradients = gradients(&mut trainer, &batch);
            pollster::block_on(trainer.submit(&batch)).expect("a step");
            pollster::block_on(trainer.metrics()).expect("metrics");
            (gradients, state(&trainer))
        });
        assert!(kept == again, "{name}");
    }
}

/// A golden model with one row of a projection multiplied, so that some activations are beyond f16.
fn steep() -> Model {
    let text = std::fs::read_to_string(wgpu_sft_tests::fixture("golden/llama_tied_gqa/config.json")).expect("a file");
    let config = ModelConfig::from_json(&text).expect("a configuration");
    let mut builder = ModelBuilder::new(&gpu(), &config, Use::Trained).expect("a builder");
    for (name, shape, mut numbers) in init::weights(&config, 1) {
        if name.ends_with("0.mlp.up_proj.weight") {
            numbers[..shape[1]].iter_mut().for_each(|v| *v *= 1e8);
        }
        builder
            .put(&name, Dtype::F32, &shape, bytemuck::cast_slice(&numbers))
            .expect("a tensor");
    }
    pollster::block_on(builder.finish()).expect("a model")
}

#[test]
fn what_f16_cannot_hold_is_a_step_that_diverged() {
    let (batch, tokens) = whole(GOLDEN[0]);
    for (storage, holds) in [(Storage::F32, true), (Storage::Bf16, true), (Storage::F16, false)] {
        let mut trainer = trainer(steep(), tokens, storage, Recompute::Off);
        let before = state(&trainer);
        pollster::block_on(trainer.submit(&batch)).expect("a step");
        match pollster::block_on(trainer.metrics()) {
            Ok(metrics) => assert!(holds && metrics.loss().is_finite(), "{storage:?}"),
            Err(Error::Diverged { step: 1, .. }) => assert!(!holds && state(&trainer) == before, "{storage:?}"),
            Err(error) => panic!("{storage:?}: {error}"),
        }
    }
}

/// Every binding over two or four numbers at a time in 16 bits, whether a plan asks for that or not.
#[test]
fn every_kernel_is_valid_over_16_bits() {
    let (mut seen, mut narrowed) = (0, 0);
    each_kernel(|family, kernel| {
        seen += 1;
        // Of the thousands of products, an odd share.
        if kernel.label.starts_with("matmul") && seen % 37 > 0 {
            return;
        }
        for storage in [Storage::Bf16, Storage::F16] {
            let declared = bindings(&kernel.source);
            let tensors = declared.iter().filter(|b| b.access != Access::Uniform);
            let storages: Vec<_> = tensors
                .map(|b| match kernel.source.contains(&format!("> {}: array<vec", b.name)) {
                    true => storage,
                    false => Storage::F32,
                })
                .collect();
            let over = kernel.over(&storages);
            let (module, _) = validated(family, &over);
            assert_eq!(bindings(&over.source), declared, "{}", over.label);
            let is_float = |ty: &TypeInner| matches!(ty, TypeInner::Vector { scalar, .. } if *scalar == Scalar::F32);
            for (_, variable) in module.global_variables.iter().filter(|(_, v)| v.binding.is_some()) {
                if let TypeInner::Array { base, .. } = module.types[variable.ty].inner {
                    assert!(
                        !is_float(&module.types[base].inner),
                        "{}: {:?}",
                        over.label,
                        variable.name
                    );
                }
            }
            if storages.contains(&storage) {
                narrowed += 1;
            } else {
                assert_eq!(over.source, kernel.source, "{}", over.label);
            }
        }
    });
    assert!(narrowed > 400, "only {narrowed} forms");
}

#[test]
#[should_panic(expected = "rstd holds single numbers, not Bf16")]
fn a_binding_over_single_numbers_is_not_given_halves() {
    let mut storages = [Storage::F32; 4];
    storages[3] = Storage::Bf16;
    let _ = Kernel::new("rmsnorm", wgpu_sft_shaders::RMSNORM, &[]).over(&storages);
}

#[test]
fn settings_name_a_storage() {
    let read = |text: &str| serde_json::from_str::<TrainConfig>(text).map(|config| config.activations);
    assert_eq!(read("{}").expect("the default"), Storage::F32);
    for (name, storage) in [("f32", Storage::F32), ("bf16", Storage::Bf16), ("f16", Storage::F16)] {
        let text = format!("{{\"activations\": \"{name}\"}}");
        assert_eq!(read(&text).expect("a storage"), storage);
        let config = TrainConfig {
            activations: storage,
            ..TrainConfig::default()
        };
        let text = serde_json::to_string(&config.canonical()).expect("text");
        assert!(text.contains(&format!("\"activations\":\"{name}\"")), "{text}");
    }
    let error = read("{\"activations\": \"half\"}").expect_err("no storage").to_string();
    assert!(
        error.contains("activations: \"half\" is none of f32, bf16, f16"),
        "{error}"
    );
}
