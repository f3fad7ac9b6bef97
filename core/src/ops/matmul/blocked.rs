//! Register-blocked products: for adapters that run an invocation as a lane of a CPU's vector unit.

use super::Layout;
use super::generate::Contraction;
use std::fmt::Write;

/// `main` of the register-blocked forms. Rows and columns outside are clamped to the last one inside and not stored;
/// contraction steps outside are made zero on A's side.
pub fn main(product: &Contraction, low: bool, lanes: u32, rows: u32, vectors: u32, broadcast: bool) -> String {
    let across = lanes * vectors * 4;
    let mut s = format!(
        "\n@compute @workgroup_size({lanes})\nfn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n\
         let m0 = group.x * {rows}u;\n$PART$"
    );
    for j in 0..vectors {
        let _ = writeln!(
            s,
            "let n{j} = (group.y * {vectors}u + {j}u) * {}u + lane * 4u;",
            lanes * 4
        );
    }
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(s, "var c{r}_{j} = vec4<f32>(0.0);");
        }
    }
    let range = [format!("group.y * {across}u"), format!("{across}u")];
    s += &product.with_low(low, range.each_ref().map(String::as_str), |product| {
        contraction(product, lanes, rows, vectors, broadcast)
    });
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(s, "store(m0 + {r}u, n{j}, c{r}_{j});");
        }
    }
    s + "}\n"
}

/// The loop over the steps of a contraction, which adds to the sums.
fn contraction(product: &Contraction, lanes: u32, rows: u32, vectors: u32, broadcast: bool) -> String {
    let Contraction {
        layout,
        m,
        k,
        load: [load_a, load_b],
        base: [a_base, b_base],
        ..
    } = *product;
    let mut s = String::new();
    // Columns of this lane, clamped for loading.
    for j in 0..vectors {
        match layout {
            Layout::Nt => {
                for c in 0..4 {
                    let n = format!("n{j} + {c}u");
                    let _ = writeln!(s, "let b{j}_{c}_row = {} * {b_base};", product.b_row(&n));
                    if let Some(covers) = product.b_covers(&n) {
                        let _ = writeln!(s, "let b{j}_{c}_in = {covers};");
                    }
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
            _ => writeln!(s, "let a{i}_row = min(m0 + {q}, {m} - 1u) * {a_base};"),
        };
    }
    let _ = writeln!(s, "for (var k = 0u; k < {k}; k += 4u) {{");
    for i in 0..loads {
        let _ = match layout {
            Layout::Tn => writeln!(
                s,
                "let a{i} = select(vec4<f32>(0.0), {load_a}(min(k + a{i}_step, {k} - 1u) * {a_base}, a{i}_column), \
                 k + a{i}_step < {k});"
            ),
            _ => writeln!(s, "let a{i} = {load_a}(a{i}_row, k);"),
        };
    }
    for j in 0..vectors {
        for t in 0..4 {
            let _ = match layout {
                Layout::Nt if product.by_parts => writeln!(
                    s,
                    "let w{j}_{t} = select(vec4<f32>(0.0), {load_b}(b{j}_{t}_row, k), b{j}_{t}_in);"
                ),
                Layout::Nt => writeln!(s, "let w{j}_{t} = {load_b}(b{j}_{t}_row, k);"),
                _ => writeln!(
                    s,
                    "let b{j}_{t} = {load_b}(min(k + {t}u, {k} - 1u) * {b_base}, b{j}_column);"
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
    // Rows one after another, so that a row's sums stay in registers for the four steps.
    match layout {
        Layout::Tn => {
            // Vector q of A holds four rows of step q / (rows / 4).
            for x in 0..rows / 4 {
                for t in 0..4 {
                    let _ = writeln!(s, "let v{x}_{t} = {};", a_vector(t * (rows / 4) + x));
                }
                for e in 0..4 {
                    accumulate(&mut s, 4 * x + e, vectors, |t| format!("v{x}_{t}[{e}]"));
                }
            }
        }
        _ => {
            // Vector q of A holds four steps of row q.
            for q in 0..rows {
                let _ = writeln!(s, "let v{q} = {};", a_vector(q));
                accumulate(&mut s, q, vectors, |t| format!("v{q}[{t}]"));
            }
        }
    }
    s + "}\n"
}

/// Adds four steps to a row of results; `a` names its number of A at a step.
fn accumulate(s: &mut String, row: u32, vectors: u32, a: impl Fn(u32) -> String) {
    for t in 0..4 {
        for j in 0..vectors {
            let _ = writeln!(s, "c{row}_{j} = fma(vec4<f32>({}), b{j}_{t}, c{row}_{j});", a(t));
        }
    }
}
