//! Cases of products that are done together: a second, narrow product, a product for each part, SwiGLU at the end.

use super::{Bench, CaseResult, LOOSE, STORAGES, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::{Scalars, Storage, Tensor};
use crate::ops::matmul::{Layout, Low, Matmul, Matrix, Output, Part, TOLERANCE, Tile};
use crate::reference::{matmul::product, swiglu};

const fn part(first: u32, len: u32, start: u32) -> Part {
    Part { first, len, start }
}

/// Outputs between which one is left out, and outputs of which no boundary is a multiple of four.
const SOME: [Part; 2] = [part(0, 56, 0), part(76, 24, 56)];
const ODD: [Part; 3] = [part(0, 13, 0), part(13, 7, 13), part(20, 18, 20)];
/// All outputs of a gate and an up.
const PAIR: [Part; 2] = [part(0, 36, 0), part(36, 36, 36)];
/// One longer than a chain of additions.
const LONG: [Part; 2] = [part(8, 1100, 0), part(1108, 24, 1100)];

/// What products are multiplied by, before anything is added or done with them.
const ALPHA: f64 = 0.75;

pub(super) async fn cases<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let with_low = [
        ((37, 100, 48), 8, &SOME[..], Storage::F32, Output::BiasAdd),
        ((21, 72, 20), 4, &PAIR, Storage::F16, Output::Swiglu),
        ((10, 38, 24), 4, &ODD, Storage::Bf16, Output::Write),
        ((9, 38, 300), 4, &ODD, Storage::F32, Output::Write),
        ((5, 72, 516), 8, &PAIR, Storage::F32, Output::Swiglu),
        ((18, 44, 12), 4, &[], Storage::F32, Output::Swiglu),
    ];
    let backward = [
        ((19, 36, 40), 12, Output::Accumulate),
        ((23, 28, 36), 8, Output::SwigluGradient),
        ((6, 21, 44), 8, Output::Write),
        ((5, 12, 2052), 4, Output::Write),
        ((7, 100, 24), 0, Output::SwigluGradient),
        ((4, 28, 516), 4, Output::SwigluGradient),
    ];
    let parts = [(&SOME[..], 100), (&ODD, 38), (&LONG, 1132)];
    for (i, tile) in Tile::all(bench.gpu.family()).into_iter().enumerate() {
        // What a tile could do differently shows in the first of each; the rest tries the sizes.
        let [most, most_parts] = if i == 0 { [6, 3] } else { [1, 1] };
        if Matmul::fuses(bench.gpu.family()) {
            for &(sizes, low_k, parts, storage, output) in &with_low[..most] {
                outputs(bench, sizes, (low_k, parts), [storage, Storage::F32], output, tile).await?;
            }
            for &(sizes, low_k, output) in &backward[..most] {
                inputs(bench, sizes, low_k, Storage::F32, output, tile).await?;
            }
            // Activations in 16 bits: where a whole contraction is made at once, and where it is cut.
            for &kept in STORAGES[1..].iter().filter(|_| i == 0) {
                for (sizes, low_k, parts, storage, output) in [with_low[0], with_low[1], with_low[4]] {
                    outputs(bench, sizes, (low_k, parts), [storage, kept], output, tile).await?;
                }
                for (sizes, low_k, output) in [backward[1], backward[5]] {
                    inputs(bench, sizes, low_k, kept, output, tile).await?;
                }
            }
        }
        for &(parts, width) in &parts[..most_parts] {
            by_parts(bench, parts, width, tile).await?;
        }
    }
    Ok(())
}

/// A matrix of normal deviates and its tensor.
fn draw<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>, numbers: usize, storage: Storage) -> (Tensor, Vec<f64>) {
    let dense = bench.normal(numbers);
    bench.upload_as(&dense, storage)
}

