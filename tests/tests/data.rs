//! Rows, masks, order and packing.

mod long;
mod order;
mod prepare;
mod rows;
mod tokenizer;
