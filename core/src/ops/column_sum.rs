//! Sums over rows, in a fixed order: gradients of biases and of norm weights.

use super::rmsnorm::Place;
use crate::gpu::{Grid, Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::COLUMN_SUM;

params! {
    heads: u32, width4: u32, x_stride4: u32, x_offset4: u32, z_stride4: u32, z_offset4: u32, block: u32,
}

/// Rows summed by one invocation of the first pass.
const BLOCK: u32 = 64;

/// Numbers of scratch needed for `rows` rows (heads counted) of `width`.
pub fn scratch_len(rows: u32, width: u32) -> u64 {
    u64::from(rows.div_ceil(BLOCK)) * u64::from(width)
}

/// `y [width] += Σ_t x[t]`.
pub fn plain(plan: &mut PlanBuilder, tokens: Rows, x: (&Tensor, Place), scratch: &Tensor, y: &Tensor, most: u32) {
    record(plan, tokens, x, x, x.0, 0, scratch, y, most);
}

/// `y [width] += Σ_t dy[t] · x[t] · rstd[t]`: the gradient of rmsnorm's weight.
pub fn rmsnorm_weight(
    plan: &mut PlanBuilder,
    tokens: Rows,
    dy: (&Tensor, Place),
    x: (&Tensor, Place),
    rstd: &Tensor,
    scratch: &Tensor,
    y: &Tensor,
    most: u32,
) {
    record(plan, tokens, dy, x, rstd, 1, scratch, y, most);
}

/// Blocks of rows into `scratch`, then the blocks into `y`. `most` is the largest number of tokens.
fn record(
    plan: &mut PlanBuilder,
    tokens: Rows,
    (x, place): (&Tensor, Place),
    (z, z_place): (&Tensor, Place),
    scale: &Tensor,
    mode: u32,
    scratch: &Tensor,
    y: &Tensor,
    most: u32,
) {
    let kernel = |mode: u32, accumulate: u32| {
        let constants = [("MODE", f64::from(mode)), ("ACCUMULATE", f64::from(accumulate))];
        Kernel::new("column_sum", COLUMN_SUM, &constants)
    };
    let across = (place.width / 4).div_ceil(64);
    let rows = tokens.times(place.heads);
    let first = Params {
        heads: place.heads,
        width4: place.width / 4,
        x_stride4: place.stride / 4,
        x_offset4: place.offset / 4,
        z_stride4: z_place.stride / 4,
        z_offset4: z_place.offset / 4,
        block: BLOCK,
    };
    let grid = Grid::Tiles {
        x: across,
        rows: BLOCK,
        z: 1,
    };
    plan.dispatch(&kernel(mode, 0), &first, rows, grid, &[x, z, scale, scratch], 0);
    let second = Params {
        heads: 1,
        x_stride4: place.width / 4,
        x_offset4: 0,
        z_stride4: place.width / 4,
        z_offset4: 0,
        block: (most * place.heads).div_ceil(BLOCK),
        ..first
    };
    let blocks = rows.in_blocks(BLOCK);
    let grid = Grid::Fixed([across, 1, 1]);
    plan.dispatch(&kernel(0, 1), &second, blocks, grid, &[scratch, scratch, scratch, y], 0);
}
