//! Cases of the row-wise and elementwise kernels.

use super::{Bench, CaseResult, LOOSE, TIGHT, stored, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::{Counts, Of, Rows, Scalars, Storage};
use crate::ops::{self, rmsnorm::Place};
use crate::reference;

/// Spread dense rows of `width` into rows of `stride` from `offset` on; what lies between is 9.
fn spread(dense: &[f64], place: Place) -> Vec<f64> {
    let token = (place.heads * place.width) as usize;
    let mut out = Vec::new();
    for row in dense.chunks(token) {
        let start = out.len();
        out.resize(start + place.stride as usize, 9.0);
        out[start + place.offset as usize..][..token].copy_from_slice(row);
    }
    out
}

pub(super) async fn rmsnorm<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    // (tokens, heads, width, x stride, x offset, y stride, y offset)
    let shapes = [
        (5, 1, 12, 12, 0, 12, 0),
        (3, 1, 576, 576, 0, 576, 0),
        (7, 3, 16, 80, 16, 64, 8),
        (2, 1, 2052, 2052, 0, 2052, 0),
        (66_001, 1, 4, 4, 0, 4, 0),
    ];
    for ((n, heads, width, x_stride, x_offset, y_stride, y_offset), storage) in stored(&shapes) {
        let x_place = Place {
            heads,
            width,
            stride: x_stride,
            offset: x_offset,
        };
        let y_place = Place {
            heads,
            width,
            stride: y_stride,
            offset: y_offset,
        };
        let rows = n * heads as usize;
        let (x, w) = (
            bench.normal_as(rows * width as usize, storage),
            bench.normal(width as usize),
        );
        let dy = bench.normal(rows * width as usize);
        let (want, want_rstd) = reference::rmsnorm::forward(&x, &w, 0.1);
        let (want_dx, _) = reference::rmsnorm::backward(&x, &w, &want_rstd, &dy);
        let ((gx, _), gw, gdy) = (
            bench.upload_as(&spread(&x, x_place), storage),
            bench.upload(&w),
            bench.upload(&spread(&dy, y_place)),
        );
        let ((y, _), rstd) = (
            bench.upload_as(&spread(&vec![f64::NAN; x.len()], y_place), storage),
            bench.nan(rows),
        );
        let (dx, added) = (
            bench.upload(&spread(&vec![f64::NAN; x.len()], y_place)),
            bench.upload(&spread(&dy, y_place)),
        );
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                let t = token_rows();
                ops::rmsnorm::forward(plan, t, (&gx, x_place), &gw, 0.1, (&y, y_place), &rstd);
                ops::rmsnorm::backward(plan, t, (&gx, x_place), &gw, &rstd, (&gdy, &dx, y_place), false);
                ops::rmsnorm::backward(plan, t, (&gx, x_place), &gw, &rstd, (&gdy, &added, y_place), true);
            })
            .await?;
        let case = format!("[{n}, {heads}, {width}]{}", suffix(storage));
        bench
            .compare(format!("rmsnorm {case}"), &y, &spread(&want, y_place), LOOSE)
            .await?;
        bench
            .compare(format!("rmsnorm rstd {case}"), &rstd, &want_rstd, LOOSE)
            .await?;
        bench
            .compare(format!("rmsnorm dx {case}"), &dx, &spread(&want_dx, y_place), LOOSE)
            .await?;
        let sum: Vec<f64> = want_dx.iter().zip(&dy).map(|(a, b)| a + b).collect();
        // Between the rows nothing may have been touched: `spread` holds 9 there on both sides.
        bench
            .compare(
                format!("rmsnorm dx added {case}"),
                &added,
                &spread(&sum, y_place),
                LOOSE,
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn column_sum<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let shapes = [(5, 1, 12, 5), (201, 1, 260, 300), (67, 3, 8, 67)];
    for ((n, heads, width, most), storage) in stored(&shapes) {
        let place = Place {
            heads,
            width,
            stride: heads * width + 4,
            offset: 4,
        };
        let dense = Place {
            heads,
            width,
            stride: heads * width,
            offset: 0,
        };
        let rows = n * heads as usize;
        let (x, z, scale) = (
            bench.normal(rows * width as usize),
            bench.normal_as(rows * width as usize, storage),
            bench.normal(rows),
        );
        let start = bench.normal(width as usize);
        let (gx, (gz, _), gs) = (
            bench.upload(&spread(&x, place)),
            bench.upload_as(&z, storage),
            bench.upload(&scale),
        );
        let scratch = bench.nan(ops::column_sum::scratch_len(most * heads, width) as usize);
        let (plain, weighted) = (bench.upload(&start), bench.upload(&start));
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                let t = token_rows();
                ops::column_sum::plain(plan, t, (&gx, place), &scratch, &plain, most);
                ops::column_sum::rmsnorm_weight(plan, t, (&gx, place), (&gz, dense), &gs, &scratch, &weighted, most);
            })
            .await?;
        let add = |sums: Vec<f64>| sums.iter().zip(&start).map(|(a, b)| a + b).collect::<Vec<f64>>();
        let ones = vec![1.0; rows];
        let want = add(reference::column_sum::weighted(
            &x,
            &vec![1.0; x.len()],
            &ones,
            width as usize,
        ));
        bench
            .compare(
                format!("column_sum [{n}, {heads}, {width}]{}", suffix(storage)),
                &plain,
                &want,
                LOOSE,
            )
            .await?;
        let want = add(reference::column_sum::weighted(&x, &z, &scale, width as usize));
        bench
            .compare(
                format!("column_sum weighted [{n}, {heads}, {width}]{}", suffix(storage)),
                &weighted,
                &want,
                LOOSE,
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn rope<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let shapes = [(5usize, 3u32, 8u32), (77, 2, 64), (3, 1, 256), (13, 5, 24)];
    for ((n, heads, size), storage) in stored(&shapes) {
        let place = Place {
            heads,
            width: size,
            stride: heads * size + 12,
            offset: 8,
        };
        let frequencies: Vec<f64> = (0..size / 2)
            .map(|i| 10_000f64.powf(-f64::from(2 * i) / f64::from(size)))
            .collect();
        let position = bench.integers(n, 2000);
        let x = bench.normal_as(n * (heads * size) as usize, storage);
        let table = ops::rope::table(2000, &frequencies);
        let (gt, gp) = (bench.gpu.upload("table", &table), bench.upload_u32(&position));
        let [turned, back] = [0, 1].map(|_| bench.upload_as(&spread(&x, place), storage).0);
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                ops::rope::apply(plan, token_rows(), &gp, &gt, (&turned, place), false);
                ops::rope::apply(plan, token_rows(), &gp, &gt, (&back, place), true);
            })
            .await?;
        for (got, sign, name) in [(turned, 1.0, "rope"), (back, -1.0, "rope backward")] {
            let want = reference::rope::apply(&x, &position, heads as usize, &frequencies, sign);
            bench
                .compare(
                    format!("{name} [{n}, {heads}, {size}]{}", suffix(storage)),
                    &got,
                    &spread(&want, place),
                    TIGHT,
                )
                .await?;
        }
    }
    Ok(())
}

