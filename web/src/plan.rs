//! What training would take, before anything is allocated.

use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::gpu::{Family, Storage};
use wgpu_sft::model::Use;
use wgpu_sft::report::words::bytes;
use wgpu_sft::train::Method;
use wgpu_sft::train::memory::{self, MemoryPlan};

use crate::error::Result;
use crate::parse_settings;
use crate::source::Source;

/// Tokens computed at once where nothing is said: more gain nothing, and cost memory.
const MOST_TOKENS: u32 = 2048;

/// What training a model would take on a device whose largest binding has so many bytes, with this kernel family: JSON. `settings` is
/// JSON by the keys of `train.toml`, `longest` the tokens of the longest row, 0 where there are no rows yet: then of the longest
/// that the settings allow. Nothing is allocated. Errors: settings out of range.
#[wasm_bindgen(js_name = memoryPlan)]
pub fn memory_plan(source: &Source, max_binding: f64, kernels: &str, settings: &str, longest: u32) -> Result<String> {
    let mut settings = parse_settings(Some(settings))?;
    source.complete(&mut settings);
    let training = settings.train_config()?;
    let (files, max_binding) = (source.files(), max_binding as u64);
    let config = &files.config;
    let family = match kernels.parse()? {
        // As wide as a browser has them; memory hardly depends on it.
        Family::Subgroup(_) => Family::Subgroup(4),
        family => family,
    };
    let lora = (training.method == Method::Lora).then_some(&training.lora);
    let context = u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX);
    let allowed = settings.max_length.and_then(|most| u32::try_from(most).ok());
    let allowed = allowed.unwrap_or(1024).min(context);
    let longest = if longest == 0 { allowed } else { longest.min(allowed) }.max(2);
    let examples = u32::try_from(training.examples_per_step()).unwrap_or(u32::MAX);
    let step = longest.saturating_mul(examples.max(1));
    let tokens = match settings.micro_batch_tokens {
        Some(tokens) => tokens.max(longest),
        // Where the longest row alone does not fit, the plan for it says what does not.
        None => memory::capacity(config, lora, longest, step, MOST_TOKENS, max_binding).unwrap_or(longest),
    };
    let usage = match training.method {
        Method::Full => Use::Trained,
        Method::Lora => source.frozen(settings.dtype.as_deref())?,
    };
    let frozen = match usage {
        Use::Trained => Storage::F32,
        Use::Frozen(storage) => storage.unwrap_or(files.dtype().storage()),
    };
    let limit = settings.memory_limit()?;
    let storages = [frozen, training.activations];
    let plan = memory::fit(
        limit,
        settings.recompute()?,
        (tokens, longest.min(tokens)),
        |tokens, recompute| {
            memory::plan(
                config,
                usage,
                storages,
                lora,
                (tokens, recompute),
                (max_binding, family),
            )
        },
    )?;
    let fits = plan.largest_binding <= max_binding;
    Ok(json!({
        "total": plan.total(),
        "weights": plan.weights,
        "adapter": plan.adapter,
        "gradients": plan.gradients,
        "optimizer": plan.optimizer,
        "activations": plan.activations,
        "micro_batch_tokens": plan.capacity,
        "recompute": plan.recompute,
        "dtype": match frozen {
            Storage::F32 => "f32",
            Storage::Bf16 => "bf16",
            Storage::F16 => "f16",
        },
        "largest_binding": plan.largest_binding,
        "max_binding": max_binding,
        "fits": fits,
        "advice": if fits { Vec::new() } else { advice(&plan, max_binding, lora.is_none()) },
    })
    .to_string())
}

/// What to change where a plan does not fit a binding.
fn advice(plan: &MemoryPlan, max_binding: u64, full: bool) -> Vec<String> {
    let mut advice = vec![format!(
        "{} needs {} in one piece, and this browser gives {}",
        plan.largest,
        bytes(plan.largest_binding),
        bytes(max_binding)
    )];
    advice.push("use shorter rows: a smaller max-length".to_owned());
    if full {
        advice.push("train an adapter (LoRA) instead of all weights".to_owned());
    }
    advice.push("use a smaller model".to_owned());
    advice
}
