//! Training.

mod buffers;
pub mod checkpoint;
mod config;
mod course;
pub mod journal;
pub mod memory;
pub mod schedule;
mod settings;
mod step_metrics;
mod trainer;
mod watch;
mod window;
pub mod work;

pub use config::{LINEAR_MODULES, LoraConfig, Method, Recompute, TrainConfig, WeightDecayOn};
pub use course::{BaseModel, Course};
pub use settings::Settings;
pub use step_metrics::StepMetrics;
pub use trainer::Trainer;
pub use watch::Watch;
