//! Learning-rate schedules with transformers' names and values (its `optimization.py`).

use std::f64::consts::PI;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the learning rate moves over a run. The first value of a schedule with warm-up is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LrSchedulerType {
    /// A rise over the warm-up, then a straight line to 0 at the last step's end.
    Linear,
    /// A rise over the warm-up, then half a cosine to 0.
    Cosine,
    /// The same rate throughout; the warm-up is ignored.
    Constant,
    /// A rise over the warm-up, then the same rate.
    ConstantWithWarmup,
}

impl LrSchedulerType {
    /// Every schedule, in the order of its documentation.
    pub const ALL: [Self; 4] = [Self::Linear, Self::Cosine, Self::Constant, Self::ConstantWithWarmup];

    /// The name in configurations and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::Constant => "constant",
            Self::ConstantWithWarmup => "constant_with_warmup",
        }
    }

    /// What the learning rate is multiplied by in optimizer step `step`, counted from 0, of `total` steps.
    pub fn factor(self, step: u64, warmup: u64, total: u64) -> f64 {
        if self == Self::Constant {
            return 1.0;
        }
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        let decay_steps = total.saturating_sub(warmup).max(1) as f64;
        match self {
            Self::Linear => total.saturating_sub(step) as f64 / decay_steps,
            Self::Cosine => (0.5 * (1.0 + (PI * ((step - warmup) as f64 / decay_steps)).cos())).max(0.0),
            Self::Constant | Self::ConstantWithWarmup => 1.0,
        }
    }
}

impl fmt::Display for LrSchedulerType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for LrSchedulerType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|schedule| schedule.name() == name)
            .ok_or_else(|| {
                let known = Self::ALL.map(Self::name).join(", ");
                Error::config("lr_scheduler_type", format!("\"{name}\" is none of {known}"))
            })
    }
}

/// Warm-up steps from the `warmup_steps` setting: a whole number of steps, or a ratio below 1 of `total`, rounded up.
///
/// # Errors
/// [`Error::Config`] when the value is negative, not finite, or above 1 and not whole.
pub fn warmup_steps(value: f64, total: u64) -> Result<u64> {
    if !value.is_finite() || value < 0.0 || (value >= 1.0 && value.fract() != 0.0) {
        let why = format!("{value} is neither a whole number of steps nor a ratio below 1");
        return Err(Error::config("warmup_steps", why));
    }
    Ok(if value < 1.0 {
        (value * total as f64).ceil() as u64
    } else {
        value as u64
    })
}