pub(super) async fn swiglu<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let shapes = [(3usize, 20u32), (67, 172), (66_001, 4)];
    for ((n, width), storage) in stored(&shapes) {
        let w = width as usize;
        let wider: Vec<f64> = bench.normal(2 * n * w).iter().map(|v| v * 5.0).collect();
        let (_, gu) = bench.upload_as(&wider.iter().map(|v| f64::from(*v as f32)).collect::<Vec<_>>(), storage);
        let dh = bench.normal(n * w);
        let ((g, _), d) = (bench.upload_as(&gu, storage), bench.upload(&dh));
        let (h, dgu) = (bench.nan_as(n * w, storage), bench.nan(2 * n * w));
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                ops::swiglu::forward(plan, token_rows(), &g, width, &h);
                ops::swiglu::backward(plan, token_rows(), &g, &d, width, &dgu);
            })
            .await?;
        bench
            .compare(
                format!("swiglu [{n}, {width}]{}", suffix(storage)),
                &h,
                &reference::swiglu::forward(&gu, w),
                TIGHT,
            )
            .await?;
        let want = reference::swiglu::backward(&gu, &dh, w);
        bench
            .compare(
                format!("swiglu backward [{n}, {width}]{}", suffix(storage)),
                &dgu,
                &want,
                LOOSE,
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn embedding<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    // Factors by which nothing is rounded.
    for (n, vocabulary, width, scale) in [(9usize, 7u32, 12u32, 1.0), (130, 97, 36, 8.0), (66_001, 13, 4, 0.25)] {
        let w = width as usize;
        let token = bench.integers(n, vocabulary);
        let numbers = bench.normal(vocabulary as usize * w);
        let gt = bench.upload_u32(&token);
        for storage in [Storage::F32, Storage::Bf16, Storage::F16] {
            let (table, rounded) = bench.upload_as(&numbers, storage);
            let y = bench.nan(n * w);
            bench
                .run(tokens(n), Scalars::default(), |plan| {
                    ops::embedding::forward(plan, token_rows(), &gt, &table, (width, scale as f32), &y);
                })
                .await?;
            let want = reference::embedding::forward(&token, &rounded, w, scale);
            bench
                .compare(
                    format!("embedding {storage:?} [{n}, {vocabulary}, {width}]"),
                    &y,
                    &want,
                    0.0,
                )
                .await?;
        }
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by_key(|&t| (token[t as usize], t));
        let mut distinct: Vec<[u32; 3]> = Vec::new();
        for (place, &t) in order.iter().enumerate() {
            match distinct.last_mut() {
                Some(last) if last[0] == token[t as usize] => last[2] += 1,
                _ => distinct.push([token[t as usize], place as u32, place as u32 + 1]),
            }
        }
        let dy = bench.normal(n * w);
        let d_table = bench.upload(&numbers);
        let (gd, go, gdy) = (
            bench.upload_u32(distinct.as_flattened()),
            bench.upload_u32(&order),
            bench.upload(&dy),
        );
        let counts = Counts {
            distinct: distinct.len() as u32,
            ..tokens(n)
        };
        bench
            .run(counts, Scalars::default(), |plan| {
                let (distinct, rows) = (Rows::of(Of::Distinct), (width, scale as f32));
                ops::embedding::backward(plan, distinct, &gd, &go, &gdy, rows, &d_table);
            })
            .await?;
        let mut want = numbers;
        reference::embedding::backward(&token, &dy, w, scale, &mut want);
        bench
            .compare(
                format!("embedding backward [{n}, {vocabulary}, {width}]"),
                &d_table,
                &want,
                LOOSE,
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn gather<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let (n, source, width) = (37usize, 19usize, 12u32);
    let x_place = Place {
        heads: 1,
        width,
        stride: 20,
        offset: 4,
    };
    let y_place = Place {
        heads: 1,
        width,
        stride: 16,
        offset: 0,
    };
    let x = bench.normal(source * width as usize);
    let mut index = bench.integers(n, source as u32);
    index[3] = ops::gather::NONE;
    let gx = bench.upload(&spread(&x, x_place));
    let (gi, y) = (
        bench.upload_u32(&index),
        bench.upload(&spread(&vec![f64::NAN; n * width as usize], y_place)),
    );
    let to: Vec<u32> = (0..source as u32).map(|i| (i * 7 + 2) % source as u32).collect();
    let (gto, scattered) = (
        bench.upload_u32(&to),
        bench.upload(&spread(&vec![f64::NAN; x.len()], y_place)),
    );
    bench
        .run(tokens(n), Scalars::default(), |plan| {
            let (from, into) = ((&gx, x_place), (&y, y_place));
            ops::gather::gather(plan, token_rows(), &gi, 0, from, into);
            ops::gather::scatter(plan, Rows::fixed(source as u32), &gto, from, (&scattered, y_place));
        })
        .await?;
    let want = reference::gather::gather(&index, &x, width as usize);
    bench.compare("gather", &y, &spread(&want, y_place), 0.0).await?;
    let mut want = vec![0.0; x.len()];
    reference::gather::scatter(&to, &x, width as usize, &mut want);
    bench
        .compare("gather scatter", &scattered, &spread(&want, y_place), 0.0)
        .await
}

pub(super) async fn dropout<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let shapes = [(11usize, 12u32, 0.3f32), (130, 68, 0.0)];
    for ((n, width, probability), storage) in stored(&shapes) {
        let w = width as usize;
        let key = reference::dropout::Key {
            seed: 0x1234_5678_9abc_def0,
            step: 5,
            site: 13,
        };
        let scalars = Scalars {
            seed_low: key.seed as u32,
            seed_high: (key.seed >> 32) as u32,
            step: key.step,
            ..Scalars::default()
        };
        let (position, example) = (bench.integers(n, 500), bench.integers(n, 9));
        let (x, start) = (bench.normal_as(n * w, storage), bench.normal(n * w));
        let (gp, ge, (gx, _)) = (
            bench.upload_u32(&position),
            bench.upload_u32(&example),
            bench.upload_as(&x, storage),
        );
        let (y, added) = (bench.nan_as(n * w, storage), bench.upload(&start));
        bench
            .run(tokens(n), scalars, |plan| {
                for (y, accumulate) in [(&y, false), (&added, true)] {
                    let at = (key.site, probability);
                    ops::dropout::apply(plan, token_rows(), (&gp, &ge), at, &gx, y, width, accumulate);
                }
            })
            .await?;
        let want = reference::dropout::apply(&x, &position, &example, w, key, probability);
        bench
            .compare(
                format!("dropout {probability} [{n}, {width}]{}", suffix(storage)),
                &y,
                &want,
                TIGHT,
            )
            .await?;
        let sum: Vec<f64> = want.iter().zip(&start).map(|(a, b)| a + b).collect();
        bench
            .compare(
                format!("dropout added {probability} [{n}, {width}]{}", suffix(storage)),
                &added,
                &sum,
                TIGHT,
            )
            .await?;
    }
    Ok(())
}

pub(super) async fn argmax<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    for (n, width) in [(4usize, 97usize), (13, 320), (2, 4099), (70_000, 3)] {
        let place = Place {
            heads: 1,
            width: width as u32,
            stride: width.next_multiple_of(4) as u32,
            offset: 0,
        };
        let mut x: Vec<f64> = bench.normal(n * width);
        // Ties that the first place must win, in one lane and across lanes, and a row of what is least.
        (x[width - 1], x[1]) = (50.0, 50.0);
        (x[width], x[width + 1], x[2 * width - 1]) = (9.0, 9.0, 9.0);
        x[(n - 1) * width..].fill(-1e30);
        let mut padded = spread(&x, place);
        // What is behind a row's end counts for nothing.
        let rows = padded.chunks_mut(place.stride as usize);
        rows.for_each(|row| row[width..].fill(100.0));
        let (x_padded, y) = (bench.upload(&padded), bench.nan(n));
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                ops::argmax::apply(plan, token_rows(), (&x_padded, place.width, place.stride), &y);
            })
            .await?;
        let got: Vec<u32> = bytemuck::pod_collect_to_vec(&bench.gpu.read_bytes(&y).await?);
        let got: Vec<f64> = got.into_iter().map(f64::from).collect();
        let want: Vec<f64> = reference::argmax::apply(&x, width).into_iter().map(f64::from).collect();
        let got = bench.upload(&got);
        bench.compare(format!("argmax {n}x{width}"), &got, &want, 0.0).await?;
    }
    Ok(())
}

