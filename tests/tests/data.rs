//! Rows, masks, order and packing.

mod order;
mod prepare;
mod rows;
mod tokenizer;
