//! Rotary position settings and the frequencies they give.
//!
//! Sources: RoFormer (Su et al. 2021); `linear` and `llama3` as transformers' `modeling_rope_utils` defines them.

use super::fields::Fields;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::f64::consts::PI;

/// Rotary position settings.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the geometric row of wavelengths.
    pub theta: f64,
    /// How the frequencies are changed for contexts longer than the model was first trained on.
    pub scaling: RopeScaling,
}

/// How rotary frequencies are scaled.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As they are.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Low frequencies divided by `factor`, high ones kept, those between interpolated (Llama 3.1).
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_max_position_embeddings / low_freq_factor` are low frequencies.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position_embeddings / high_freq_factor` are high frequencies.
        high_freq_factor: f64,
        /// Context length before the scaling, in tokens.
        original_max_position_embeddings: usize,
    },
}

impl Rope {
    /// Reads `rope_scaling` and `rope_theta` (transformers 4) or `rope_parameters` (transformers 5).
    pub(super) fn from_config(fields: &Fields, max_position_embeddings: usize) -> Result<Self> {
        let name = if fields.get("rope_scaling").is_some() {
            "rope_scaling"
        } else {
            "rope_parameters"
        };
        let empty = serde_json::Map::new();
        let map = match fields.get(name) {
            None => &empty,
            Some(Value::Object(map)) => map,
            Some(other) => return Err(fields.wrong(name, "an object", other)),
        };
        let at = if name == "rope_scaling" {
            "rope_scaling."
        } else {
            "rope_parameters."
        };
        let own = Fields { at, map };
        if let Some((layer_type, _)) = map.iter().find(|(_, value)| value.is_object()) {
            return Err(Error::config(
                format!("{at}{layer_type}"),
                "settings per layer type are not supported",
            ));
        }
        for partial in [
            own.number("partial_rotary_factor")?,
            fields.number("partial_rotary_factor")?,
        ] {
            if partial.is_some_and(|factor| factor != 1.0) {
                return Err(Error::config("partial_rotary_factor", "only 1 is supported"));
            }
        }
        let theta = own
            .number("rope_theta")?
            .or(fields.number("rope_theta")?)
            .unwrap_or(10_000.0);
        let missing = |field: &str| Error::config(format!("{at}{field}"), "missing");
        let need = |field: &str| own.number(field)?.ok_or_else(|| missing(field));
        let kind_field = if own.get("rope_type").is_some() {
            "rope_type"
        } else {
            "type"
        };
        let scaling = match own.get(kind_field) {
            None if map
                .keys()
                .all(|key| key == "rope_theta" || key == "partial_rotary_factor") =>
            {
                RopeScaling::None
            }
            None => return Err(missing("rope_type")),
            Some(kind) => match kind.as_str() {
                Some("default") => RopeScaling::None,
                Some("linear") => RopeScaling::Linear {
                    factor: need("factor")?,
                },
                Some("llama3") => RopeScaling::Llama3 {
                    factor: need("factor")?,
                    low_freq_factor: need("low_freq_factor")?,
                    high_freq_factor: need("high_freq_factor")?,
                    original_max_position_embeddings: match own.size("original_max_position_embeddings")? {
                        Some(tokens) => tokens,
                        None => fields
                            .size("original_max_position_embeddings")?
                            .unwrap_or(max_position_embeddings),
                    },
                },
                _ => {
                    let why = format!("{kind} is not supported; default, linear and llama3 are");
                    return Err(Error::config(format!("{at}{kind_field}"), why));
                }
            },
        };
        Ok(Self { theta, scaling })
    }

    /// Refuses numbers that give no frequencies.
    pub(super) fn validate(&self) -> Result<()> {
        let positive = |field: &str, value: f64| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::config(field, format!("{value} is not a positive number"))),
        };
        positive("rope_theta", self.theta)?;
        match self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("rope_scaling.factor", factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings: tokens,
            } => {
                positive("rope_scaling.factor", factor)?;
                positive("rope_scaling.low_freq_factor", low_freq_factor)?;
                positive("rope_scaling.high_freq_factor", high_freq_factor)?;
                positive("rope_scaling.original_max_position_embeddings", tokens as f64)?;
                match high_freq_factor > low_freq_factor {
                    true => Ok(()),
                    false => Err(Error::config(
                        "rope_scaling.high_freq_factor",
                        "not above low_freq_factor",
                    )),
                }
            }
        }
    }

    /// `rope_scaling` as transformers 4 spells it.
    pub(super) fn scaling_json(&self) -> Value {
        match self.scaling {
            RopeScaling::None => Value::Null,
            RopeScaling::Linear { factor } => json!({"rope_type": "linear", "factor": factor}),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => json!({
                "rope_type": "llama3",
                "factor": factor,
                "low_freq_factor": low_freq_factor,
                "high_freq_factor": high_freq_factor,
                "original_max_position_embeddings": original_max_position_embeddings,
            }),
        }
    }

    /// The `head_dim / 2` angles, in radians, by which one position turns each pair of a head's elements.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f64> {
        let plain = (0..head_dim / 2).map(|i| self.theta.powf(2.0 * i as f64 / head_dim as f64).recip());
        match self.scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|f| f / factor).collect(),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_max_position_embeddings,
            } => {
                let tokens = original_max_position_embeddings as f64;
                plain
                    .map(|f| {
                        let wavelength = 2.0 * PI / f;
                        if wavelength < tokens / high {
                            f
                        } else if wavelength > tokens / low {
                            f / factor
                        } else {
                            let smooth = (tokens / wavelength - low) / (high - low);
                            (1.0 - smooth) * f / factor + smooth * f
                        }
                    })
                    .collect()
            }
        }
    }
}
