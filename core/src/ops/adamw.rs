//! The AdamW update over flat tensors.

use super::ITEMS;
use crate::gpu::{Kernel, PlanBuilder, Rows, Tensor};
use wgpu_sft_shaders::ADAMW;

/// One update of `weight` and its moments, all of the same length, a multiple of four; `decay` applies weight decay.
pub fn update(
    plan: &mut PlanBuilder,
    metrics: &Tensor,
    gradient: &Tensor,
    weight: &Tensor,
    (first_moment, second_moment): (&Tensor, &Tensor),
    decay: bool,
) {
    let kernel = Kernel::new("adamw", ADAMW, &[("DECAY", f64::from(u8::from(decay)))]);
    let rows = Rows::fixed((weight.len() / 4) as u32);
    plan.dispatch(
        &kernel,
        &(),
        rows,
        ITEMS,
        &[metrics, gradient, weight, first_moment, second_moment],
        0,
    );
}
