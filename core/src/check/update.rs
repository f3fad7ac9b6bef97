//! Cases of the kernels behind the optimizer step.

use super::{Bench, CaseResult, LOOSE, TIGHT, token_rows, tokens};
use crate::Result;
use crate::gpu::{Counts, Scalars};
use crate::ops;
use crate::reference;

/// The constants of these cases: none of them neutral.
fn scalars() -> Scalars {
    Scalars {
        step: 3,
        learning_rate: 0.01,
        weight_decay: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-3,
        correction1: 1.0 - 0.9f32.powi(3),
        correction2_root: (1.0 - 0.99f64.powi(3)).sqrt() as f32,
        max_norm: 0.7,
        ..Scalars::default()
    }
}

pub(super) async fn adamw<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    for (n, decay, latched) in [
        (1004, true, false),
        (64, false, false),
        (4 * 64 * 66_000, true, false),
        (100, true, true),
    ] {
        let s = scalars();
        let (w, g, m) = (bench.normal(n), bench.normal(n), bench.normal(n));
        let v: Vec<f64> = bench.normal(n).iter().map(|v| v * v).collect();
        let metrics = bench.upload(&[0.0, 0.0, 0.0, 0.5, if latched { 2.0 } else { 0.0 }, 0.0, 0.0, 0.0]);
        let (gw, gg, gm, gv) = (bench.upload(&w), bench.upload(&g), bench.upload(&m), bench.upload(&v));
        bench
            .run(Counts::default(), s, |plan| {
                ops::adamw::update(plan, &metrics, &gg, &gw, (&gm, &gv), decay)
            })
            .await?;
        let update = reference::adamw::Update {
            learning_rate: 0.01,
            weight_decay: if decay { 0.1 } else { 0.0 },
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-3,
            step: 3,
            clip: 0.5,
        };
        let (mut want, mut want_m, mut want_v) = (w, m, v);
        if !latched {
            reference::adamw::update(&update, &g, &mut want, &mut want_m, &mut want_v);
        }
        let case = format!(
            "[{n}]{}{}",
            if decay { " decay" } else { "" },
            if latched { " latched" } else { "" }
        );
        bench.compare(format!("adamw weight {case}"), &gw, &want, TIGHT).await?;
        bench
            .compare(format!("adamw first moment {case}"), &gm, &want_m, TIGHT)
            .await?;
        bench
            .compare(format!("adamw second moment {case}"), &gv, &want_v, TIGHT)
            .await?;
    }
    Ok(())
}

pub(super) async fn gradient_norm<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    for (sizes, max_norm) in [
        (vec![12, 70_000], 0.7),
        (vec![16_384, 4, 300_004], 0.0),
        (vec![64], 1e6),
    ] {
        let gradients: Vec<Vec<f64>> = sizes.iter().map(|&n| bench.normal(n)).collect();
        let tensors: Vec<_> = gradients.iter().map(|g| bench.upload(g)).collect();
        let counts: Vec<u64> = tensors.iter().map(|t| ops::gradient_norm::partials(t.len())).collect();
        let total = counts.iter().sum::<u64>();
        let partial_sums = bench.nan(total as usize);
        let metrics = bench.upload(&[1.0, 0.0, f64::NAN, f64::NAN, 0.0, 0.0, 0.0, 0.0]);
        bench
            .run(Counts::default(), Scalars { max_norm, ..scalars() }, |plan| {
                let mut first = 0;
                for (tensor, count) in tensors.iter().zip(&counts) {
                    ops::gradient_norm::partial(plan, tensor, &partial_sums, first);
                    first += *count as u32;
                }
                ops::gradient_norm::finish(plan, &partial_sums, total as u32, &metrics);
            })
            .await?;
        let (norm, clip) = reference::gradient_norm::apply(&gradients.concat(), f64::from(max_norm));
        let want = [1.0, 0.0, norm, clip, 0.0];
        bench
            .compare(format!("gradient_norm {sizes:?}"), &metrics.slice(0, 5), &want, LOOSE)
            .await?;
        let clip_only = metrics.slice(3, 1);
        bench
            .compare(format!("gradient_norm clip {sizes:?}"), &clip_only, &[clip], LOOSE)
            .await?;
    }
    // A gradient or a loss that is not finite latches the step, and a later one does not overwrite it.
    for (gradient, loss, before, after) in [
        (f64::NAN, 1.0, 0.0, 3.0),
        (f64::INFINITY, 1.0, 0.0, 3.0),
        (1.0, f64::NAN, 0.0, 3.0),
        (f64::NAN, 1.0, 2.0, 2.0),
        (1.0, 1.0, 0.0, 0.0),
    ] {
        let g = bench.upload(&[1.0, gradient, 1.0, 1.0]);
        let partial_sums = bench.nan(1);
        let metrics = bench.upload(&[loss, 0.0, 0.0, 0.0, before, 0.0, 0.0, 0.0]);
        bench
            .run(Counts::default(), scalars(), |plan| {
                ops::gradient_norm::partial(plan, &g, &partial_sums, 0);
                ops::gradient_norm::finish(plan, &partial_sums, 1, &metrics);
            })
            .await?;
        let name = format!("gradient_norm latch, gradient {gradient}, loss {loss}, latched {before}");
        bench.compare(name, &metrics.slice(4, 1), &[after], 0.0).await?;
    }
    Ok(())
}

pub(super) async fn loss_sum<F: FnMut(&CaseResult)>(bench: &mut Bench<'_, F>) -> Result<()> {
    for n in [1, 63, 4097] {
        let loss = bench.normal(n);
        let correct: Vec<f64> = bench.integers(n, 2).into_iter().map(f64::from).collect();
        let mut want = vec![3.0, 5.0, -1.0];
        let metrics = bench.upload(&want);
        let (gl, gc) = (bench.upload(&loss), bench.upload(&correct));
        bench
            .run(tokens(n), Scalars::default(), |plan| {
                ops::loss_sum::apply(plan, token_rows(), &gl, &gc, &metrics);
            })
            .await?;
        reference::loss_sum::apply(&loss, &correct, &mut want);
        bench.compare(format!("loss_sum [{n}]"), &metrics, &want, LOOSE).await?;
    }
    Ok(())
}
