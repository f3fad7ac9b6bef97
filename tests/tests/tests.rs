//! tests

mod checkpoint;
mod cli;
mod config;
mod data;
mod errors;
mod formats;
mod gguf;
mod golden;
mod kernels;
mod random;
mod schedule;
mod shaders;
mod smollm2;
mod template;
mod train_config;
mod twins;
