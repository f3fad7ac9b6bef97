//! Cases of the kernels that walk over rows.

use super::{Bench, CaseResult, LOOSE, spread, stored, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::Scalars;
use crate::ops::{self, rmsnorm::Place};
use crate::reference;

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
