//! What an optimizer step computes, counted from the model's shape.

use super::LoraConfig;
use crate::Result;
use crate::gpu::{Gpu, Storage};
use crate::model::{ModelConfig, logit_rows};
use crate::ops::matmul::{self, Layout, Product};

/// The products of a step's linear layers and head over `tokens` tokens, `targets` of which have a target: each once, forward and
/// backward, as many times as there are layers. Of an adapter only what it adds to the layer it is on.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) when the adapter names no layer.
pub fn products(config: &ModelConfig, lora: Option<&LoraConfig>, tokens: u32, targets: u32) -> Result<Vec<Product>> {
    let product = |layout, m, n, k| Product { layout, m, n, k };
    let mut all = Vec::new();
    // `y = x·Wᵀ` with `W [out, in]`, and its gradients where they are wanted.
    let mut linear = |rows, [outputs, inputs]: [u32; 2], dx, dw| {
        all.push(product(Layout::Nt, rows, outputs, inputs));
        if dx {
            all.push(product(Layout::Nn, rows, inputs, outputs));
        }
        if dw {
            all.push(product(Layout::Tn, outputs, inputs, rows));
        }
    };
    let full = lora.is_none();
    let size = |n: usize| n as u32;
    let (c, f) = (size(config.hidden_size), size(config.intermediate_size));
    let q = size(config.q_size());
    for layer in 0..config.num_hidden_layers {
        let onward = full || layer > 0;
        linear(tokens, [q + 2 * size(config.kv_size()), c], onward, full);
        linear(tokens, [c, q], true, full);
        linear(tokens, [2 * f, c], true, full);
        linear(tokens, [c, f], true, full);
    }
    linear(targets, [size(config.vocab_size), c], true, full);
    if let Some(lora) = lora {
        for module in lora.adapter_config(None).modules(config)? {
            let first = module.path.starts_with("model.layers.0.self_attn.");
            let onward = !first || module.path.ends_with(".o_proj");
            linear(tokens, [size(lora.r), size(module.in_features)], onward, true);
            linear(tokens, [size(module.out_features), size(lora.r)], true, true);
        }
    }
    Ok(all)
}

/// Floating-point operations of an optimizer step over one example of `tokens` tokens, `targets` of which have a target: every
/// needed product once, attention over the keys that are seen, nothing for recomputation.
///
/// # Errors
/// As [`products`].
pub fn step_flops(config: &ModelConfig, lora: Option<&LoraConfig>, tokens: u32, targets: u32) -> Result<u64> {
    let products: u64 = products(config, lora, tokens, targets)?
        .iter()
        .map(Product::flops)
        .sum();
    // Scores and outputs; gradients of values, probabilities, queries and keys.
    let pairs = u64::from(tokens) * (u64::from(tokens) + 1) / 2;
    let attention = 6 * 2 * pairs * (config.q_size() * config.num_hidden_layers) as u64;
    Ok(products + attention)
}

/// [Measure](matmul::tune) which tiles suit the products of a run in micro-batches of `capacity` tokens, for at most about
/// `seconds` by `now`; `frozen` is how matrices are stored that are not trained, `stored` how activations are kept. Gives how many classes were measured.
///
/// # Errors
/// As [`products`] and [`matmul::tune`].
pub async fn tune(
    gpu: &Gpu,
    config: &ModelConfig,
    (lora, [frozen, stored]): (Option<&LoraConfig>, [Storage; 2]),
    capacity: u32,
    now: impl Fn() -> f64,
    seconds: f64,
) -> Result<usize> {
    let targets = logit_rows(capacity, config.vocab_size as u32, gpu.max_binding());
    let products = products(config, lora, capacity, targets)?;
    let weights = lora.map_or(Storage::F32, |_| frozen);
    matmul::tune(gpu, &products, [weights, stored], now, seconds).await
}

/// Seconds that [`tune`] may take at the start of a run.
pub const TUNING: f64 = 2.0;
