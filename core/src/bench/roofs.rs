//! What the adapter can do at best: in products of the model's own shapes, and in copying.

use super::Job;
use crate::Result;
use crate::gpu::{Gpu, PlanBuilder, Storage};
use crate::ops::matmul::{Layout, Product, fastest};
use crate::train::work;
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
        let frozen = job.adapter().map_or(Storage::F32, |_| job.frozen);
        let Some(plan) = product
            .plan(gpu, product.storage([frozen, job.activations]), None)
            .await?
        else {
            continue;
        };
        let flops = product.flops() as f64 / fastest(gpu, &plan, 3, now).await?;
        if flops > best.0 {
            let Product { layout, m, n, k } = product;
            best = (flops, format!("{} {m}x{n}x{k}", format!("{layout:?}").to_uppercase()));
        }
    }
    Ok(best)
}

/// Bytes read and written a second in copying from buffer to buffer.
pub async fn copy(gpu: &Gpu, now: &impl Fn() -> f64) -> Result<f64> {
    let numbers = (16 << 20).min(gpu.max_buffer() / 4);
    let [from, to] = ["from", "to"].map(|label| gpu.tensor(label, numbers, Storage::F32));
    let mut builder = PlanBuilder::new(gpu, "copy");
    builder.copy(&from, &to);
    let plan = builder.finish().await?;
    Ok(2.0 * from.bytes() as f64 / fastest(gpu, &plan, 3, now).await?)
}
