//! Products whose operands are staged in workgroup memory: for GPUs.

use super::Layout;
use super::generate::Contraction;
use std::fmt::Write;

/// An operand on its way to the stage.
pub(super) struct Operand<'a> {
    pub name: &'static str,
    product: &'a Contraction,
    /// Its rows or columns in the tile.
    tile: u32,
    /// Whether a row of it runs along the contraction.
    pub along: bool,
    /// First row or column of the result, and their number.
    origin: &'static str,
    extent: &'static str,
}

impl Operand<'_> {
    /// Vectors of four that a tile has.
    fn vectors(&self, depth: u32) -> u32 {
        self.tile * depth / 4
    }

    /// Where the stage keeps number `i` of a step. B's columns lie so that lanes side by side, which have four
    /// neighbouring columns each, read neighbouring numbers.
    fn place(&self, i: &str) -> String {
        match self.name {
            "b" => format!("({i}) % 4u * {}u + ({i}) / 4u", self.tile / 4),
            _ => i.into(),
        }
    }

    /// Load this invocation's vectors of a tile into registers.
    pub fn load(&self, s: &mut String, threads: u32, depth: u32) {
        let Self {
            name,
            product,
            tile,
            along,
            origin,
            extent,
        } = self;
        let which = usize::from(*name == "b");
        let (load, base) = (product.load[which], product.base[which]);
        for v in 0..self.vectors(depth).div_ceil(threads) {
            let q = format!("(lane + {}u)", v * threads);
            // Along: vector q is row q / (depth / 4), four steps; else step q / (tile / 4), four rows or columns.
            let (t, i) = if *along {
                (format!("{q} % {}u * 4u", depth / 4), format!("{q} / {}u", depth / 4))
            } else {
                (format!("{q} / {}u", tile / 4), format!("{q} % {}u * 4u", tile / 4))
            };
            let _ = writeln!(
                s,
                "let {name}{v}_t = {t};\nlet {name}{v}_i = {i};\nvar next_{name}{v} = vec4<f32>(0.0);"
            );
            let (step, at) = (format!("k0 + {name}{v}_t"), format!("{origin} + {name}{v}_i"));
            let mut inside = format!("{step} < last");
            let (row, inner) = match (*along, *name) {
                (true, "b") => {
                    if let Some(covers) = product.b_covers(&at) {
                        inside += &format!(" && {covers}");
                    }
                    (product.b_row(&at), step)
                }
                (true, _) => (format!("min({at}, {extent} - 1u)"), step),
                (false, _) => (step, format!("min({at}, ({extent} - 1u) / 4u * 4u)")),
            };
            let _ = writeln!(
                s,
                "if {inside} {{ next_{name}{v} = {load}(({row}) * {base}, {inner}); }}"
            );
        }
    }

    /// What to do with each of these vectors: `write(text, number)`.
    pub fn each(&self, s: &mut String, threads: u32, depth: u32, mut write: impl FnMut(&mut String, u32)) {
        let vectors = self.vectors(depth);
        for v in 0..vectors.div_ceil(threads) {
            let all = (v + 1) * threads <= vectors;
            if !all {
                let _ = writeln!(s, "if lane < {}u {{", vectors - v * threads);
            }
            write(s, v);
            if !all {
                s.push_str("}\n");
            }
        }
    }

    /// Put them on the stage, whose steps are `pitch` numbers apart.
    fn stage(&self, s: &mut String, threads: u32, depth: u32, pitch: u32) {
        let Self { name, along, .. } = self;
        self.each(s, threads, depth, |s, v| {
            for e in 0..4 {
                let (t, i) = if *along {
                    (format!("({name}{v}_t + {e}u)"), format!("{name}{v}_i"))
                } else {
                    (format!("{name}{v}_t"), format!("{name}{v}_i + {e}u"))
                };
                let _ = writeln!(
                    s,
                    "stage_{name}[{t} * {pitch}u + {}] = next_{name}{v}[{e}];",
                    self.place(&i)
                );
            }
        });
    }
}

/// A and B in tiles of so many rows and columns of the result.
pub(super) fn operands(product: &Contraction, [tile_m, tile_n]: [u32; 2]) -> [Operand<'_>; 2] {
    [
        Operand {
            name: "a",
            product,
            tile: tile_m,
            along: product.layout != Layout::Tn,
            origin: "m0",
            extent: product.m,
        },
        Operand {
            name: "b",
            product,
            tile: tile_n,
            along: product.layout == Layout::Nt,
            origin: "n0",
            extent: "p.n",
        },
    ]
}

