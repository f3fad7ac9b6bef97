//! The norm of all gradients, and the clip factor.

use crate::gpu::{Grid, Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::{GRADIENT_NORM, GRADIENT_NORM_FINISH};

params! { first: u32 }

/// Vectors of four that one workgroup sums.
const BLOCK: u32 = 4096;

/// Bytes that one partial sum is of.
pub const BLOCK_BYTES: u64 = 16 * BLOCK as u64;

/// Partial sums for a tensor of `len` numbers.
pub fn partials(len: u64) -> u64 {
    (len / 4).div_ceil(u64::from(BLOCK))
}

/// Writes the partial sums of squares of `gradient` (a multiple of four numbers) to `partial_sums[first..]`.
pub fn partial(plan: &mut PlanBuilder, gradient: &Tensor, partial_sums: &Tensor, first: u32) {
    // On a CPU adapter, one lane after another reads what a cache line holds.
    let lanes = if plan.gpu().family().is_cpu() { 8.0 } else { 64.0 };
    let kernel = Kernel::new("gradient_norm", GRADIENT_NORM, &[("LANES", lanes)]);
    let rows = Rows::fixed((gradient.len() / 4) as u32);
    plan.dispatch(
        &kernel,
        &Params { first },
        rows,
        Grid::Linear(BLOCK),
        &[gradient, partial_sums],
        0,
    );
}

/// Writes the norm, the clip factor and the divergence latch to `metrics`; see [`super::loss_sum::METRICS`].
pub fn finish(plan: &mut PlanBuilder, partial_sums: &Tensor, count: u32, metrics: &Tensor) {
    let kernel = Kernel::new("gradient_norm_finish", GRADIENT_NORM_FINISH, &[]);
    plan.dispatch(
        &kernel,
        &(),
        Rows::fixed(count),
        Grid::Fixed([1; 3]),
        &[partial_sums, metrics],
        0,
    );
}
