//! The gated activation of Llama's feed-forward block.

use super::ITEMS;
use crate::gpu::{Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::{SWIGLU, SWIGLU_BACKWARD};

params! { width4: u32 }

/// `h = silu(g) · u`, with `gu [R, 2F]` = g, then u; writes `h [R, F]`.
pub fn forward(plan: &mut PlanBuilder, tokens: Rows, gu: &Tensor, width: u32, h: &Tensor) {
    let params = Params { width4: width / 4 };
    plan.dispatch(
        &Kernel::new("swiglu", SWIGLU, &[]),
        &params,
        tokens.times(width / 4),
        ITEMS,
        &[gu, h],
        0,
    );
}

/// Writes `dgu [R, 2F]` from `dh [R, F]`.
pub fn backward(plan: &mut PlanBuilder, tokens: Rows, gu: &Tensor, dh: &Tensor, width: u32, dgu: &Tensor) {
    let kernel = Kernel::new("swiglu_backward", SWIGLU_BACKWARD, &[]);
    plan.dispatch(
        &kernel,
        &Params { width4: width / 4 },
        tokens.times(width / 4),
        ITEMS,
        &[gu, dh, dgu],
        0,
    );
}
