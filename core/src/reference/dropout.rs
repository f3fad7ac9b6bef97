//! Twin of `dropout.wgsl`.

use crate::random::philox;

/// Sets dropout's draws apart from those of [`crate::random::block`], which begin with the same seed.
const APART: u32 = 0x4452_4f50;

/// What keys a token's dropout besides its column.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Seed of the run.
    pub seed: u64,
    /// Optimizer step, from 1.
    pub step: u32,
    /// The module.
    pub site: u32,
}

/// `y = x · keep ÷ (1 − probability)`, rows of `width`.
pub fn apply(x: &[f64], position: &[u32], example: &[u32], width: usize, key: Key, probability: f32) -> Vec<f64> {
    let mut y = Vec::with_capacity(x.len());
    for t in 0..position.len() {
        for c in 0..width {
            let counter = [(c as u32 / 4) | (key.site << 16), position[t], example[t], key.step];
            let bits = philox([key.seed as u32, (key.seed >> 32) as u32 ^ APART], counter)[c % 4];
            let draw = (bits >> 8) as f32 / (1 << 24) as f32;
            y.push(if draw >= probability {
                x[t * width + c] / f64::from(1.0 - probability)
            } else {
                0.0
            });
        }
    }
    y
}
