//! Dropout keyed by step, example, position and place in the model, so that packing and resuming never change it.

use super::ITEMS;
use crate::gpu::{Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::DROPOUT;

params! { width4: u32, site: u32, probability: f32 }

/// `y = x · keep ÷ (1 − probability)` over `[R, width]`, added to `y` where `accumulate`. `site` names the module.
pub fn apply(
    plan: &mut PlanBuilder,
    tokens: Rows,
    (position, example): (&Tensor, &Tensor),
    (site, probability): (u32, f32),
    x: &Tensor,
    y: &Tensor,
    width: u32,
    accumulate: bool,
) {
    let kernel = Kernel::new("dropout", DROPOUT, &[("ACCUMULATE", f64::from(u8::from(accumulate)))]);
    let params = Params {
        width4: width / 4,
        site,
        probability,
    };
    plan.dispatch(
        &kernel,
        &params,
        tokens.times(width / 4),
        ITEMS,
        &[position, example, x, y],
        0,
    );
}
