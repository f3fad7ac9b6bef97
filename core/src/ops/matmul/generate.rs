//! The text of a product's kernel, from the template and what its form asks for.

use super::{Form, Layout, Output, Tile};
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
    let (m, k) = if layout == Layout::Tn {
        ("p.m", "rows")
    } else {
        ("rows", "p.k")
    };
    let a_extent = if layout == Layout::Tn { m } else { k };
    let b_extent = if layout == Layout::Nt { k } else { "p.n" };
    let mut text = wgpu_sft_shaders::MATMUL.to_string();
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
    let (bias, add) = match output {
        Output::Write | Output::Accumulate => (false, false),
        Output::Bias => (true, false),
        Output::Add => (false, true),
        Output::BiasAdd => (true, true),
    };
    let word = if c_wide { "vec4<f32>" } else { "f32" };
    let mut extra = String::new();
    for (number, name) in [(bias, "bias"), (add, "add")]
        .into_iter()
        .filter(|e| e.0)
        .map(|e| e.1)
        .enumerate()
    {
        let _ = writeln!(
            extra,
            "@group(0) @binding({}) var<storage, read> {name}: array<{word}>;",
            5 + number
        );
    }
    set("EXTRA_BINDINGS", &extra);
    set("STORE", &store(output, c_wide));
    text.push_str(&match tile {
        Tile::Tiled { across, down, rows } => tiled(layout, m, k, across, down, rows),
        Tile::Blocked {
            lanes,
            rows,
            vectors,
            broadcast,
        } => blocked(layout, m, k, lanes, rows, vectors, broadcast),
    });
    Kernel {
        label: format!("matmul {layout:?} {storage:?} {output:?} {tile:?}"),
        source: text.into(),
        constants: vec![],
    }
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
        Output::BiasAdd => format!("c[{at}] = {value} + bias[{bias_at}] + add[{at}];"),
    };
    if wide {
        line
    } else {
        format!("for (var i = 0u; i < min(4u, p.n - n); i++) {{ {line} }}")
    }
}

/// `main` of the register-blocked forms. Rows and columns outside are clamped to the last one inside and not stored;
/// contraction steps outside are made zero on A's side.
fn blocked(layout: Layout, m: &str, k: &str, lanes: u32, rows: u32, vectors: u32, broadcast: bool) -> String {
    let mut s = format!(
        "\n@compute @workgroup_size({lanes})\nfn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n\
         let m0 = group.y * {rows}u;\n"
    );
    // Columns of this lane, clamped for loading.
    for j in 0..vectors {
        let _ = writeln!(
            s,
            "let n{j} = (group.x * {vectors}u + {j}u) * {}u + lane * 4u;",
            lanes * 4
        );
        match layout {
            Layout::Nt => {
                for c in 0..4 {
                    let _ = writeln!(s, "let b{j}_{c}_row = min(n{j} + {c}u, p.n - 1u) * p.ldb + p.b_offset;");
                }
            }
            _ => {
                let _ = writeln!(s, "let b{j}_column = min(n{j}, (p.n - 1u) / 4u * 4u);");
            }
        }
    }
    // A's vectors: with broadcasts each lane loads vectors lane, lane + lanes, …; without, every lane loads them all.
    let loads = if broadcast { rows.div_ceil(lanes) } else { rows };
    let vector = |i: u32| {
        if broadcast {
            format!("({}u + lane)", i * lanes)
        } else {
            format!("{i}u")
        }
    };
    for i in 0..loads {
        let q = vector(i);
        let _ = match layout {
            Layout::Tn => writeln!(
                s,
                "let a{i}_step = {q} / {0}u; let a{i}_column = min(m0 + {q} % {0}u * 4u, ({m} - 1u) / 4u * 4u);",
                rows / 4
            ),
            _ => writeln!(s, "let a{i}_row = min(m0 + {q}, {m} - 1u) * p.lda + p.a_offset;"),
        };
    }
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(s, "var c{r}_{j} = vec4<f32>(0.0);");
        }
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k}; k += 4u) {{");
    for i in 0..loads {
        let _ = match layout {
            Layout::Tn => writeln!(
                s,
                "let a{i} = select(vec4<f32>(0.0), load_a(min(k + a{i}_step, {k} - 1u) * p.lda + p.a_offset, a{i}_column), \
                 k + a{i}_step < {k});"
            ),
            _ => writeln!(s, "let a{i} = load_a(a{i}_row, k);"),
        };
    }
    for j in 0..vectors {
        for t in 0..4 {
            let _ = match layout {
                Layout::Nt => writeln!(s, "let w{j}_{t} = load_b(b{j}_{t}_row, k);"),
                _ => writeln!(
                    s,
                    "let b{j}_{t} = load_b(min(k + {t}u, p_b_rows - 1u) * p.ldb + p.b_offset, b{j}_column);"
                ),
            };
        }
        if layout == Layout::Nt {
            for t in 0..4 {
                let _ = writeln!(
                    s,
                    "let b{j}_{t} = vec4<f32>(w{j}_0[{t}], w{j}_1[{t}], w{j}_2[{t}], w{j}_3[{t}]);"
                );
            }
        }
    }
    let a_vector = |q: u32| {
        if broadcast {
            format!("subgroupBroadcast(a{}, {}u)", q / lanes, q % lanes)
        } else {
            format!("a{q}")
        }
    };
    for q in 0..rows {
        let _ = writeln!(s, "let v{q} = {};", a_vector(q));
        for e in 0..4 {
            // Vector q of A holds four steps of row q, or (TN) four rows of step q / (rows / 4).
            let (row, step) = if layout == Layout::Tn {
                (q % (rows / 4) * 4 + e, q / (rows / 4))
            } else {
                (q, e)
            };
            for j in 0..vectors {
                let _ = writeln!(s, "c{row}_{j} = fma(vec4<f32>(v{q}[{e}]), b{j}_{step}, c{row}_{j});");
            }
        }
    }
    s.push_str("}\n");
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(s, "store(m0 + {r}u, n{j}, c{r}_{j});");
        }
    }
    // With the batch deciding K, B has as many rows as the batch.
    s.replace("p_b_rows", if layout == Layout::Tn { "rows" } else { "p.b_rows" }) + "}\n"
}

