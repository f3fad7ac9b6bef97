//! Softmax, loss and its gradient over rows of logits, in place.

use super::row_kernel;
use crate::gpu::{PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::CROSS_ENTROPY;

params! { vocabulary: u32, stride4: u32, first: u32 }

/// For each row of `logits [rows, vocabulary]` (rows of `stride` numbers) writes `loss` and `correct` at `first + row`;
/// where `backward`, replaces the logits by the gradient of the loss times the step's `loss_scale`.
pub fn apply(
    plan: &mut PlanBuilder,
    rows: Rows,
    first: u32,
    target: &Tensor,
    (logits, vocabulary, stride): (&Tensor, u32, u32),
    (loss, correct): (&Tensor, &Tensor),
    backward: bool,
) {
    let shape = super::long_row_shape(plan.gpu().family());
    let (mut kernel, grid) = row_kernel("cross_entropy", CROSS_ENTROPY, shape);
    kernel.constants.push(("BACKWARD", f64::from(u8::from(backward))));
    let params = Params {
        vocabulary,
        stride4: stride / 4,
        first,
    };
    plan.dispatch(&kernel, &params, rows, grid, &[target, logits, loss, correct], 0);
}
