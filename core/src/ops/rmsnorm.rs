//! Root-mean-square normalisation of rows, whole tokens or heads.

use super::{row_kernel, row_shape};
use crate::gpu::{PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::{RMSNORM, RMSNORM_BACKWARD};

/// Where the normalised rows lie: `heads` of `width` numbers for each token, inside rows of `stride` numbers, from number
/// `offset` on.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Normalised rows for each token.
    pub heads: u32,
    /// Numbers in each.
    pub width: u32,
    /// Numbers from one token to the next.
    pub stride: u32,
    /// Place of the first head in a token.
    pub offset: u32,
}

impl Place {
    /// One row a token, nothing between.
    pub fn rows(width: u32) -> Self {
        Self {
            heads: 1,
            width,
            stride: width,
            offset: 0,
        }
    }
}

params! { heads: u32, width4: u32, x_stride4: u32, x_offset4: u32, y_stride4: u32, y_offset4: u32, eps: f32 }

impl Params {
    fn new(x: Place, y: Place, eps: f32) -> Self {
        Self {
            heads: x.heads,
            width4: x.width / 4,
            x_stride4: x.stride / 4,
            x_offset4: x.offset / 4,
            y_stride4: y.stride / 4,
            y_offset4: y.offset / 4,
            eps,
        }
    }
}

/// `y = x · rstd · w`, `rstd [R · heads]`; writes `y` (at `y_place`) and `rstd`.
pub fn forward(
    plan: &mut PlanBuilder,
    tokens: Rows,
    (x, x_place): (&Tensor, Place),
    w: &Tensor,
    eps: f32,
    (y, y_place): (&Tensor, Place),
    rstd: &Tensor,
) {
    let (kernel, grid) = row_kernel("rmsnorm", RMSNORM, row_shape(plan.gpu().family()));
    let params = Params::new(x_place, y_place, eps);
    plan.dispatch(&kernel, &params, tokens.times(x_place.heads), grid, &[x, w, y, rstd], 0);
}

/// The gradient in `x`. `dy` and `dx` both lie at `d_place`. Adds to `dx` where `accumulate`, else writes it.
pub fn backward(
    plan: &mut PlanBuilder,
    tokens: Rows,
    (x, x_place): (&Tensor, Place),
    w: &Tensor,
    rstd: &Tensor,
    (dy, dx, d_place): (&Tensor, &Tensor, Place),
    accumulate: bool,
) {
    let (mut kernel, grid) = row_kernel("rmsnorm_backward", RMSNORM_BACKWARD, row_shape(plan.gpu().family()));
    kernel.constants.push(("ACCUMULATE", f64::from(u8::from(accumulate))));
    let params = Params::new(x_place, d_place, 0.0);
    plan.dispatch(
        &kernel,
        &params,
        tokens.times(x_place.heads),
        grid,
        &[x, w, rstd, dy, dx],
        0,
    );
}
