//! Rows, masks, order and packing.

mod files;
mod long;
mod mix;
mod order;
mod prepare;
mod rows;
mod tokenizer;
