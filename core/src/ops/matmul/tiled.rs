//! Products whose operands are staged in workgroup memory: for GPUs.

use super::Layout;
use std::fmt::Write;

/// Steps of the contraction that are staged at a time.
const DEPTH: u32 = 16;

/// `main` of the workgroup-tiled form.
pub fn main(layout: Layout, m: &str, k: &str, across: u32, down: u32, rows: u32) -> String {
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
