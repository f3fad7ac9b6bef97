//! tests

mod checkpoint;
mod cli;
mod config;
mod data;
mod formats;
mod gguf;
mod kernels;
mod random;
mod schedule;
mod smollm2;
mod template;
mod train_config;
mod golden;
