//! Random choices, in an order that the code fixes.

use wgpu_sft::random::{Stream, below, shuffled};

/// A sequence of choices: the same seed and lane make the same ones, on every platform.
pub struct Draw {
    seed: u64,
    lane: u32,
    next: u64,
}

impl Draw {
    /// The choices of one part of the recipe; parts have lanes of their own, so that a change of one leaves the others as they were.
    pub fn new(seed: u64, lane: u32) -> Self {
        Self { seed, lane, next: 0 }
    }

    /// A number in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.next += 1;
        below(self.seed, Stream::Sampling, self.lane, self.next, n as u32) as usize
    }

    /// One of the choices.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// One of the texts.
    pub fn text<'a>(&mut self, choices: &'a [String]) -> &'a str {
        self.pick::<String>(choices)
    }

    /// The numbers `0..n` in a random order.
    pub fn order(&mut self, n: usize) -> Vec<usize> {
        let seed = self.seed ^ (u64::from(self.lane) << 32);
        self.next += 1;
        let order = shuffled(seed, Stream::Order, self.next as u32, n as u32);
        order.into_iter().map(|i| i as usize).collect()
    }
}
