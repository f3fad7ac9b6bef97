//! What the adapter can do at best: in products of the model's own shapes, and in copying.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::Result;
use pollster::block_on;
use wgpu_sft::gpu::{Counts, Gpu, Of, Plan, PlanBuilder, Rows, Scalars, Storage};
use wgpu_sft::ops::matmul::{Layout, Matmul, Matrix, Output};
use wgpu_sft::train::work::{self, Product};

use super::Job;

/// The fastest product.
pub struct Best {
    /// Floating-point operations a second.
    pub flops: f64,
    /// Its layout and sizes.
    pub name: String,
}

/// Numbers that a product's result may have: as the training step's logits, which come in chunks of rows.
const LARGEST: u32 = 16 << 20;

/// The fastest of the step's products of linear layers and head, each alone.
pub fn matmul(gpu: &Gpu, job: &Job, targets: u32) -> Result<Best> {
    let mut best = Best {
        flops: 0.0,
        name: String::new(),
    };
    let mut seen = HashSet::new();
    for mut product in work::products(&job.config, None, job.tokens, targets)? {
        if product.layout == Layout::Tn && job.lora().is_some() {
            continue;
        }
        let stored = if job.lora().is_some() { job.frozen } else { Storage::F32 };
        if product.layout != Layout::Tn {
            let widest = product.n.max(product.k);
            product.m = product.m.min((LARGEST / widest).max(1));
        }
        if !seen.insert(product) {
            continue;
        }
        let Some(plan) = plan(gpu, &product, stored)? else {
            continue;
        };
        let flops = product.flops() as f64 / fastest(gpu, &plan, 3)?;
        if flops > best.flops {
            let Product { layout, m, n, k } = product;
            best = Best {
                flops,
                name: format!("{layout:?} {m}x{n}x{k}").to_uppercase().replace('X', "x"),
            };
        }
    }
    Ok(best)
}

/// One product; none where an operand does not fit a binding.
fn plan(gpu: &Gpu, product: &Product, stored: Storage) -> Result<Option<Plan>> {
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
    let mut builder = PlanBuilder::new(gpu, "product");
    Matmul::new(
        layout,
        operands,
        (m, n, k),
        (Rows::of(Of::Tokens).chunk(0, rows), rows),
        output,
    )
    .record(&mut builder);
    Ok(Some(block_on(builder.finish())?))
}

/// The least of some runs' seconds, after one that is not counted.
fn fastest(gpu: &Gpu, plan: &Plan, runs: u32) -> Result<f64> {
    let counts = Counts {
        tokens: u32::MAX,
        ..Counts::default()
    };
    let mut least = f64::INFINITY;
    for run in 0..=runs {
        let begun = Instant::now();
        plan.run(&counts, &Scalars::default());
        block_on(gpu.finish())?;
        if run > 0 {
            least = least.min(begun.elapsed().as_secs_f64());
        }
    }
    Ok(least)
}

/// Bytes read and written a second in copying from buffer to buffer.
pub fn copy(gpu: &Gpu) -> Result<f64> {
    let numbers = (16 << 20).min(gpu.max_buffer() / 4);
    let [from, to] = ["from", "to"].map(|label| gpu.tensor(label, numbers, Storage::F32));
    let mut builder = PlanBuilder::new(gpu, "copy");
    builder.copy(&from, &to);
    let plan = block_on(builder.finish())?;
    Ok(2.0 * from.bytes() as f64 / fastest(gpu, &plan, 3)?)
}