/// `y = x·Wᵀ + low·Bᵀ`, by parts, and what comes of it.
async fn outputs<F: FnMut(&CaseResult)>(
    bench: &mut Bench<'_, F>,
    (m, n, k): (usize, usize, usize),
    (low_k, parts): (usize, &[Part]),
    [storage, kept]: [Storage; 2],
    output: Output,
    tile: Tile,
) -> Result<()> {
    let (gx, x) = draw(bench, m * k, kept);
    let (gw, w) = draw(bench, n * k, storage);
    let width = low_k * parts.len();
    let rows: usize = parts.iter().map(|part| part.len as usize).sum();
    let (glow, low) = draw(bench, (m * width).max(4), kept);
    let (gb, b) = draw(bench, (rows * low_k).max(4), Storage::F32);
    let (gbias, bias) = draw(bench, n, Storage::F32);
    let (gadd, add) = draw(bench, m * n, Storage::F32);
    // Where something is added, the result is the residual stream.
    let summand = output == Output::BiasAdd;
    let result = if summand { Storage::F32 } else { kept };
    let (c, hidden) = (bench.nan_as(m * n, result), bench.nan_as(m * n / 2, kept));
    let matmul = Matmul {
        alpha: ALPHA as f32,
        output,
        bias: summand.then_some(&gbias),
        add: summand.then_some(&gadd),
        hidden: (output == Output::Swiglu).then_some(&hidden),
        low: (!parts.is_empty()).then_some(Low {
            a: Matrix::new(&glow, width as u32),
            b: Matrix::new(&gb, low_k as u32),
            k: low_k as u32,
            parts,
        }),
        ..Matmul::new(
            Layout::Nt,
            (
                Matrix::new(&gx, k as u32),
                Matrix::new(&gw, k as u32),
                Matrix::new(&c, n as u32),
            ),
            (0, n as u32, k as u32),
            (token_rows(), m as u32 + 3),
            output,
        )
    };
    let scalars = Scalars::default();
    bench
        .run(tokens(m), scalars, |plan| matmul.record_tile(plan, tile))
        .await?;
    let mut want = product(Layout::Nt, &x, &w, (m, n, k));
    for (i, row) in want.chunks_mut(n).enumerate() {
        for (j, part) in parts.iter().enumerate() {
            for o in 0..part.len as usize {
                let (low, b) = (&low[i * width + j * low_k..], &b[(part.start as usize + o) * low_k..]);
                row[part.first as usize + o] += (0..low_k).map(|t| low[t] * b[t]).sum::<f64>();
            }
        }
        row.iter_mut().for_each(|v| *v *= ALPHA);
        if summand {
            for o in 0..n {
                row[o] += bias[o] + add[i * n + o];
            }
        }
    }
    let name = format!(
        "matmul low Nt {storage:?} {output:?} {m}x{n}x{k} + {low_k} {tile:?}{}",
        suffix(kept)
    );
    if output == Output::Swiglu {
        let want = swiglu::forward(&want, n / 2);
        bench.compare(format!("{name} hidden"), &hidden, &want, LOOSE).await?;
    }
    bench.compare(name, &c, &want, LOOSE).await
}

