//! What the adapter can do at best: in products of the model's own shapes, and in copying.

use super::Job;
use crate::Result;
use crate::gpu::{Counts, Gpu, Of, Plan, PlanBuilder, Rows, Scalars, Storage};
use crate::ops::matmul::{Layout, Matmul, Matrix, Output};
use crate::train::work::{self, Product};
use std::collections::HashSet;

/// Numbers that a product's result may have: as the training step's logits, which come in chunks of rows.
const LARGEST: u32 = 16 << 20;

/// The fastest of the step's products of linear layers and head, each alone: floating-point operations a second, and its
/// layout and sizes.
pub async fn matmul(gpu: &Gpu, job: &Job, targets: u32, now: &impl Fn() -> f64) -> Result<(f64, String)> {
    let mut best = (0.0, String::new());
    let mut seen = HashSet::new();
    for mut product in work::products(&job.config, None, job.tokens, targets)? {
        if product.layout == Layout::Tn && job.adapter().is_some() {
            continue;
        }
        if product.layout != Layout::Tn {
            let widest = product.n.max(product.k);
            product.m = product.m.min((LARGEST / widest).max(1));
        }
        if !seen.insert(product) {
            continue;
        }
        let stored = job.adapter().map_or(Storage::F32, |_| job.frozen);
        let Some(plan) = plan(gpu, &product, stored).await? else {
            continue;
        };
        let flops = product.flops() as f64 / fastest(gpu, &plan, now).await?;
        if flops > best.0 {
            let Product { layout, m, n, k } = product;
            best = (flops, format!("{} {m}x{n}x{k}", format!("{layout:?}").to_uppercase()));
        }
    }
    Ok(best)
}

/// One product; none where an operand does not fit a binding.
async fn plan(gpu: &Gpu, product: &Product, stored: Storage) -> Result<Option<Plan>> {
    let Product { layout, m, n, k } = *product;
    let [a_width, b_width] = [
        if layout == Layout::Tn { m } else { k },
        if layout == Layout::Nt { k } else { n },
    ];
    let numbers = |rows: u32, columns: u32| u64::from(rows) * u64::from(columns);
    let storage = if layout == Layout::Tn { Storage::F32 } else { stored };
    let sizes = [
        (numbers(m, k), Storage::F32),
        (numbers(n, k), storage),
        (numbers(m, n), Storage::F32),
    ];
    if sizes
        .iter()
        .any(|(len, storage)| len * storage.bytes() > gpu.max_binding())
    {
        return Ok(None);
    }
    let [a, b, c] = sizes.map(|(len, storage)| gpu.tensor("bench", len, storage));
    let (rows, output) = match layout {
        Layout::Tn => (k, Output::Accumulate),
        _ => (m, Output::Write),
    };
    let operands = (Matrix::new(&a, a_width), Matrix::new(&b, b_width), Matrix::new(&c, n));
    let batch = (Rows::of(Of::Tokens).chunk(0, rows), rows);
    let mut builder = PlanBuilder::new(gpu, "product");
    Matmul::new(layout, operands, (m, n, k), batch, output).record(&mut builder);
    Ok(Some(builder.finish().await?))
}

/// The least seconds of three runs, after one that is not counted.
async fn fastest(gpu: &Gpu, plan: &Plan, now: &impl Fn() -> f64) -> Result<f64> {
    let counts = Counts {
        tokens: u32::MAX,
        ..Counts::default()
    };
    let mut least = f64::INFINITY;
    for run in 0..4 {
        let begun = now();
        plan.run(&counts, &Scalars::default());
        gpu.finish().await?;
        if run > 0 {
            least = least.min(now() - begun);
        }
    }
    Ok(least)
}

/// Bytes read and written a second in copying from buffer to buffer.
pub async fn copy(gpu: &Gpu, now: &impl Fn() -> f64) -> Result<f64> {
    let numbers = (16 << 20).min(gpu.max_buffer() / 4);
    let [from, to] = ["from", "to"].map(|label| gpu.tensor(label, numbers, Storage::F32));
    let mut builder = PlanBuilder::new(gpu, "copy");
    builder.copy(&from, &to);
    let plan = builder.finish().await?;
    Ok(2.0 * from.bytes() as f64 / fastest(gpu, &plan, now).await?)
}
