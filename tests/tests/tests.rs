//! tests

mod activations;
mod base;
mod bench;
mod checkpoint;
mod cli;
mod config;
mod cooperative;
mod data;
mod dependencies;
mod embedding;
mod errors;
mod evaluation;
mod formats;
mod forms;
mod generation;
mod gguf;
mod golden;
mod hostile;
mod kernels;
mod lost;
mod measures;
mod memory;
mod packing;
mod pieces;
mod random;
mod readme;
mod report;
mod schedule;
mod shaders;
mod smollm2;
mod submits;
mod suites;
mod template;
mod tiles;
mod train_config;
mod translated;
mod twins;

/// Counts for the tests that bound memory.
#[global_allocator]
static ALLOCATOR: hostile::fuzzed::counting::Counting = hostile::fuzzed::counting::Counting;
