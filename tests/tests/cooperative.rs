//! The cooperative-matrix forms of the products, as far as they can be tried without a GPU that has them: they are valid,
//! keep to the limits, translate for the two kinds of driver that may run them; elsewhere asking for them is an error.

use naga::AddressSpace;
use naga::back::{msl, spv};
use naga::valid::{Capabilities, ValidationFlags, Validator};
use wgpu_sft::Error;
use wgpu_sft::gpu::{Family, Gpu, GpuOptions, Kernel, Storage, bindings, param_fields};
use wgpu_sft::ops::matmul::{Form, Layout, Output, Tile, kernel};

/// Matrices of a size, and the fewest and most lanes of a subgroup: NVIDIA's and Intel's, AMD's, AMD's alone, Apple's.
const OFFERED: [(u32, [u32; 2]); 4] = [(16, [32, 32]), (16, [32, 64]), (16, [64, 64]), (8, [32, 32])];

/// Run `each` on a telling sample of the forms, with the lanes of the subgroups that it is for.
pub fn each_form(mut each: impl FnMut([u32; 2], &Kernel)) {
    let mut count = 0;
    for (size, lanes) in OFFERED {
        let tile = Tile::Cooperative { size, lanes };
        assert_eq!(Tile::all(Family::Cooperative { size, lanes }), [tile]);
        for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
            for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                for output in [Output::Slices, Output::Accumulate, Output::BiasAdd] {
                    for wide in [[true; 3], [false; 3]] {
                        let form = Form {
                            layout,
                            storage,
                            output,
                            wide,
                            tile,
                            low: None,
                            parts: false,
                            paired: false,
                        };
                        each(lanes, &kernel(&form));
                        count += 1;
                    }
                }
            }
        }
    }
    assert_eq!(count, 4 * 3 * 3 * 3 * 2);
}

#[test]
fn every_form_is_valid_and_translates() {
    each_form(translate);
}

fn translate(lanes: [u32; 2], kernel: &Kernel) {
    let (label, text) = (&kernel.label, &kernel.source);
    assert_eq!(
        text.lines().take(2).collect::<Vec<_>>(),
        ["enable f16;", "enable wgpu_cooperative_matrix;"]
    );
    assert!(
        bindings(text).len() >= 5 && param_fields(text).contains(&"alpha"),
        "{label}"
    );
    let module = naga::front::wgsl::parse_str(text).unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(text)));
    let needs = Capabilities::COOPERATIVE_MATRIX
        | Capabilities::SHADER_FLOAT16
        | Capabilities::SHADER_FLOAT16_IN_FLOAT32
        | Capabilities::SUBGROUP;
    let info = Validator::new(ValidationFlags::all(), needs)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{label}: {}", e.emit_to_string(text)));
    let shared: u32 = module
        .global_variables
        .iter()
        .filter(|(_, v)| v.space == AddressSpace::WorkGroup)
        .map(|(_, v)| module.types[v.ty].inner.size(module.to_ctx()).next_multiple_of(16))
        .sum();
    assert!(shared <= 16_384, "{label}: {shared} bytes of workgroup memory");
    // A whole number of subgroups, at least four, whatever width the driver chooses.
    let [threads, 1, 1] = module.entry_points[0].workgroup_size else {
        panic!("{label}: workgroup of one dimension")
    };
    assert!(threads <= 256, "{label}: {threads} invocations");
    for lanes in lanes {
        assert!(
            threads.is_multiple_of(lanes) && threads / lanes >= 4,
            "{label}: {threads} by {lanes}"
        );
    }
    let words = spv::write_vec(&module, &info, &spv::Options::default(), None);
    let words = words.unwrap_or_else(|e| panic!("{label}: SPIR-V: {e}"));
    assert!(words.len() > 500, "{label}: SPIR-V of {} words", words.len());
    let options = msl::Options {
        lang_version: (2, 3),
        fake_missing_bindings: true,
        ..Default::default()
    };
    let metal = msl::write_string(&module, &info, &options, &Default::default());
    let (metal, _) = metal.unwrap_or_else(|e| panic!("{label}: Metal: {e}"));
    assert!(metal.contains("simdgroup_multiply_accumulate"), "{label}");
}

#[test]
fn only_large_products_use_them() {
    let family = Family::Cooperative {
        size: 16,
        lanes: [32, 32],
    };
    let cooperative = |m, n, k| matches!(Tile::pick(family, m, n, k), Tile::Cooperative { .. });
    assert!(cooperative(512, 576, 1536) && cooperative(32, 32, 16));
    assert!(!cooperative(16, 576, 1536) && !cooperative(512, 8, 576) && !cooperative(512, 576, 8));
    assert!(!family.is_cpu());
}

#[test]
fn an_adapter_without_them_says_what_it_lacks() {
    let family: Family = "cooperative".parse().expect("a family");
    assert_eq!(family.to_string(), "cooperative");
    let options = GpuOptions {
        family: Some(family),
        ..GpuOptions::default()
    };
    // Where there are some, they have been compared with the plain kernels.
    match pollster::block_on(Gpu::request(&options)) {
        Ok(gpu) => assert!(
            matches!(gpu.family(), Family::Cooperative { size: 8 | 16, .. }),
            "{gpu:?}"
        ),
        Err(Error::Gpu { doing, why }) => {
            assert!(doing.contains("cooperative"), "{doing}");
            assert!(
                why.contains("COOPERATIVE_MATRIX") || why.contains("16×16×16") || why.contains("differ"),
                "{why}"
            );
        }
        Err(other) => panic!("{other}"),
    }
}
