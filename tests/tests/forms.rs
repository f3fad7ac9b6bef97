//! Every form of the kernels that are generated.

use wgpu_sft::gpu::{Family, Kernel, Storage};
use wgpu_sft::ops;
use wgpu_sft::ops::attention::Walk;
use wgpu_sft::ops::matmul::{Form, Layout, Output, Tile};

use crate::shaders::base;

pub const FAMILIES: [Family; 5] = [
    Family::Tiled,
    Family::Subgroup(4),
    Family::Subgroup(8),
    Family::Subgroup(16),
    Family::Register,
];

const OUTPUTS: [Output; 6] = [
    Output::Slices,
    Output::Write,
    Output::Accumulate,
    Output::Bias,
    Output::Add,
    Output::BiasAdd,
];

/// How SwiGLU ends a product, in the layout that has it.
const SWIGLU: [(Layout, Output); 2] = [(Layout::Nt, Output::Swiglu), (Layout::Nn, Output::SwigluGradient)];

/// The kernels of a template: every form that a plan can ask for, or a telling sample of head sizes.
pub fn expansions(stem: &str, text: &str) -> Vec<(Family, Kernel)> {
    // Labels and templates are constants of the program: these few are made so.
    let leak = |s: &str| -> &'static str { s.to_owned().leak() };
    if base(stem) != "matmul" {
        let (stem, text) = (leak(stem), leak(text));
        // Gradients know one walk.
        let walks = &[Walk::Together, Walk::Alone][..if stem.contains("backward") { 1 } else { 2 }];
        let mut kernels = Vec::new();
        for &walk in walks {
            if stem.ends_with("_tiled") {
                let kernel = |size| (Family::Tiled, ops::attention::tiled::kernel(stem, text, size, walk));
                kernels.extend([8, 24, 64, 80, 96, 128, 160, 192, 256].map(kernel));
                continue;
            }
            for size in [8, 24, 64, 80, 128, 256] {
                let kernel = |&family| (family, ops::attention::kernel(stem, text, size, family, walk));
                kernels.extend(FAMILIES[1..].iter().map(kernel));
            }
        }
        return kernels;
    }
    let mut kernels = Vec::new();
    if stem == "matmul_finish" {
        for layout in [Layout::Nt, Layout::Tn] {
            for &output in &OUTPUTS[1..] {
                let forms = [false, true].map(|wide| (Family::Tiled, ops::matmul::finish(layout, output, wide)));
                kernels.extend(forms);
            }
        }
        for (layout, output) in SWIGLU {
            kernels.push((Family::Tiled, ops::matmul::finish(layout, output, true)));
        }
        return kernels;
    }
    for family in FAMILIES {
        for tile in Tile::all(family) {
            for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
                for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
                    // Only GPUs cut contractions.
                    let outputs = &OUTPUTS[usize::from(family != Family::Tiled)..];
                    for &output in outputs {
                        for wide in 0..8 {
                            let form = Form {
                                layout,
                                storage,
                                output,
                                wide: [1, 2, 4].map(|bit| wide & bit != 0),
                                tile,
                                low: None,
                                parts: false,
                                paired: false,
                            };
                            kernels.push((family, ops::matmul::kernel(&form)));
                        }
                    }
                }
            }
        }
    }
    kernels.extend(FAMILIES.into_iter().flat_map(fused));
    kernels
}

/// Products that are done together.
fn fused(family: Family) -> Vec<(Family, Kernel)> {
    let mut kernels = Vec::new();
    for tile in Tile::all(family) {
        let plain = Form {
            layout: Layout::Nt,
            storage: Storage::Bf16,
            output: Output::Write,
            wide: [true; 3],
            tile,
            low: None,
            parts: false,
            paired: false,
        };
        let mut push = |form| kernels.push((family, ops::matmul::kernel(&form)));
        for wide in [[true; 3], [false; 3]] {
            for layout in [Layout::Nn, Layout::Tn] {
                push(Form {
                    layout,
                    wide,
                    parts: true,
                    ..plain
                });
            }
            for layout in [Layout::Nt, Layout::Nn] {
                for output in OUTPUTS[usize::from(family != Family::Tiled)..].iter().copied() {
                    push(Form {
                        layout,
                        wide,
                        output,
                        low: Some([wide[0]; 2]),
                        ..plain
                    });
                }
            }
        }
        for low in [None, Some([true; 2])] {
            for (layout, output) in SWIGLU {
                push(Form {
                    layout,
                    output,
                    low,
                    paired: layout == Layout::Nt,
                    ..plain
                });
            }
        }
        if family == Family::Tiled {
            push(Form {
                output: Output::Slices,
                paired: true,
                ..plain
            });
        }
    }
    kernels
}
