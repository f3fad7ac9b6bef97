//! Training.

pub mod checkpoint;
mod config;
pub mod memory;
pub mod schedule;
mod trainer;
pub mod work;

pub use config::{LINEAR_MODULES, LoraConfig, Method, TrainConfig, WeightDecayOn};
pub use trainer::{StepMetrics, Trainer};
