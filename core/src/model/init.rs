//! Random weights for a model that has none.

use super::ModelConfig;
use crate::random::{Stream, block, normals};

/// Every tensor of a fresh model as `(name, shape, numbers)`, one at a time: matrices normal with the configuration's
/// `initializer_range`, norms one, biases zero, as transformers initialises these families.
pub fn weights(config: &ModelConfig, seed: u64) -> impl Iterator<Item = (String, Vec<usize>, Vec<f32>)> {
    let deviation = config.initializer_range;
    config
        .tensors()
        .into_iter()
        .enumerate()
        .map(move |(lane, (name, shape))| {
            let n: usize = shape.iter().product();
            let numbers = if name.ends_with(".bias") {
                vec![0.0; n]
            } else if shape.len() == 1 {
                vec![1.0; n]
            } else {
                let blocks = (0..n.div_ceil(4) as u64).flat_map(|i| normals(block(seed, Stream::Init, lane as u32, i)));
                blocks.take(n).map(|v| (v * deviation) as f32).collect()
            };
            (name, shape, numbers)
        })
}