/// `dx = dy·W + d_low·A`, and what comes of it.
async fn inputs<F: FnMut(&CaseResult)>(
    bench: &mut Bench<'_, F>,
    (m, n, k): (usize, usize, usize),
    low_k: usize,
    kept: Storage,
    output: Output,
    tile: Tile,
) -> Result<()> {
    let (gdy, dy) = draw(bench, m * k, Storage::F32);
    let (gw, w) = draw(bench, n * k, Storage::F32);
    let (glow, low) = draw(bench, (m * low_k).max(4), Storage::F32);
    let (ga, a) = draw(bench, (n * low_k).max(4), Storage::F32);
    let (ggate_up, gate_up) = draw(bench, 2 * m * n, kept);
    let (gstart, start) = draw(bench, m * n, Storage::F32);
    let gradient = output == Output::SwigluGradient;
    let c = match output {
        Output::Accumulate => gstart,
        _ => bench.nan(m * n * if gradient { 2 } else { 1 }),
    };
    let c_stride = if gradient { 2 * n } else { n };
    let matmul = Matmul {
        alpha: ALPHA as f32,
        add: gradient.then_some(&ggate_up),
        low: (low_k > 0).then_some(Low {
            a: Matrix::new(&glow, low_k as u32),
            b: Matrix::new(&ga, n as u32),
            k: low_k as u32,
            parts: &[],
        }),
        ..Matmul::new(
            Layout::Nn,
            (
                Matrix::new(&gdy, k as u32),
                Matrix::new(&gw, n as u32),
                Matrix::new(&c, c_stride as u32),
            ),
            (0, n as u32, k as u32),
            (token_rows(), m as u32 + 3),
            output,
        )
    };
    let scalars = Scalars::default();
    bench
        .run(tokens(m), scalars, |plan| matmul.record_tile(plan, tile))
        .await?;
    let mut want = product(Layout::Nn, &dy, &w, (m, n, k));
    for (v, more) in want.iter_mut().zip(product(Layout::Nn, &low, &a, (m, n, low_k))) {
        *v = ALPHA * (*v + more);
    }
    match output {
        Output::Accumulate => want.iter_mut().zip(start).for_each(|(v, start)| *v += start),
        Output::SwigluGradient => want = swiglu::backward(&gate_up, &want, n),
        _ => {}
    }
    let name = format!(
        "matmul low Nn {output:?} {m}x{n}x{k} + {low_k} {tile:?}{}",
        suffix(kept)
    );
    bench.compare(name, &c, &want, LOOSE).await
}

/// `d_low = dy·B` and `dB = dyᵀ·low`, both for each part in one dispatch. `dy` has `width` columns.
async fn by_parts<F: FnMut(&CaseResult)>(
    bench: &mut Bench<'_, F>,
    parts: &[Part],
    width: usize,
    tile: Tile,
) -> Result<()> {
    let tolerance = match tile {
        Tile::Cooperative { .. } => TOLERANCE,
        _ => LOOSE,
    };
    let (m, rank) = (35, 8);
    let low_width = rank * parts.len();
    let rows: usize = parts.iter().map(|part| part.len as usize).sum();
    let (gdy, dy) = draw(bench, m * width, Storage::F32);
    let (gb, b) = draw(bench, rows * rank, Storage::F32);
    let (glow, low) = draw(bench, m * low_width, Storage::F32);
    let (d_low, d_b) = (bench.nan(m * low_width), bench.nan(rows * rank));
    let batch = (token_rows(), m as u32 + 3);
    let [dys, bs, lows] = [(&gdy, width), (&gb, rank), (&glow, low_width)].map(|(t, s)| Matrix::new(t, s as u32));
    let of_low = (dys, bs, Matrix::new(&d_low, low_width as u32));
    let of_b = (dys, lows, Matrix::new(&d_b, rank as u32));
    let products = [
        Matmul::new(Layout::Nn, of_low, (0, rank as u32, 0), batch, Output::Write),
        Matmul::new(Layout::Tn, of_b, (rows as u32, rank as u32, 0), batch, Output::Write),
    ];
    let scalars = Scalars::default();
    bench
        .run(tokens(m), scalars, |plan| {
            for product in products {
                let alpha = 0.5;
                Matmul {
                    parts,
                    alpha,
                    ..product
                }
                .record_tile(plan, tile);
            }
        })
        .await?;
    let (mut want_low, mut want_b) = (vec![0.0; m * low_width], vec![0.0; rows * rank]);
    for i in 0..m {
        for (j, part) in parts.iter().enumerate() {
            for o in 0..part.len as usize {
                let (row, dy) = (part.start as usize + o, 0.5 * dy[i * width + part.first as usize + o]);
                for r in 0..rank {
                    want_low[i * low_width + j * rank + r] += dy * b[row * rank + r];
                    want_b[row * rank + r] += dy * low[i * low_width + j * rank + r];
                }
            }
        }
    }
    let name = format!("{} parts of {width} {tile:?}", parts.len());
    bench
        .compare(format!("matmul Nn {name}"), &d_low, &want_low, tolerance)
        .await?;
    bench
        .compare(format!("matmul Tn {name}"), &d_b, &want_b, tolerance)
        .await
}
