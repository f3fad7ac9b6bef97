//! How much of a plan a batch needs, and what changes from step to step.

use bytemuck::{Pod, Zeroable};

/// The numbers of a batch on which the amount of work depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Tokens in the micro-batch.
    pub tokens: u32,
    /// Supervised targets in the micro-batch.
    pub targets: u32,
    /// Distinct tokens in the micro-batch.
    pub distinct: u32,
}

/// What a number of rows follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Nothing: it is known when the plan is built.
    Fixed,
    /// [`Counts::tokens`].
    Tokens,
    /// [`Counts::targets`].
    Targets,
    /// [`Counts::distinct`].
    Distinct,
}

/// A rule that gives a dispatch's number of rows from the batch's counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rows {
    of: Of,
    start: u32,
    len: u32,
    times: u32,
    per: u32,
}

impl Rows {
    /// Always `n` rows.
    pub fn fixed(n: u32) -> Self {
        Self {
            of: Of::Fixed,
            start: 0,
            len: n,
            times: 1,
            per: 1,
        }
    }

    /// One row for each of something.
    pub fn of(of: Of) -> Self {
        Self {
            of,
            start: 0,
            len: u32::MAX,
            times: 1,
            per: 1,
        }
    }

    /// Rows `start..start + len` of these only.
    ///
    /// # Panics
    /// When these are multiplied already: the chunk comes first.
    pub fn chunk(self, start: u32, len: u32) -> Self {
        assert!(self.times == 1, "a chunk is taken first");
        Self {
            start: self.start + start,
            len: len.min(self.len.saturating_sub(start)),
            ..self
        }
    }

    /// So many for each row.
    pub fn times(self, times: u32) -> Self {
        Self {
            times: self.times * times,
            ..self
        }
    }

    /// One for each block of `per` rows, the last perhaps short.
    pub fn in_blocks(self, per: u32) -> Self {
        Self { per, ..self }
    }

    /// The number of rows for these counts.
    pub fn count(&self, counts: &Counts) -> u32 {
        let all = match self.of {
            Of::Fixed => u32::MAX,
            Of::Tokens => counts.tokens,
            Of::Targets => counts.targets,
            Of::Distinct => counts.distinct,
        };
        ((all - self.start.min(all)).min(self.len) * self.times).div_ceil(self.per)
    }
}

/// Workgroups across in a [`Grid::Linear`]. WebGPU allows 65,535; with fewer, cases of a moderate size go past the fold.
const ACROSS: u32 = 1024;

/// How many workgroups a dispatch has. None at all when its rows are none.
#[derive(Debug, Clone, Copy)]
pub enum Grid {
    /// One workgroup for this many rows, folded into two dimensions when there are more than 1,024.
    Linear(u32),
    /// `x` workgroups across, one down for so many rows, `z` layers.
    Tiles {
        /// Workgroups across.
        x: u32,
        /// Rows for one workgroup down.
        rows: u32,
        /// Layers.
        z: u32,
    },
    /// One workgroup across for so many rows, `y` down: workgroups that run one after another take neighbouring rows.
    Rows {
        /// Rows for one workgroup across.
        rows: u32,
        /// Workgroups down.
        y: u32,
        /// Layers.
        z: u32,
    },
    /// The same whatever the rows.
    Fixed([u32; 3]),
}

impl Grid {
    /// The rows that tiles cover, of which the last ones may be none.
    pub(super) fn covered(self, rows: u32) -> u32 {
        match self {
            Self::Tiles { rows: per_group, .. } | Self::Rows { rows: per_group, .. } => {
                rows.next_multiple_of(per_group)
            }
            Self::Linear(_) | Self::Fixed(_) => rows,
        }
    }

    pub(super) fn workgroups(self, rows: u32) -> [u32; 3] {
        match self {
            _ if rows == 0 => [0; 3],
            Self::Linear(per_group) => {
                let groups = rows.div_ceil(per_group);
                let y = groups.div_ceil(ACROSS);
                [groups.div_ceil(y), y, 1]
            }
            Self::Tiles { x, rows: per_group, z } => [x, rows.div_ceil(per_group), z],
            Self::Rows { rows: per_group, y, z } => [rows.div_ceil(per_group), y, z],
            Self::Fixed(groups) => groups,
        }
    }
}

/// What changes from step to step, read by kernels as `step`. 64 bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Default, Pod, Zeroable)]
pub struct Scalars {
    /// Seed of the run, low half.
    pub seed_low: u32,
    /// Seed of the run, high half.
    pub seed_high: u32,
    /// Optimizer step, from 1.
    pub step: u32,
    /// Factor of every token's loss in the gradient: 1 ÷ targets in the whole step.
    pub loss_scale: f32,
    /// Learning rate of this step.
    pub learning_rate: f32,
    /// Weight decay of the tensors that decay.
    pub weight_decay: f32,
    /// First moment's decay.
    pub beta1: f32,
    /// Second moment's decay.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// 1 − beta1^step.
    pub correction1: f32,
    /// √(1 − beta2^step).
    pub correction2_root: f32,
    /// Largest gradient norm; 0: no clipping.
    pub max_norm: f32,
    /// Whole-number padding to 64 bytes.
    pub padding: [u32; 4],
}
