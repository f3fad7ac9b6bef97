//! Rows, conversations, rendered text, tokens with a mask, packed batches.

mod batch;

pub use batch::{Example, IGNORE, MicroBatch};
