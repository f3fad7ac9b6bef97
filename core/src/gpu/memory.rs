//! Counting what is allocated on the device, and what is submitted to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Bytes and buffers allocated through one [`Gpu`](super::Gpu). Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    live: AtomicU64,
    peak: AtomicU64,
    allocations: AtomicU64,
}

impl Memory {
    /// Bytes of the buffers that exist now.
    pub fn live(&self) -> u64 {
        self.counts.live.load(Relaxed)
    }

    /// The most bytes that existed at once.
    pub fn peak(&self) -> u64 {
        self.counts.peak.load(Relaxed)
    }

    /// How many buffers were ever made.
    pub fn allocations(&self) -> u64 {
        self.counts.allocations.load(Relaxed)
    }

    pub(super) fn add(&self, bytes: u64) {
        let live = self.counts.live.fetch_add(bytes, Relaxed) + bytes;
        self.counts.peak.fetch_max(live, Relaxed);
        self.counts.allocations.fetch_add(1, Relaxed);
    }

    pub(super) fn remove(&self, bytes: u64) {
        self.counts.live.fetch_sub(bytes, Relaxed);
    }
}

/// What was submitted through one [`Gpu`](super::Gpu). Cheap to clone; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Submitted {
    counts: Arc<SubmittedCounts>,
}

#[derive(Debug, Default)]
struct SubmittedCounts {
    dispatches: AtomicU64,
    submits: AtomicU64,
}

impl Submitted {
    /// Dispatches of all plans so far.
    pub fn dispatches(&self) -> u64 {
        self.counts.dispatches.load(Relaxed)
    }

    /// Submits so far, those that read back and clear included.
    pub fn submits(&self) -> u64 {
        self.counts.submits.load(Relaxed)
    }

    /// Count one submit of so many dispatches.
    pub(crate) fn add(&self, dispatches: u64) {
        self.counts.dispatches.fetch_add(dispatches, Relaxed);
        self.counts.submits.fetch_add(1, Relaxed);
    }
}
