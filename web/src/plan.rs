//! What training would take, before anything is allocated.

use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::formats::Dtype;
use wgpu_sft::formats::peft::TargetModules;
use wgpu_sft::gpu::{Family, Storage};
use wgpu_sft::model::Use;
use wgpu_sft::report::words::bytes;
use wgpu_sft::train::memory::{self, MemoryPlan};
use wgpu_sft::train::{LoraConfig, Method, Recompute};

use crate::error::Result;
use crate::source::Source;

/// Tokens computed at once where nothing is said: more gain nothing, and cost memory.
const MOST_TOKENS: u32 = 2048;

/// The settings that memory depends on, by the keys of `train.toml`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    max_length: Option<u32>,
    method: Method,
    lora_r: Option<usize>,
    lora_alpha: Option<f64>,
    lora_dropout: Option<f64>,
    lora_target_modules: Option<TargetModules>,
    batch_size: Option<u32>,
    gradient_accumulation_steps: Option<u32>,
    dtype: Option<String>,
    micro_batch_tokens: Option<u32>,
    recompute: Option<String>,
    activations: Option<String>,
}

/// What training a model would take on a device whose largest binding has so many bytes, with this kernel family: JSON. `settings` is
/// JSON by the keys of `train.toml`, `longest` the tokens of the longest row, 0 where there are no rows yet: then of the longest
/// that the settings allow. Nothing is allocated. Errors: settings out of range.
#[wasm_bindgen(js_name = memoryPlan)]
pub fn memory_plan(source: &Source, max_binding: f64, kernels: &str, settings: &str, longest: u32) -> Result<String> {
    let settings: Settings = serde_json::from_str(settings).map_err(|e| Error::config("settings", e.to_string()))?;
    let (files, max_binding) = (source.files(), max_binding as u64);
    let config = &files.config;
    let family = match kernels.parse()? {
        // As wide as a browser has them; memory hardly depends on it.
        Family::Subgroup(_) => Family::Subgroup(4),
        family => family,
    };
    let default = LoraConfig::default();
    let lora = LoraConfig {
        r: settings.lora_r.unwrap_or(default.r),
        lora_alpha: settings.lora_alpha.unwrap_or(default.lora_alpha),
        lora_dropout: settings.lora_dropout.unwrap_or(default.lora_dropout),
        target_modules: settings.lora_target_modules.unwrap_or(default.target_modules),
    };
    lora.validate()?;
    let lora = (settings.method == Method::Lora).then_some(&lora);
    let context = u32::try_from(config.max_position_embeddings).unwrap_or(u32::MAX);
    let allowed = settings.max_length.unwrap_or(context.min(1024)).min(context);
    let longest = if longest == 0 { allowed } else { longest.min(allowed) }.max(2);
    let examples = settings
        .batch_size
        .unwrap_or(8)
        .saturating_mul(settings.gradient_accumulation_steps.unwrap_or(1));
    let step = longest.saturating_mul(examples.max(1));
    let tokens = match settings.micro_batch_tokens {
        Some(tokens) => tokens.max(longest),
        // Where the longest row alone does not fit, the plan for it says what does not.
        None => memory::capacity(config, lora, longest, step, MOST_TOKENS, max_binding).unwrap_or(longest),
    };
    let usage = match settings.method {
        Method::Full => Use::Trained,
        Method::Lora => source.frozen(settings.dtype.as_deref())?,
    };
    let frozen = match usage {
        Use::Trained => Storage::F32,
        Use::Frozen(storage) => storage.unwrap_or(files.dtype().storage()),
    };
    let activations = settings.activations.as_deref();
    let stored = activations
        .map_or(Ok(Dtype::F32), |name| Dtype::named("activations", name))?
        .storage();
    let recompute: Recompute = settings.recompute.as_deref().unwrap_or("auto").parse()?;
    let size = (tokens, recompute == Recompute::On);
    let plan = memory::plan(config, usage, [frozen, stored], lora, size, (max_binding, family))?;
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
