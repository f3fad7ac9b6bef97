//! Cases of the matrix products: every layout, storage, output and kind of size, in each tile the family may choose.

use super::{Bench, CaseResult, LOOSE, rounding, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::{Scalars, Storage};
use crate::ops::matmul::{Layout, Matmul, Matrix, Output, TOLERANCE, Tile};
use crate::reference;

/// What a case multiplies: the dimension that the batch decides comes last in `most`, as the plan's capacity.
#[derive(Clone, Copy)]
struct Shape {
    layout: Layout,
    storage: Storage,
    output: Output,
    m: usize,
    n: usize,
    k: usize,
    /// How A and C are stored, activations in NT.
    activations: Storage,
    /// Numbers that each operand's rows are longer, and where its first number lies.
    slack: (usize, usize),
    alpha: f32,
}

pub(super) async fn matmul<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    use Layout::{Nn, Nt, Tn};
    use Output::{Accumulate, Add, Bias, BiasAdd, Write};
    use Storage::{Bf16, F16, F32};
    let shape = |layout, storage, output, (m, n, k), slack, alpha| Shape {
        layout,
        storage,
        output,
        activations: F32,
        m,
        n,
        k,
        slack,
        alpha,
    };
    let mut shapes = vec![
        shape(Nt, F32, Bias, (67, 132, 80), (0, 0), 1.0),
        shape(Nt, Bf16, Write, (5, 36, 48), (0, 0), 1.0),
        shape(Nt, F16, Add, (33, 68, 20), (0, 0), 1.0),
        shape(Nt, F32, Accumulate, (18, 40, 16), (12, 8), 0.5),
        shape(Nt, F32, Write, (3, 97, 40), (0, 0), 1.0),
        shape(Nt, Bf16, Bias, (9, 31, 21), (2, 3), 1.5),
        shape(Nt, F16, Accumulate, (4, 7, 13), (0, 0), 1.0),
        shape(Nt, F32, BiasAdd, (10, 52, 24), (4, 4), 1.0),
        shape(Nt, F32, BiasAdd, (6, 11, 24), (0, 0), 2.0),
        shape(Nn, F32, Write, (67, 80, 132), (0, 0), 1.0),
        shape(Nn, Bf16, Accumulate, (21, 48, 36), (0, 0), 2.0),
        shape(Nn, F16, Write, (4, 64, 8), (4, 4), 1.0),
        shape(Nn, F32, Accumulate, (6, 40, 97), (0, 0), 1.0),
        shape(Nn, F16, Write, (5, 9, 11), (1, 1), 0.25),
        shape(Tn, F32, Accumulate, (48, 36, 67), (0, 0), 1.0),
        shape(Tn, F32, Accumulate, (16, 132, 5), (8, 4), 0.5),
        shape(Tn, F32, Accumulate, (97, 40, 9), (3, 0), 1.0),
        shape(Tn, F32, Write, (7, 13, 10), (0, 1), 1.0),
    ];
    shapes.push(shape(Nn, Bf16, Accumulate, (5, 12, 2052), (4, 8), 0.5));
    shapes.push(shape(Nn, F32, Write, (3, 8, 3001), (0, 0), 1.0));
    // One long contraction and, past 65,535 rows, a tall one.
    shapes.push(shape(Nt, F32, Write, (17, 20, 2052), (0, 0), 1.0));
    shapes.push(shape(Nt, F32, Write, (70_001, 4, 4), (0, 0), 1.0));
    // Long contractions of small results, which GPUs cut: one of them not by a whole slice, one with rows between.
    shapes.push(shape(Tn, F32, Accumulate, (12, 36, 700), (0, 0), 0.5));
    shapes.push(shape(Tn, F32, Write, (7, 21, 391), (1, 2), 1.0));
    shapes.push(shape(Nt, Bf16, BiasAdd, (19, 28, 516), (4, 8), 1.5));
    // Activations in 16 bits: as a step has them, cut into slices, written and added to.
    for activations in [Bf16, F16] {
        let kept = [
            shape(Nt, F32, Bias, (67, 132, 80), (0, 0), 1.0),
            shape(Nt, Bf16, Write, (21, 36, 48), (4, 8), 1.0),
            shape(Nt, F16, Accumulate, (18, 40, 16), (12, 8), 0.5),
            shape(Nt, F32, Write, (9, 28, 516), (0, 4), 1.0),
        ];
        shapes.extend(kept.map(|shape| Shape { activations, ..shape }));
        // B of TN is an activation.
        shapes.push(shape(Tn, activations, Accumulate, (16, 132, 35), (8, 4), 0.5));
        shapes.push(shape(Tn, activations, Write, (12, 36, 700), (0, 0), 1.0));
    }
    for (i, tile) in Tile::all(bench.gpu.family()).into_iter().enumerate() {
        // Tiles read and write through the same functions, whatever the storage.
        for shape in shapes.iter().filter(|shape| i < 2 || shape.activations == F32) {
            case(bench, shape, tile).await?;
        }
    }
    Ok(())
}