/// Steps of the contraction that are staged at a time.
const DEPTH: u32 = 16;

/// `main` of the workgroup-tiled form.
fn tiled(layout: Layout, m: &str, k: &str, across: u32, down: u32, rows: u32) -> String {
    let [tile_m, tile_n, threads] = [down * rows, across * 4, across * down];
    // One number of padding for each row of the stage, so that neighbouring rows fall in different banks.
    let [pitch_a, pitch_b] = [tile_m + 1, tile_n + 1];
    let b_rows = if layout == Layout::Tn { "rows" } else { "p.b_rows" };
    let mut s = format!(
        "\nvar<workgroup> stage_a: array<f32, {}>;\nvar<workgroup> stage_b: array<f32, {}>;\n\
         @compute @workgroup_size({threads})\nfn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n\
         let m0 = group.y * {tile_m}u;\nlet n0 = group.x * {tile_n}u;\nlet mine_m = lane / {across}u * {rows}u;\nlet mine_n = lane % {across}u * 4u;\n",
        DEPTH * pitch_a,
        DEPTH * pitch_b
    );
    for r in 0..rows {
        let _ = writeln!(s, "var c{r} = vec4<f32>(0.0);");
    }
    let _ = writeln!(s, "for (var k0 = 0u; k0 < {k}; k0 += {DEPTH}u) {{");
    // (operand, its tile across the result, pitch, whether a row of it runs along the contraction, limits)
    let operands = [
        (
            "a",
            tile_m,
            pitch_a,
            layout != Layout::Tn,
            "m0",
            m,
            "p.lda + p.a_offset",
            k,
        ),
        (
            "b",
            tile_n,
            pitch_b,
            layout == Layout::Nt,
            "n0",
            "p.n",
            "p.ldb + p.b_offset",
            b_rows,
        ),
    ];
    for (name, tile, pitch, along, origin, extent, base, steps) in operands {
        let count = tile * DEPTH / 4;
        let _ = writeln!(
            s,
            "for (var q = lane; q < {count}u; q += {threads}u) {{\nvar v = vec4<f32>(0.0);"
        );
        if along {
            // Vector q: row q / (DEPTH / 4), four steps.
            let _ = writeln!(
                s,
                "let i = q / {0}u;\nlet t = q % {0}u * 4u;\nif k0 + t < {k} {{ v = load_{name}(min({origin} + i, {extent} - 1u) * {base}, k0 + t); }}",
                DEPTH / 4
            );
            for e in 0..4 {
                let _ = writeln!(s, "stage_{name}[(t + {e}u) * {pitch}u + i] = v[{e}];");
            }
        } else {
            let _ = writeln!(
                s,
                "let t = q / {0}u;\nlet i = q % {0}u * 4u;\nif k0 + t < {steps} {{ v = load_{name}((k0 + t) * {base}, min({origin} + i, ({extent} - 1u) / 4u * 4u)); }}",
                tile / 4
            );
            for e in 0..4 {
                let _ = writeln!(s, "stage_{name}[t * {pitch}u + i + {e}u] = v[{e}];");
            }
        }
        s.push_str("}\n");
    }
    let _ = writeln!(
        s,
        "workgroupBarrier();\nfor (var t = 0u; t < {DEPTH}u; t++) {{\n\
         let at = t * {pitch_b}u + mine_n;\n\
         let v = vec4<f32>(stage_b[at], stage_b[at + 1u], stage_b[at + 2u], stage_b[at + 3u]);"
    );
    for r in 0..rows {
        let _ = writeln!(
            s,
            "c{r} = fma(vec4<f32>(stage_a[t * {pitch_a}u + mine_m + {r}u]), v, c{r});"
        );
    }
    s.push_str("}\nworkgroupBarrier();\n}\n");
    for r in 0..rows {
        let _ = writeln!(s, "store(m0 + mine_m + {r}u, n0 + mine_n, c{r});");
    }
    s + "}\n"
}
