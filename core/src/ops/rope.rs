//! Rotary position embedding, in place.

use super::{ITEMS, rmsnorm::Place};
use crate::gpu::{Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::ROPE;

params! { heads: u32, eighth: u32, stride4: u32, offset4: u32, sign: f32 }

/// The table that [`apply`] reads: for each position the cosines, then the sines, of `position · frequency[i]`, computed
/// in f64 because WGSL's `sin` and `cos` are too coarse for large angles.
pub fn table(positions: u32, frequencies: &[f64]) -> Vec<f32> {
    let mut table = Vec::with_capacity(positions as usize * 2 * frequencies.len());
    for position in 0..positions {
        let angles = frequencies.iter().map(|f| f64::from(position) * f);
        table.extend(angles.clone().map(|a| a.cos() as f32));
        table.extend(angles.map(|a| a.sin() as f32));
    }
    table
}

/// Rotate the heads of `x` by their token's `position`; `backward` turns the other way.
pub fn apply(
    plan: &mut PlanBuilder,
    tokens: Rows,
    position: &Tensor,
    table: &Tensor,
    (x, place): (&Tensor, Place),
    backward: bool,
) {
    let params = Params {
        heads: place.heads,
        eighth: place.width / 8,
        stride4: place.stride / 4,
        offset4: place.offset / 4,
        sign: if backward { -1.0 } else { 1.0 },
    };
    let rows = tokens.times(place.heads * place.width / 8);
    plan.dispatch(
        &Kernel::new("rope", ROPE, &[]),
        &params,
        rows,
        ITEMS,
        &[position, table, x],
        0,
    );
}
