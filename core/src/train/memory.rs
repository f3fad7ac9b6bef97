//! What a run will allocate, before it does.

use super::{LoraConfig, Recompute};
use crate::gpu::{Family, Storage};
use crate::model::{Flat, ModelConfig, ModelSpec, Needs, Purpose, Use, plan_activations};
use crate::{Error, Result};

/// Bytes by purpose. What is not in it is small: 256 bytes for each dispatch of a plan, and a few numbers that are read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Tokens in a micro-batch.
    pub capacity: u32,
    /// Whether activations are computed twice.
    pub recompute: bool,
    /// How those that are kept are stored.
    pub stored: Storage,
    /// The base model's weights.
    pub weights: u64,
    /// The adapter's.
    pub adapter: u64,
    /// Gradients of what is trained.
    pub gradients: u64,
    /// AdamW's moments.
    pub optimizer: u64,
    /// Activations, their gradients, logits, scratch.
    pub activations: u64,
    /// The largest buffer that a kernel binds whole.
    pub largest_binding: u64,
    /// What that is.
    pub largest: &'static str,
}

impl MemoryPlan {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.weights + self.adapter + self.gradients + self.optimizer + self.activations
    }
}

/// What training allocates in micro-batches of `capacity` tokens, with or without recomputation, on a device with such a
/// largest binding and kernels. `frozen` is how matrices are stored that are not trained, `stored` how activations are kept.
///
/// # Errors
/// [`Error::Config`] when the adapter names no layer.
pub fn plan(
    config: &ModelConfig,
    keep: Use,
    [frozen, stored]: [Storage; 2],
    lora: Option<&LoraConfig>,
    (capacity, recompute): (u32, bool),
    limits: (u64, Family),
) -> Result<MemoryPlan> {
    let spec = ModelSpec::new(config);
    let flat = |sizes: &[(u64, bool)]| 4 * Flat::layout(sizes, u64::MAX).1.iter().sum::<u64>();
    let all = spec.all();
    let frozen = |matrix: bool| if matrix { frozen.bytes() } else { 4 };
    let weights = match keep {
        Use::Trained => flat(&all.iter().map(|w| (w.numbers(), w.matrix)).collect::<Vec<_>>()),
        Use::Frozen(_) => all
            .iter()
            .map(|w| (w.numbers() * frozen(w.matrix)).next_multiple_of(16))
            .sum(),
    };
    let mut needs = Needs {
        sums: keep == Use::Trained,
        ..Needs::default()
    };
    let mut adapter = 0;
    if let Some(lora) = lora {
        let rank = (lora.r as u64).next_multiple_of(4);
        needs.dropout = lora.lora_dropout > 0.0;
        let modules = lora.adapter_config(None).modules(config)?;
        let names = |i: usize| -> &[&str] {
            [
                &["q_proj", "k_proj", "v_proj"][..],
                &["o_proj"],
                &["gate_proj", "up_proj"],
                &["down_proj"],
            ][i]
        };
        let of = |i: usize| {
            modules
                .iter()
                .filter(move |m| names(i).iter().any(|n| m.path.ends_with(n)))
        };
        for i in 0..4 {
            let layers = config.num_hidden_layers.max(1);
            needs.low[i] = (of(i).count() / layers) as u32 * rank as u32;
        }
        let mut sizes = Vec::new();
        for layer in 0..config.num_hidden_layers {
            for i in 0..4 {
                let prefix = format!("model.layers.{layer}.");
                let here: Vec<_> = of(i).filter(|m| m.path.starts_with(&prefix)).collect();
                if let Some(first) = here.first() {
                    sizes.push((here.len() as u64 * rank * first.in_features as u64, true));
                    let outputs: u64 = here.iter().map(|m| m.out_features as u64).sum();
                    sizes.push((outputs * rank, true));
                }
            }
        }
        adapter = flat(&sizes);
    }
    let trained = if lora.is_some() { adapter } else { weights };
    let (activations, (largest, largest_binding)) = plan_activations(
        config,
        &needs,
        (Purpose::training(recompute), stored),
        (capacity, capacity),
        limits,
    );
    Ok(MemoryPlan {
        capacity,
        recompute,
        stored,
        weights,
        adapter,
        gradients: trained,
        optimizer: 2 * trained,
        activations,
        largest_binding,
        largest,
    })
}

/// Tokens computed at once where nobody says: more gain nothing, and cost memory.
pub const MOST_TOKENS: u32 = 2048;

/// Tokens in a micro-batch: as many as the largest step has, but no more than `most`, no fewer than the longest row, and
/// so few that every buffer fits a binding.
///
/// # Errors
/// [`Error::TooLarge`] when the longest row alone does not fit.
pub fn capacity(
    config: &ModelConfig,
    lora: Option<&LoraConfig>,
    longest_row: u32,
    largest_step: u32,
    most: u32,
    max_binding: u64,
) -> Result<u32> {
    let largest = |capacity| -> Result<(u64, &'static str)> {
        let keep = if lora.is_some() {
            Use::Frozen(None)
        } else {
            Use::Trained
        };
        // No family's scratch is as large as any device's largest binding.
        let limits = (max_binding, Family::Register);
        // In 16 bits the largest are as large: gradients, which are f32.
        let plan = plan(config, keep, [Storage::F32; 2], lora, (capacity, false), limits)?;
        Ok((plan.largest_binding, plan.largest))
    };
    let (need, what) = largest(longest_row)?;
    if need > max_binding {
        return Err(Error::TooLarge {
            what: format!("{what} for a row of {longest_row} tokens"),
            need,
            have: max_binding,
            hint: "use shorter rows (--max-length with --overlong truncate or drop)".into(),
        });
    }
    let mut capacity = largest_step.min(most).max(longest_row);
    while largest(capacity)?.0 > max_binding {
        capacity = (capacity / 2).max(longest_row);
    }
    Ok(capacity)
}

/// The first plan that stays within `limit` bytes: with micro-batches of `most` tokens, of half as many and so on down to
/// `least`, each without recomputation before with it as far as `recompute` leaves the choice. Recomputation comes before
/// smaller micro-batches because it changes no bit of the result. Without a limit that is `most` tokens, and no
/// recomputation unless it is [`Recompute::On`]: how much memory is free, WebGPU does not tell.
///
/// # Errors
/// [`Error::TooLarge`] when the last of them does not fit, and what `plan(tokens, recompute)` returns.
pub fn fit(
    limit: Option<u64>,
    recompute: Recompute,
    (most, least): (u32, u32),
    plan: impl Fn(u32, bool) -> Result<MemoryPlan>,
) -> Result<MemoryPlan> {
    let Some(limit) = limit else {
        return plan(most, recompute == Recompute::On);
    };
    let ways: &[bool] = match recompute {
        Recompute::Auto => &[false, true],
        Recompute::Off => &[false],
        Recompute::On => &[true],
    };
    let mut capacity = most;
    loop {
        let mut need = 0;
        for &recompute in ways {
            let plan = plan(capacity, recompute)?;
            need = plan.total();
            if need <= limit {
                return Ok(plan);
            }
        }
        if capacity <= least {
            return Err(Error::TooLarge {
                what: format!("training in micro-batches of {capacity} tokens"),
                need,
                have: limit,
                hint: "raise --memory-limit, or use fewer --micro-batch-tokens, shorter rows (--max-length), \
                       --recompute auto, --activations bf16, LoRA or a smaller --dtype"
                    .into(),
            });
        }
        capacity = (capacity / 2).max(least);
    }
}
