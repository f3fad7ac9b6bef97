//! Training.

mod config;
pub mod schedule;

pub use config::{LINEAR_MODULES, LoraConfig, Method, TrainConfig, WeightDecayOn};