/// Which columns of the result a workgroup has, `n0`. Where the contraction is `sliced`, workgroups of the next slice follow across.
pub(super) fn columns(tile_n: u32, sliced: bool) -> String {
    if !sliced {
        return format!("let n0 = group.x * {tile_n}u;\n");
    }
    format!(
        "let columns = (p.n + {}u) / {tile_n}u;\nlet n0 = group.x % columns * {tile_n}u;\nlet slice = group.x / columns;\n\
         slice_at = slice * p.slice_stride;\n",
        tile_n - 1
    )
}

/// Which steps of a contraction a workgroup has, `first` to `last`: of a second product all, in the last slice.
pub(super) fn steps(product: &Contraction, sliced: bool, low: bool) -> String {
    let k = product.k;
    match (sliced, low) {
        (false, _) => format!("let first = 0u;\nlet last = {k};\n"),
        (true, false) => {
            format!("let first = slice * p.slice_steps;\nlet last = min(first + p.slice_steps, {k});\n")
        }
        (true, true) => {
            format!("let first = 0u;\nlet last = select(0u, {k}, (slice + 1u) * p.slice_steps >= p.k);\n")
        }
    }
}

/// `main` of the workgroup-tiled form.
pub fn main(
    product: &Contraction,
    sliced: bool,
    low: bool,
    [across, down]: [u32; 2],
    [rows, vectors]: [u32; 2],
    depth: u32,
) -> String {
    let [tile_m, tile_n, threads] = [down * rows, across * vectors * 4, across * down];
    // One number of padding for each step of the stage, so that neighbouring steps fall in different banks.
    let [pitch_a, pitch_b] = [tile_m, tile_n].map(|tile| tile + 1);
    let mut s = format!(
        "\nvar<workgroup> stage_a: array<f32, {}>;\nvar<workgroup> stage_b: array<f32, {}>;\n\
         @compute @workgroup_size({threads})\nfn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {{\n\
         let m0 = group.y * {tile_m}u;\n$PART$let mine_m = lane / {across}u * {rows}u;\nlet mine_n = lane % {across}u;\n{}",
        depth * pitch_a,
        depth * pitch_b,
        columns(tile_n, sliced)
    );
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(s, "var c{r}_{j} = vec4<f32>(0.0);");
        }
    }
    let width = format!("{tile_n}u");
    s += &product.with_low(low, ["n0", &width], |product| {
        let operands = operands(product, [tile_m, tile_n]);
        let mut s = steps(product, sliced, product.is_low());
        let _ = writeln!(s, "for (var k0 = first; k0 < last; k0 += {depth}u) {{");
        // Loads come before the barrier: they are under way while others still compute.
        for operand in &operands {
            operand.load(&mut s, threads, depth);
        }
        s.push_str("workgroupBarrier();\n");
        for (operand, pitch) in operands.iter().zip([pitch_a, pitch_b]) {
            operand.stage(&mut s, threads, depth, pitch);
        }
        let _ = writeln!(s, "workgroupBarrier();\nfor (var t = 0u; t < {depth}u; t++) {{");
        for j in 0..vectors {
            let column = |e: u32| format!("stage_b[t * {pitch_b}u + mine_n + {}u]", e * tile_n / 4 + j * across);
            let _ = writeln!(
                s,
                "let b{j} = vec4<f32>({}, {}, {}, {});",
                column(0),
                column(1),
                column(2),
                column(3)
            );
        }
        for r in 0..rows {
            let _ = writeln!(s, "let a{r} = vec4<f32>(stage_a[t * {pitch_a}u + mine_m + {r}u]);");
            for j in 0..vectors {
                let _ = writeln!(s, "c{r}_{j} = fma(a{r}, b{j}, c{r}_{j});");
            }
        }
        s + "}\n}\n"
    });
    for r in 0..rows {
        for j in 0..vectors {
            let _ = writeln!(
                s,
                "store(m0 + mine_m + {r}u, n0 + (mine_n + {}u) * 4u, c{r}_{j});",
                j * across
            );
        }
    }
    s + "}\n"
}
