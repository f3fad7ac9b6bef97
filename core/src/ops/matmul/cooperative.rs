//! Products by cooperative matrices: a subgroup multiplies small f16 matrices into f32 sums. For GPUs that offer them, and
//! only where they are asked for: A and B are rounded to f16, and what f16 cannot hold overflows or vanishes.

use super::generate::Contraction;
use super::{Layout, Matmul, Matrix, Output, Tile, tiled};
use crate::gpu::{Counts, Family, Gpu, Of, PlanBuilder, Rows, Scalars, Storage};
use crate::random::{Stream, block, normals};
use crate::{Error, Result};
use std::fmt::Write;

/// Rows and columns of the result that a workgroup computes: a quarter for each of four subgroups.
pub(super) const BLOCK: u32 = 64;

/// Largest difference from an f32 product, divided by its largest magnitude: f16 rounds each operand by up to 4.9e-4 of it.
pub const TOLERANCE: f64 = 4e-3;

/// Numbers of padding for each row of the stage: a whole 16 bytes, as loads of matrices want.
const PADDING: u32 = 8;

/// What WGSL calls for before anything else.
pub(super) const ENABLE: &str = "enable f16;\nenable wgpu_cooperative_matrix;\n";

/// `main` of the cooperative form. `lanes` are the narrowest and the widest that the driver may make a subgroup: a workgroup
/// has four of the widest. Where they come narrower there are more of them: what the fifth and on compute is not used.
pub fn main(product: &Contraction, sliced: bool, size: u32, [narrow, wide]: [u32; 2]) -> String {
    let (threads, subgroups) = (4 * wide, 4 * wide / narrow);
    let depth = depth(subgroups);
    let operands = tiled::operands(product, [BLOCK, BLOCK]);
    // Each operand is staged as its rows lie in memory.
    let pitches = operands
        .each_ref()
        .map(|o| if o.along { depth } else { BLOCK } + PADDING);
    let lengths = [0, 1].map(|i| pitches[i] * if operands[i].along { BLOCK } else { depth });
    let ([length_a, length_b], room, half) = (lengths, subgroups * size * size, BLOCK / 2);
    let mut s = format!(
        "\nvar<workgroup> stage_a: array<f16, {length_a}>;\nvar<workgroup> stage_b: array<f16, {length_b}>;\n\
         var<workgroup> stage_c: array<f32, {room}>;\n@compute @workgroup_size({threads})\n\
         fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32, @builtin(subgroup_id) id: u32) {{\n\
         let m0 = group.y * {BLOCK}u;\n$PART$let mine_m = id / 2u % 2u * {half}u;\nlet mine_n = id % 2u * {half}u;\n{}{}",
        tiled::columns(BLOCK, sliced),
        tiled::steps(product, sliced, false),
    );
    let each = half / size;
    for i in 0..each {
        for j in 0..each {
            let _ = writeln!(s, "var c{i}_{j} = coop_mat{size}x{size}<f32, C>();");
        }
    }
    let _ = writeln!(s, "for (var k0 = first; k0 < last; k0 += {depth}u) {{");
    for operand in &operands {
        operand.load(&mut s, threads, depth);
    }
    s.push_str("workgroupBarrier();\n");
    for (operand, pitch) in operands.iter().zip(pitches) {
        let name = operand.name;
        operand.each(&mut s, threads, depth, |s, v| {
            let (row, inner) = if operand.along { ("i", "t") } else { ("t", "i") };
            for e in 0..4 {
                let _ = writeln!(
                    s,
                    "stage_{name}[{name}{v}_{row} * {pitch}u + {name}{v}_{inner} + {e}u] = f16(next_{name}{v}[{e}]);"
                );
            }
        });
    }
    let _ = writeln!(s, "workgroupBarrier();");
    for t in (0..depth).step_by(size as usize) {
        for (operand, (pitch, (role, mine))) in operands
            .iter()
            .zip(pitches.into_iter().zip([("A", "mine_m"), ("B", "mine_n")]))
        {
            let name = operand.name;
            for i in 0..each {
                let (row, inner) = (format!("({mine} + {}u)", i * size), format!("{t}u"));
                let (row, inner) = if operand.along { (row, inner) } else { (inner, row) };
                // A is [M, K] and B [K, N]: rows in memory are A's rows where they run along K, and B's where they do not.
                let transposed = if operand.along == (role == "A") { "T" } else { "" };
                let _ = writeln!(
                    s,
                    "let {name}{i}_{t} = coopLoad{transposed}<coop_mat{size}x{size}<f16, {role}>>(&stage_{name}[{row} * {pitch}u + {inner}], {pitch}u);"
                );
            }
        }
        for i in 0..each {
            for j in 0..each {
                let _ = writeln!(s, "c{i}_{j} = coopMultiplyAdd(a{i}_{t}, b{j}_{t}, c{i}_{j});");
            }
        }
    }
    s.push_str("}\n");
    // Through workgroup memory, so that nothing is stored outside the result.
    let (vectors, across) = (size * size / 4, size / 4);
    for i in 0..each {
        for j in 0..each {
            let _ = writeln!(
                s,
                "coopStoreT(c{i}_{j}, &stage_c[id * {}u], {size}u);\nworkgroupBarrier();\n\
                 for (var x = lane; x < {}u; x += {threads}u) {{\n\
                 let quarter = x / {vectors}u;\nlet row = x % {vectors}u / {across}u + {}u;\nlet column = x % {across}u * 4u + {}u;\n\
                 let v = vec4<f32>(stage_c[x * 4u], stage_c[x * 4u + 1u], stage_c[x * 4u + 2u], stage_c[x * 4u + 3u]);\n\
                 store(m0 + quarter / 2u * {half}u + row, n0 + quarter % 2u * {half}u + column, v);\n}}\nworkgroupBarrier();",
                size * size,
                4 * vectors,
                i * size,
                j * size
            );
        }
    }
    s + "}\n"
}

