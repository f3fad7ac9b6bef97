//! The AdamW update over flat tensors.

use crate::gpu::{Gpu, Grid, Kernel, PER_BYTE, PlanBuilder, Rows, Tensor};
use wgpu_sft_shaders::ADAMW;

/// Bytes of a gradient whose update is as much as one dispatch may carry: as many of the weights, and of two moments, go with them.
pub fn most_bytes(gpu: &Gpu) -> u64 {
    gpu.work_per_dispatch() / (4 * PER_BYTE)
}

/// One update of `weight` and its moments, all of the same length, a multiple of four; `decay` applies weight decay.
pub fn update(
    plan: &mut PlanBuilder,
    metrics: &Tensor,
    gradient: &Tensor,
    weight: &Tensor,
    (first_moment, second_moment): (&Tensor, &Tensor),
    decay: bool,
) {
    let lanes: u32 = if plan.gpu().family().is_cpu() { 8 } else { 64 };
    let constants = [("LANES", f64::from(lanes)), ("DECAY", f64::from(u8::from(decay)))];
    let kernel = Kernel::new("adamw", ADAMW, &constants);
    let rows = Rows::fixed((weight.len() / 4) as u32);
    plan.dispatch(
        &kernel,
        &(),
        rows,
        Grid::Linear(8 * lanes),
        &[metrics, gradient, weight, first_moment, second_moment],
        0,
    );
}
