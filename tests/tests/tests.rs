//! tests

mod config;
mod formats;
mod gguf;
mod smollm2;
