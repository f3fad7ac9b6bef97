//! A micro-batch on its way to the device, with the indices that the passes need.

use super::Pass;
use crate::data::MicroBatch;
use crate::gpu::Counts;
use crate::ops::gather;
use crate::{Error, Result};

/// Whether rows are where kernels, which check nothing, expect them: as [`MicroBatch`] says.
fn is_consistent(batch: &MicroBatch) -> bool {
    let n = batch.tokens.len();
    let (starts, ends) = (&batch.segment_start, &batch.segment_end);
    [&batch.positions, starts, ends, &batch.example]
        .iter()
        .all(|rows| rows.len() == n)
        && batch.targets.len() == batch.target_rows.len()
        && batch.target_rows.is_sorted_by(|a, b| a < b)
        && batch.target_rows.last().is_none_or(|&row| (row as usize) < n)
        && (starts.is_sorted() && ends.is_sorted())
        && (0..n).all(|i| starts[i] as usize <= i && i < ends[i] as usize && ends[i] as usize <= n)
}

impl Pass {
    /// Upload a micro-batch.
    ///
    /// # Errors
    /// [`Error::Data`] when it does not fit the capacity, contradicts itself, or a token is not in the vocabulary; [`Error::Gpu`] when the device refuses it.
    pub async fn upload(&self, batch: &MicroBatch) -> Result<Counts> {
        let n = batch.tokens.len();
        if n > self.capacity as usize {
            return Err(Error::data(format!(
                "a micro-batch of {n} tokens exceeds the capacity of {}",
                self.capacity
            )));
        }
        if !is_consistent(batch) {
            let why = "a micro-batch's positions, segments, examples and targets are not those of its tokens";
            return Err(Error::data(why));
        }
        if let Some(id) = batch
            .tokens
            .iter()
            .chain(&batch.targets)
            .find(|&&id| id >= self.vocabulary)
        {
            return Err(Error::data(format!(
                "token {id} is not in the vocabulary of {}",
                self.vocabulary
            )));
        }
        if let Some(position) = batch.positions.iter().find(|&&p| p >= self.positions) {
            return Err(Error::data(format!(
                "position {position} is past the longest row, {}",
                self.positions
            )));
        }
        let pairs = |a: &[u32], b: &dyn Fn(usize) -> u32| -> Vec<[u32; 2]> {
            a.iter().enumerate().map(|(i, &first)| [first, b(i)]).collect()
        };
        let keys = pairs(&batch.segment_start, &|i| i as u32 + 1);
        let queries: Vec<[u32; 2]> = batch
            .segment_end
            .iter()
            .enumerate()
            .map(|(i, &end)| [i as u32, end])
            .collect();
        let mut inverse = vec![gather::NONE; n];
        for (i, &row) in batch.target_rows.iter().enumerate() {
            inverse[row as usize] = i as u32;
        }
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by_key(|&t| (batch.tokens[t as usize], t));
        let mut distinct: Vec<[u32; 3]> = Vec::new();
        for (place, &t) in order.iter().enumerate() {
            let (id, end) = (batch.tokens[t as usize], place as u32 + 1);
            match distinct.last_mut() {
                Some(last) if last[0] == id => last[2] = end,
                _ => distinct.push([id, place as u32, end]),
            }
        }
        let a = &self.activations;
        let written = [
            (&a.token, &batch.tokens[..]),
            (&a.position, &batch.positions),
            (&a.example, &batch.example),
            (&a.keys, keys.as_flattened()),
            (&a.queries, queries.as_flattened()),
            (&a.target_row, &batch.target_rows),
            (&a.target, &batch.targets),
            (&a.inverse, &inverse),
            (&a.distinct, distinct.as_flattened()),
            (&a.order, &order),
        ];
        let write = || {
            for (tensor, numbers) in written {
                self.gpu.write(tensor, bytemuck::cast_slice(numbers));
            }
        };
        self.gpu.told("uploading a micro-batch", write).await?;
        Ok(Counts {
            tokens: n as u32,
            targets: batch.targets.len() as u32,
            distinct: distinct.len() as u32,
        })
    }
}
