//! Instruction-tune small language models on any GPU: one core for the command line, the browser and other wgpu programs.

pub mod data;
mod error;
pub mod formats;
pub mod model;
pub mod random;
pub mod train;

pub use error::{Error, Result};
pub use wgpu;
