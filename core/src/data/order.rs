//! Which rows make up an optimizer step.

use crate::random::permutation;
use crate::{Error, Result};

/// The order of the rows over a run: a function of (seed, step) alone, so that a cursor of one integer resumes it.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    shuffle: bool,
    rows: u32,
    batch_size: u32,
    /// The epoch that `order` is of; computed again when a step of another epoch is asked for.
    epoch: Option<u64>,
    order: Vec<u32>,
}

impl Order {
    /// `batch_size` rows an optimizer step out of `rows`, shuffled anew each epoch by (seed, epoch) or always in the file's order.
    ///
    /// # Errors
    /// [`Error::Config`] for a batch size of 0, [`Error::Data`] for no rows or more than 2³² − 1.
    pub fn new(seed: u64, shuffle: bool, rows: usize, batch_size: usize) -> Result<Self> {
        let batch_size = u32::try_from(batch_size).unwrap_or(u32::MAX);
        if batch_size == 0 {
            return Err(Error::config("batch_size", "must be at least 1"));
        }
        let rows = u32::try_from(rows).map_err(|_| Error::data(format!("{rows} rows are more than 2^32 - 1")))?;
        if rows == 0 {
            return Err(Error::data("there are no rows"));
        }
        Ok(Self {
            seed,
            shuffle,
            rows,
            batch_size,
            epoch: None,
            order: Vec::new(),
        })
    }

    /// Optimizer steps in an epoch: the last one takes the rows that are left.
    pub fn steps_per_epoch(&self) -> u64 {
        u64::from(self.rows.div_ceil(self.batch_size))
    }

    /// Optimizer steps in a number of epochs, rounded up, as transformers counts them.
    ///
    /// # Errors
    /// [`Error::Config`] unless `epochs` is positive and finite.
    pub fn total_steps(&self, epochs: f64) -> Result<u64> {
        if !epochs.is_finite() || epochs <= 0.0 {
            return Err(Error::config(
                "num_train_epochs",
                format!("{epochs} is not a positive number"),
            ));
        }
        Ok((epochs * self.steps_per_epoch() as f64).ceil() as u64)
    }

    /// The rows of optimizer step `step`, counted from 0.
    pub fn step(&mut self, step: u64) -> &[u32] {
        let epoch = step / self.steps_per_epoch();
        if self.epoch != Some(epoch) {
            // An epoch number past 32 bits would need more steps than a run can have; wrapping keeps it a function of the step.
            self.order = if self.shuffle {
                permutation(self.seed, epoch as u32, self.rows)
            } else {
                (0..self.rows).collect()
            };
            self.epoch = Some(epoch);
        }
        let start = (step % self.steps_per_epoch()) as usize * self.batch_size as usize;
        let end = (start + self.batch_size as usize).min(self.order.len());
        &self.order[start..end]
    }
}
