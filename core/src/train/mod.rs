//! Training.

mod buffers;
pub mod checkpoint;
mod config;
pub mod memory;
pub mod schedule;
mod trainer;
mod window;
pub mod work;

pub use config::{LINEAR_MODULES, LoraConfig, Method, Recompute, TrainConfig, WeightDecayOn};
pub use trainer::{StepMetrics, Trainer};
