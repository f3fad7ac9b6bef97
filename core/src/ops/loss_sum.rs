//! A micro-batch's loss and correct predictions, summed into the step's metrics.

use crate::gpu::{Grid, Kernel, PlanBuilder, Rows, Tensor};
use wgpu_sft_shaders::LOSS_SUM;

/// Numbers in a `metrics` tensor: loss sum, correct predictions, gradient norm, clip factor, the step that diverged.
pub const METRICS: u64 = 8;

/// `metrics[0] += Σ loss`, `metrics[1] += Σ correct`.
pub fn apply(plan: &mut PlanBuilder, targets: Rows, loss: &Tensor, correct: &Tensor, metrics: &Tensor) {
    let kernel = Kernel::new("loss_sum", LOSS_SUM, &[]);
    plan.dispatch(&kernel, &(), targets, Grid::Fixed([1; 3]), &[loss, correct, metrics], 0);
}