pub(super) async fn cross_entropy<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    for (n, vocabulary) in [(3usize, 97usize), (13, 320), (2, 4099)] {
        let stride = vocabulary.next_multiple_of(4);
        let mut logits: Vec<f64> = bench
            .normal(n * vocabulary)
            .iter()
            .map(|v| f64::from((v * 4.0) as f32))
            .collect();
        let mut target = bench.integers(n, vocabulary as u32);
        // A correct row, and a tie that the first index must win.
        logits[target[1] as usize + vocabulary] = 40.0;
        (logits[vocabulary - 1], logits[5], target[0]) = (50.0, 50.0, 5);
        let first = 2;
        let place = Place {
            heads: 1,
            width: vocabulary as u32,
            stride: stride as u32,
            offset: 0,
        };
        let padded = spread(&logits, place);
        let (z, kept) = (bench.upload(&padded), bench.upload(&padded));
        let mut shifted = vec![0; first];
        shifted.extend(&target);
        let gt = bench.upload_u32(&shifted);
        let (loss, correct) = (bench.nan(first + n), bench.nan(first + n));
        let scalars = Scalars {
            loss_scale: 0.125,
            ..Scalars::default()
        };
        bench
            .run(tokens(n), scalars, |plan| {
                for (z, backward) in [(&kept, false), (&z, true)] {
                    let shape = (z, vocabulary as u32, stride as u32);
                    ops::cross_entropy::apply(
                        plan,
                        token_rows(),
                        first as u32,
                        &gt,
                        shape,
                        (&loss, &correct),
                        backward,
                    );
                }
            })
            .await?;
        let (want_loss, want_correct, want) = reference::cross_entropy::apply(&logits, &target, vocabulary, 0.125);
        let case = format!("[{n}, {vocabulary}]");
        // A slice must begin at 256 bytes to be bound, not to be read.
        bench
            .compare(
                format!("cross_entropy loss {case}"),
                &loss.slice(first as u64, n as u64),
                &want_loss,
                LOOSE,
            )
            .await?;
        let got = correct.slice(first as u64, n as u64);
        bench
            .compare(format!("cross_entropy correct {case}"), &got, &want_correct, 0.0)
            .await?;
        bench
            .compare(format!("cross_entropy untouched {case}"), &kept, &padded, 0.0)
            .await?;
        let want: Vec<f64> = spread(&want, place)
            .iter()
            .map(|&v| if v == 9.0 { 0.0 } else { v })
            .collect();
        bench
            .compare(format!("cross_entropy gradient {case}"), &z, &want, LOOSE)
            .await?;
    }
    Ok(())
}
