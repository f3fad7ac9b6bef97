//! Model configuration, weights, forward and backward.

mod config;
mod rope;

pub use config::{Family, ModelConfig};
pub use rope::{Rope, RopeScaling};