/// Dense rows of `width` at `offset`, each `slack` longer; what lies between is NaN, so that reading it shows.
pub(super) fn spread(dense: &[f64], width: usize, (slack, offset): (usize, usize)) -> Vec<f64> {
    let mut out = vec![f64::NAN; offset];
    for row in dense.chunks(width) {
        out.extend_from_slice(row);
        out.resize(out.len() + slack, f64::NAN);
    }
    out
}

async fn case<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>, shape: &Shape, tile: Tile) -> Result<()> {
    let Shape {
        layout,
        storage,
        output,
        activations,
        m,
        n,
        k,
        slack,
        alpha,
    } = *shape;
    let (a, b) = (bench.normal_as(m * k, activations), bench.normal(n * k));
    let (a_width, b_width) = (
        if layout == Layout::Tn { m } else { k },
        if layout == Layout::Nt { k } else { n },
    );
    let start = bench.normal_as(m * n, activations);
    let (bias, add) = (bench.normal(n), bench.normal(m * n));
    let (ga, _) = bench.upload_as(&spread(&a, a_width, slack), activations);
    let (gb, b) = {
        let (tensor, rounded) = bench.upload_as(&spread(&b, b_width, slack), storage);
        let dense = rounded[slack.1..]
            .chunks(b_width + slack.0)
            .flat_map(|row| row[..b_width].to_vec())
            .collect::<Vec<_>>();
        (tensor, dense)
    };
    let c = match output {
        Output::Accumulate => spread(&start, n, slack),
        _ => spread(&vec![f64::NAN; m * n], n, slack),
    };
    let (c, _) = bench.upload_as(&c, activations);
    let has_bias = matches!(output, Output::Bias | Output::BiasAdd);
    let has_add = matches!(output, Output::Add | Output::BiasAdd);
    let gbias = has_bias.then(|| bench.upload(&bias));
    let gadd = has_add.then(|| bench.upload(&spread(&add, n, slack)));
    let matrix = |tensor, width: usize| Matrix {
        tensor,
        stride: (width + slack.0) as u32,
        offset: slack.1 as u32,
    };
    let batch = if layout == Layout::Tn { k } else { m };
    let product = Matmul {
        layout,
        a: matrix(&ga, a_width),
        b: matrix(&gb, b_width),
        c: matrix(&c, n),
        m: m as u32,
        n: n as u32,
        k: k as u32,
        rows: token_rows(),
        most_rows: batch as u32 + 3,
        alpha,
        output,
        bias: gbias.as_ref(),
        add: gadd.as_ref(),
        hidden: None,
        low: None,
        parts: &[],
    };
    bench
        .run(tokens(batch), Scalars::default(), |plan| {
            product.record_tile(plan, tile)
        })
        .await?;
    let want: Vec<f64> = reference::matmul::product(layout, &a, &b, (m, n, k))
        .iter()
        .enumerate()
        .map(|(i, v)| {
            v * f64::from(alpha)
                + if output == Output::Accumulate { start[i] } else { 0.0 }
                + if has_bias { bias[i % n] } else { 0.0 }
                + if has_add { add[i] } else { 0.0 }
        })
        .collect();
    // Compare the written rows only: what lies between must still be NaN, which `compare` would flag on either side.
    let got = bench.read(&c).await?;
    let stride = n + slack.0;
    let dense: Vec<f32> = (0..m).flat_map(|i| got[slack.1 + i * stride..][..n].to_vec()).collect();
    let untouched = (0..m - 1).all(|i| got[slack.1 + i * stride + n..][..slack.0].iter().all(|v| v.is_nan()));
    let dense = bench.gpu.upload("case", if untouched { &dense } else { &[] });
    let name = format!(
        "matmul {layout:?} {storage:?} {output:?} {m}x{n}x{k} slack {slack:?} {tile:?}{}",
        suffix(activations)
    );
    let tolerance = match tile {
        Tile::Cooperative { .. } => TOLERANCE,
        _ => LOOSE,
    };
    bench
        .compare(name, &dense, &want, tolerance + rounding(activations))
        .await
}
