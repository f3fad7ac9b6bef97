//! Token embedding: rows of a table by token id.

use super::ITEMS;
use crate::gpu::{Kernel, PlanBuilder, Rows, Storage, Tensor, params};
use wgpu_sft_shaders::{EMBEDDING, EMBEDDING_BACKWARD};

params! { first: u32, count: u32, width4: u32, scale: f32 }

/// Rows of a `[rows, width]` table that fit one binding of at most `limit` bytes: a multiple of 64, so that each chunk, and
/// a vector with a number for each row, begins on a multiple of 256 bytes.
pub fn chunk_rows(limit: u64, width: u32, storage: Storage) -> u32 {
    let row = u64::from(width) * storage.bytes();
    (limit / row / 64 * 64).clamp(64, u64::from(u32::MAX) / 64 * 64) as u32
}

/// `(first, count)` of each chunk of `rows` rows.
pub fn chunks(rows: u32, chunk: u32) -> impl Iterator<Item = (u32, u32)> {
    (0..rows)
        .step_by(chunk as usize)
        .map(move |first| (first, chunk.min(rows - first)))
}

/// `y[t] = scale · table[token[t]]`: `table [vocabulary, width]` in any storage, `token [R]`, `y [R, width]` written.
pub fn forward(
    plan: &mut PlanBuilder,
    tokens: Rows,
    token: &Tensor,
    table: &Tensor,
    (width, scale): (u32, f32),
    y: &Tensor,
) {
    let kernel = Kernel::new("embedding", EMBEDDING, &[]);
    let vocabulary = (table.len() / u64::from(width)) as u32;
    for (first, count) in chunks(vocabulary, chunk_rows(plan.gpu().max_binding(), width, table.storage())) {
        let params = Params {
            first,
            count,
            width4: width / 4,
            scale,
        };
        let part = table.slice(u64::from(first) * u64::from(width), u64::from(count) * u64::from(width));
        plan.dispatch(&kernel, &params, tokens.times(width / 4), ITEMS, &[token, &part, y], 0);
    }
}

/// Adds `scale · dy`, `dy [R, width]`, to the rows of `d_table [vocabulary, width]`, which the batch's tokens name. `distinct` holds
/// `(id, first, end)` for each distinct token, places in `order [R]`, the rows sorted by token.
pub fn backward(
    plan: &mut PlanBuilder,
    distinct_rows: Rows,
    distinct: &Tensor,
    order: &Tensor,
    dy: &Tensor,
    (width, scale): (u32, f32),
    d_table: &Tensor,
) {
    let kernel = Kernel::new("embedding_backward", EMBEDDING_BACKWARD, &[]);
    let vocabulary = (d_table.len() / u64::from(width)) as u32;
    for (first, count) in chunks(vocabulary, chunk_rows(plan.gpu().max_binding(), width, Storage::F32)) {
        let params = Params {
            first,
            count,
            width4: width / 4,
            scale,
        };
        let part = d_table.slice(u64::from(first) * u64::from(width), u64::from(count) * u64::from(width));
        plan.dispatch(
            &kernel,
            &params,
            distinct_rows.times(width / 4),
            ITEMS,
            &[distinct, order, dy, &part],
            0,
        );
    }
}
