//! The place of each row's largest number.

use super::row_kernel;
use crate::gpu::{PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::ARGMAX;

params! { width: u32, stride4: u32 }

/// For each row of `x [rows, width]` (rows of `stride` numbers, a multiple of 4) writes to `y`, as a `u32`, the place of its
/// largest number, the first of equals.
pub fn apply(plan: &mut PlanBuilder, rows: Rows, (x, width, stride): (&Tensor, u32, u32), y: &Tensor) {
    let shape = super::long_row_shape(plan.gpu().family());
    let (kernel, grid) = row_kernel("argmax", ARGMAX, shape);
    let params = Params {
        width,
        stride4: stride / 4,
    };
    plan.dispatch(&kernel, &params, rows, grid, &[x, y], 0);
}
