//! Rows, masks, order and packing.

mod files;
mod mix;
mod order;
mod prepare;
mod rows;
mod tokenizer;
