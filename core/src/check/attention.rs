//! Cases of attention, forward and backward.

use super::{Bench, CaseResult, LOOSE, rounding, stored, suffix, token_rows, tokens};
use crate::Result;
use crate::gpu::Scalars;
use crate::ops::attention::{self, Saved, Shape};
use crate::reference::{self, attention::Heads};

pub(super) async fn attention<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    let scaled = Heads {
        scale: 0.75,
        ..Heads::new(6, 2, 16)
    };
    // (segment lengths, query heads, key heads, head size)
    let cases: [(&[usize], Heads); 8] = [
        (&[5, 1, 7], Heads::new(4, 2, 8)),
        (&[70], Heads::new(3, 3, 16)),
        (&[3, 30, 67], Heads::new(9, 3, 64)),
        (&[19], Heads::new(5, 1, 24)),
        (&[11, 6], Heads::new(2, 1, 128)),
        (&[9], Heads::new(2, 2, 256)),
        (&[2, 2], Heads::new(6, 2, 80)),
        (&[7, 36], scaled),
    ];
    for ((segments, heads), storage) in stored(&cases) {
        let Heads {
            query,
            key,
            size,
            scale,
        } = heads;
        let n: usize = segments.iter().sum();
        let (mut keys, mut queries, mut start) = (Vec::new(), Vec::new(), 0);
        for &len in segments {
            for i in start..start + len {
                keys.push([start as u32, i as u32 + 1]);
                queries.push([i as u32, (start + len) as u32]);
            }
            start += len;
        }
        let (q, k, v) = (
            bench.normal_as(n * query * size, storage),
            bench.normal_as(n * key * size, storage),
            bench.normal_as(n * key * size, storage),
        );
        let d_o = bench.normal(n * query * size);
        let (want_o, want_lse) = reference::attention::forward(heads, &q, &k, &v, &keys);
        let (dq, dk, dv) = reference::attention::backward(heads, &q, &k, &v, &keys, &d_o);
        let fuse = |q: &[f64], k: &[f64], v: &[f64]| -> Vec<f64> {
            (0..n)
                .flat_map(|t| {
                    let row = |x: &[f64], h: usize| x[t * h * size..][..h * size].to_vec();
                    [row(q, query), row(k, key), row(v, key)].concat()
                })
                .collect()
        };
        let shape = Shape {
            scale: scale as f32,
            ..Shape::fused(query as u32, key as u32, size as u32)
        };
        let (qkv, _) = bench.upload_as(&fuse(&q, &k, &v), storage);
        let (gkeys, gqueries) = (
            bench.upload_u32(keys.as_flattened()),
            bench.upload_u32(queries.as_flattened()),
        );
        // A capacity larger than the batch: `delta` lies behind the capacity's log-sum-exps.
        let capacity = n + 3;
        let (o, lse) = (bench.nan_as(n * query * size, storage), bench.nan(2 * capacity * query));
        let (alone, lse_alone) = (bench.nan_as(n * query * size, storage), bench.nan(n * query));
        let (gdo, d) = (bench.upload(&d_o), bench.nan(n * (query + 2 * key) * size));
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                let operands = (&qkv, &qkv, &qkv);
                attention::forward(plan, token_rows(), &shape, operands, &gkeys, (&o, &lse), n as u32);
                let results = (&alone, &lse_alone);
                let most = (n as u32, n as u32);
                attention::forward_alone(plan, token_rows(), &shape, operands, &gkeys, results, most);
                let saved = Saved {
                    keys: &gkeys,
                    queries: &gqueries,
                    o: &o,
                    lse: &lse,
                    delta_offset: (capacity * query) as u32,
                };
                attention::backward(
                    plan,
                    token_rows(),
                    &shape,
                    operands,
                    &saved,
                    &gdo,
                    (&d, &shape),
                    n as u32,
                );
            })
            .await?;
        let case = format!("{segments:?} heads {query}:{key} x {size}{}", suffix(storage));
        // The output as it is stored decides delta.
        let backward = LOOSE + rounding(storage);
        bench.compare(format!("attention {case}"), &o, &want_o, LOOSE).await?;
        bench
            .compare(format!("attention lse {case}"), &lse, &want_lse, LOOSE)
            .await?;
        bench
            .compare(format!("attention alone {case}"), &alone, &want_o, LOOSE)
            .await?;
        bench
            .compare(format!("attention alone lse {case}"), &lse_alone, &want_lse, LOOSE)
            .await?;
        bench
            .compare(format!("attention backward {case}"), &d, &fuse(&dq, &dk, &dv), backward)
            .await?;
    }
    Ok(())
}
