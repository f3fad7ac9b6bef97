//! Rows, conversations, rendered text, tokens with a mask, packed batches.

mod batch;
mod order;
mod pack;

pub use batch::{Example, IGNORE, MicroBatch};
pub use order::Order;
pub use pack::{micro_batches, pack};
