//! The text of a product's kernel, from the template and what its form asks for.

use super::{Form, Layout, Output, Tile, blocked, cooperative, tiled};
use crate::gpu::{Kernel, Storage};
use std::fmt::Write;

/// The kernel of a form.
pub fn kernel(form: &Form) -> Kernel {
    let Form {
        layout,
        storage,
        output,
        wide: [a_wide, b_wide, c_wide],
        tile,
    } = *form;
    // Slices have whole vectors in each row.
    let c_wide = c_wide || output == Output::Slices;
    let (m, k) = if layout == Layout::Tn {
        ("p.m", "rows")
    } else {
        ("rows", "p.k")
    };
    let a_extent = if layout == Layout::Tn { m } else { k };
    let b_extent = if layout == Layout::Nt { k } else { "p.n" };
    let enable = match tile {
        Tile::Cooperative { .. } => cooperative::ENABLE,
        _ => "",
    };
    let mut text = format!("{enable}{}", wgpu_sft_shaders::MATMUL);
    let mut set = |name: &str, value: &str| text = text.replace(&format!("${name}$"), value);
    set("M", m);
    set("A_WORD", if a_wide { "vec4<f32>" } else { "f32" });
    set(
        "B_WORD",
        match (storage, b_wide) {
            (Storage::F32, true) => "vec4<f32>",
            (Storage::F32, false) => "f32",
            (_, true) => "vec2<u32>",
            (_, false) => "u32",
        },
    );
    set("C_WORD", if c_wide { "vec4<f32>" } else { "f32" });
    set("LOAD_A", &load("a", Storage::F32, a_wide, a_extent));
    set("LOAD_B", &load("b", storage, b_wide, b_extent));
    set("EXTRA_BINDINGS", &extras(output, c_wide));
    set("STORE", &store(output, c_wide));
    text.push_str(&match tile {
        Tile::Tiled {
            across,
            down,
            rows,
            vectors,
            depth,
        } => tiled::main(
            layout,
            m,
            k,
            output == Output::Slices,
            [across, down],
            [rows, vectors],
            depth,
        ),
        Tile::Cooperative { size, lanes } => cooperative::main(layout, m, k, output == Output::Slices, size, lanes),
        Tile::Blocked {
            lanes,
            rows,
            vectors,
            broadcast,
        } => blocked::main(layout, m, k, lanes, rows, vectors, broadcast),
    });
    Kernel {
        label: format!("matmul {layout:?} {storage:?} {output:?} {tile}").to_lowercase(),
        source: text.into(),
        constants: vec![],
    }
}

/// The second pass of a product whose contraction is cut.
pub fn finish(layout: Layout, output: Output, c_wide: bool) -> Kernel {
    let m = if layout == Layout::Tn {
        "p.m"
    } else {
        "rows / p.columns"
    };
    let word = if c_wide { "vec4<f32>" } else { "f32" };
    let (extra, store) = (extras(output, c_wide), store(output, c_wide));
    let mut text = wgpu_sft_shaders::MATMUL_FINISH.to_string();
    for (name, value) in [
        ("M", m),
        ("C_WORD", word),
        ("EXTRA_BINDINGS", &extra),
        ("STORE", &store),
    ] {
        text = text.replace(&format!("${name}$"), value);
    }
    Kernel {
        label: format!("matmul_finish {layout:?} {output:?}"),
        source: text.into(),
        constants: vec![],
    }
}

/// What an output needs besides C.
fn extras(output: Output, wide: bool) -> String {
    let word = if wide { "vec4<f32>" } else { "f32" };
    let names: &[&str] = match output {
        Output::Write | Output::Accumulate => &[],
        Output::Bias => &["bias"],
        Output::Add => &["add"],
        Output::BiasAdd => &["bias", "add"],
        Output::Slices => return "var<private> slice_at: u32; // where the results of this slice begin".into(),
    };
    let mut extra = String::new();
    for (number, name) in names.iter().enumerate() {
        let _ = writeln!(
            extra,
            "@group(0) @binding({}) var<storage, read> {name}: array<{word}>;",
            5 + number
        );
    }
    extra
}

/// The body of `load_a` or `load_b`.
fn load(name: &str, storage: Storage, wide: bool, extent: &str) -> String {
    if wide {
        return match storage {
            Storage::F32 => format!("return {name}[(base + inner) >> 2u];"),
            Storage::Bf16 => format!(
                "let w = {name}[(base + inner) >> 2u];\n    return bitcast<vec4<f32>>(vec4<u32>(w.x << 16u, w.x & \
                 0xffff0000u, w.y << 16u, w.y & 0xffff0000u));"
            ),
            Storage::F16 => format!(
                "let w = {name}[(base + inner) >> 2u];\n    return vec4<f32>(unpack2x16float(w.x), unpack2x16float(w.y));"
            ),
        };
    }
    let mut body = String::from("var v = vec4<f32>(0.0);\n");
    for i in 0..4 {
        let at = format!("base + inner + {i}u");
        let value = match storage {
            Storage::F32 => format!("{name}[{at}]"),
            Storage::Bf16 => {
                format!("bitcast<f32>((({name}[({at}) >> 1u] >> ((({at}) & 1u) * 16u)) & 0xffffu) << 16u)")
            }
            Storage::F16 => format!("unpack2x16float({name}[({at}) >> 1u] >> ((({at}) & 1u) * 16u)).x"),
        };
        let _ = writeln!(body, "    if inner + {i}u < {extent} {{ v[{i}] = {value}; }}");
    }
    body + "    return v;"
}

/// The end of `store`.
fn store(output: Output, wide: bool) -> String {
    let (at, bias_at) = if wide {
        ("at >> 2u", "n >> 2u")
    } else {
        ("at + i", "n + i")
    };
    let value = if wide { "y" } else { "y[i]" };
    let line = match output {
        Output::Write => format!("c[{at}] = {value};"),
        Output::Accumulate => format!("c[{at}] += {value};"),
        Output::Bias => format!("c[{at}] = {value} + bias[{bias_at}];"),
        Output::Add => format!("c[{at}] = {value} + add[{at}];"),
        Output::Slices => "c[(slice_at + at) >> 2u] = y;".into(),
        Output::BiasAdd => format!("c[{at}] = {value} + bias[{bias_at}] + add[{at}];"),
    };
    if wide {
        line
    } else {
        format!("for (var i = 0u; i < min(4u, p.n - n); i++) {{ {line} }}")
    }
}
