//! Instruction-tune small language models on any GPU: one core for the command line, the browser and other wgpu programs.

pub mod bench;
pub mod chart;
pub mod check;
pub mod data;
mod error;
pub mod eval;
pub mod formats;
pub mod gpu;
pub mod model;
pub mod ops;
pub mod random;
pub mod reference;
pub mod report;
pub mod train;

pub use error::{Error, Result};
pub use wgpu;
