//! Rows moved by index.

use super::{ITEMS, rmsnorm::Place};
use crate::gpu::{Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::GATHER;

params! { width4: u32, x_stride4: u32, x_offset4: u32, y_stride4: u32, y_offset4: u32, first: u32 }

/// An index that stands for a row of zeros.
pub const NONE: u32 = u32::MAX;

/// `y[i] = x[index[i]]`, zero where the index is [`NONE`]. `rows` rows of `index` from `first` on.
pub fn gather(
    plan: &mut PlanBuilder,
    rows: Rows,
    index: &Tensor,
    first: u32,
    x: (&Tensor, Place),
    y: (&Tensor, Place),
) {
    record(plan, rows, index, first, x, y, false);
}

/// `y[index[i]] = x[i]`.
pub fn scatter(plan: &mut PlanBuilder, rows: Rows, index: &Tensor, x: (&Tensor, Place), y: (&Tensor, Place)) {
    record(plan, rows, index, 0, x, y, true);
}

fn record(
    plan: &mut PlanBuilder,
    rows: Rows,
    index: &Tensor,
    first: u32,
    (x, x_place): (&Tensor, Place),
    (y, y_place): (&Tensor, Place),
    scatter: bool,
) {
    let params = Params {
        width4: x_place.width / 4,
        x_stride4: x_place.stride / 4,
        x_offset4: x_place.offset / 4,
        y_stride4: y_place.stride / 4,
        y_offset4: y_place.offset / 4,
        first,
    };
    let kernel = Kernel::new("gather", GATHER, &[("SCATTER", f64::from(u8::from(scatter)))]);
    plan.dispatch(
        &kernel,
        &params,
        rows.times(x_place.width / 4),
        ITEMS,
        &[index, x, y],
        0,
    );
}
