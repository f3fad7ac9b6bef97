//! Rows, masks, order and packing.

mod bos_and_tasks;
mod browser;
mod files;
mod long;
mod mix;
mod order;
mod prepare;
mod preview;
mod quality;
mod quality_near;
mod quality_planted;
mod quality_tasks;
mod rows;
mod tokenizer;
