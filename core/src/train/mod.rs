//! Training.

mod buffers;
pub mod checkpoint;
mod config;
mod course;
pub mod journal;
pub mod memory;
pub mod schedule;
mod settings;
mod trainer;
mod watch;
mod window;
pub mod work;

pub use config::{LINEAR_MODULES, LoraConfig, Method, Recompute, TrainConfig, WeightDecayOn};
pub use course::{BaseModel, Course};
pub use settings::Settings;
pub use trainer::{StepMetrics, Trainer};
pub use watch::Watch;
