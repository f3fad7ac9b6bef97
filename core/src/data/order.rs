//! Which rows make up an optimizer step.

use super::mix::{Group, too_many};
use crate::random::{Stream, permutation, shuffled};
use crate::{Error, Result};

/// The order of the rows over a run: a function of (seed, step) alone, so that a cursor of one integer resumes it.
#[derive(Debug, Clone)]
pub struct Order {
    seed: u64,
    shuffle: bool,
    groups: Vec<Group>,
    /// Rows in an epoch.
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
        let rows = u32::try_from(rows).map_err(|_| too_many())?;
        let all = Group {
            rows: (0..rows).collect(),
            per_epoch: rows as usize,
        };
        Self::of_groups(seed, shuffle, vec![all], batch_size)
    }

    /// As [`new`](Self::new), out of groups of which epochs have different numbers of rows.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn of_groups(seed: u64, shuffle: bool, groups: Vec<Group>, batch_size: usize) -> Result<Self> {
        let batch_size = u32::try_from(batch_size).unwrap_or(u32::MAX);
        if batch_size == 0 {
            return Err(Error::config("batch_size", "must be at least 1"));
        }
        let full = groups.iter().filter(|group| !group.rows.is_empty());
        let rows: usize = full.map(|group| group.per_epoch).sum();
        let rows = u32::try_from(rows).map_err(|_| too_many())?;
        if rows == 0 {
            return Err(Error::data("there are no rows"));
        }
        Ok(Self {
            seed,
            shuffle,
            groups,
            rows,
            batch_size,
            epoch: None,
            order: Vec::new(),
        })
    }

    /// The rows of an epoch. Each group deals them out of its rows again and again, in an order of its own each time round, and an epoch
    /// goes on where the one before it ended.
    fn deal(&self, epoch: u64) -> Vec<u32> {
        let mut dealt = Vec::with_capacity(self.rows as usize);
        for (lane, group) in (0..).zip(&self.groups).filter(|(_, group)| !group.rows.is_empty()) {
            let (length, wanted) = (group.rows.len(), group.per_epoch as u128);
            let mut at = u128::from(epoch) * wanted;
            let end = at + wanted;
            while at < end {
                let (round, from) = (at / length as u128, (at % length as u128) as usize);
                let taken = (length - from).min((end - at) as usize);
                if taken == length || !self.shuffle {
                    dealt.extend(&group.rows[from..from + taken]);
                } else {
                    // A part of them is drawn. Rounds and groups are far below 2^16 in any run; past that, orders come again.
                    let order = shuffled(self.seed, Stream::Mixture, (round as u32) << 16 ^ lane, length as u32);
                    dealt.extend(
                        order[from..from + taken]
                            .iter()
                            .map(|place| group.rows[*place as usize]),
                    );
                }
                at += taken as u128;
            }
        }
        if !self.shuffle {
            dealt.sort_unstable();
        }
        dealt
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
            let dealt = self.deal(epoch);
            self.order = if self.shuffle {
                let order = permutation(self.seed, epoch as u32, self.rows);
                order.into_iter().map(|place| dealt[place as usize]).collect()
            } else {
                dealt
            };
            self.epoch = Some(epoch);
        }
        let start = (step % self.steps_per_epoch()) as usize * self.batch_size as usize;
        let end = (start + self.batch_size as usize).min(self.order.len());
        &self.order[start..end]
    }
}