/// Steps of the contraction that are staged at a time: half as many where the results of more subgroups need room.
fn depth(subgroups: u32) -> u32 {
    if subgroups > 4 { 16 } else { 32 }
}

/// Compare a product in each layout with the plain kernel's on this device: drivers' cooperative matrices are young.
///
/// # Errors
/// [`Error::Gpu`] when one differs by more than [`TOLERANCE`], or does not compile.
pub async fn prove(gpu: &Gpu) -> Result<()> {
    let doing = "trying cooperative matrices";
    let Family::Cooperative { size, lanes } = gpu.family() else {
        return Ok(());
    };
    let (m, n, k) = (70, 84, 108);
    let numbers = |lane: u32, len: u32| -> Vec<f32> {
        let draw = |i| normals(block(11, Stream::Init, lane, i)).map(|v| v as f32);
        (0..u64::from(len.div_ceil(4)))
            .flat_map(draw)
            .take(len as usize)
            .collect()
    };
    let a = gpu.upload("trial", &numbers(0, m * k));
    let b = gpu.upload("trial", &numbers(1, n * k));
    for layout in [Layout::Nt, Layout::Nn, Layout::Tn] {
        let strides = match layout {
            Layout::Nt => [k, k],
            Layout::Nn => [k, n],
            Layout::Tn => [m, n],
        };
        let mut results = Vec::new();
        for tile in [Tile::Cooperative { size, lanes }, Tile::pick(Family::Tiled, m, n, k)] {
            let c = gpu.tensor("trial", u64::from(m * n), Storage::F32);
            let operands = (
                Matrix::new(&a, strides[0]),
                Matrix::new(&b, strides[1]),
                Matrix::new(&c, n),
            );
            let batch = if layout == Layout::Tn { k } else { m };
            let rows = (Rows::of(Of::Tokens), batch);
            let mut plan = PlanBuilder::new(gpu, "trial");
            Matmul::new(layout, operands, (m, n, k), rows, Output::Write).record_tile(&mut plan, tile);
            let counts = Counts {
                tokens: batch,
                ..Counts::default()
            };
            plan.finish().await?.run(&counts, &Scalars::default());
            results.push(gpu.read(&c).await?);
        }
        let largest = results[1].iter().fold(0.0, |most: f32, v| most.max(v.abs()));
        let differ = results[0]
            .iter()
            .zip(&results[1])
            .map(|(x, y)| f64::from((x - y).abs() / largest))
            // Not `max`, which passes over NaN.
            .fold(0.0f64, |most, d| if most.is_nan() || d <= most { most } else { d });
        if differ.is_nan() || differ > TOLERANCE {
            return Err(Error::gpu(
                doing,
                format!(
                    "{layout:?} products on {} differ from the plain kernel's by {differ:.1e} of the largest, over {TOLERANCE:.0e}; \
                     use --kernels tiled",
                    gpu.info().name
                ),
            ));
        }
    }
    Ok(())
}
