//! Cases of the kernels that treat every number, or every pair, by itself.

use super::{Bench, CaseResult, LOOSE, TIGHT, spread, stored, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::{Counts, Of, Rows, Scalars, Storage};
use crate::ops::{self, rmsnorm::Place};
use crate::reference;

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
