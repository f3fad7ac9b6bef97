//! tests

mod data;
mod random;
mod schedule;
mod kernels;
mod config;
mod formats;
mod gguf;
mod smollm2;
mod template;
