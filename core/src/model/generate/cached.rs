//! Passes over new tokens of sequences whose keys and values are in a cache.

use super::Sampling;
use crate::gpu::{Counts, Of, Plan, PlanBuilder, Rows, Scalars, Staging, Storage, Tensor};
use crate::model::activations::{Needs, Purpose, logit_rows, plan as plan_activations};
use crate::model::linear::Context;
use crate::model::{Model, ModelConfig, Pass};
use crate::ops::attention::{self, Shape};
use crate::ops::{argmax, gather, rmsnorm, rmsnorm::Place};
use crate::{Error, Result};

/// Tokens of prompts that are read at a time, of one sequence and of several.
const PREFILL: [u32; 2] = [128, 512];

/// Rows as for which products over prompts are cut, and products over picked tokens: with the same cuts whatever the slots, an
/// answer has the same bits everywhere.
const PROMPT_ROWS: u32 = PREFILL[1];
/// See [`PROMPT_ROWS`].
const NEXT_ROWS: u32 = 1;

/// New tokens of the sequence in a slot, from its position `start` on.
pub(super) struct Stretch<'a> {
    pub slot: u32,
    pub start: u32,
    pub tokens: &'a [u32],
    /// Whether the token after them is wanted.
    pub wanted: bool,
}

/// What a sequence's new tokens are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum New {
    /// Given ones.
    Prompt,
    /// One that was picked.
    Next,
}

/// How much there is room for.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    slots: u32,
    context: u32,
    /// Tokens of a pass.
    capacity: u32,
}

impl Sizes {
    /// At most so many slots: no more than the cache and the logits find room for in a binding.
    fn new(config: &ModelConfig, slots: u32, context: u32, max_binding: u64) -> Result<Self> {
        let sequence = u64::from(context) * u64::from(2 * width(config)) * 4;
        if sequence == 0 || sequence > max_binding {
            return Err(Error::TooLarge {
                what: format!("the key-value cache of {context} tokens"),
                need: sequence,
                have: max_binding,
                hint: "use a shorter context".into(),
            });
        }
        let logits = u64::from(logit_rows(u32::MAX, config.vocab_size as u32, max_binding));
        let slots = u64::from(slots.max(1)).min(max_binding / sequence).min(logits) as u32;
        let read = PREFILL[usize::from(slots > 1)];
        Ok(Self {
            slots,
            context,
            capacity: slots.max(read.min(slots.saturating_mul(context))),
        })
    }

    fn purpose(self) -> (Purpose, Storage) {
        (Purpose::Generating(self.slots), Storage::F32)
    }

    /// Numbers of one layer's cache.
    fn cache(self, config: &ModelConfig) -> u64 {
        u64::from(self.slots) * u64::from(self.context) * u64::from(2 * width(config))
    }
}

/// Numbers of a token's keys in one layer, and of its values.
fn width(config: &ModelConfig) -> u32 {
    (config.num_key_value_heads * config.head_dim) as u32
}

/// A cache of so many sequences, the buffers of passes over their new tokens, and the plans.
pub(super) struct Cached {
    sizes: Sizes,
    vocabulary: usize,
    pass: Pass,
    /// Row of the cache for each new token.
    rows: Tensor,
    /// The likeliest token after each stretch that wants one.
    picks: Tensor,
    staging: Option<Staging>,
    /// A stretch of one prompt; stretches of several.
    prompt: Plan,
    prompts: Plan,
    /// One token of each of at most so many sequences, fewest first.
    next: Vec<(u32, Plan)>,
}

impl Cached {
    /// Bytes that [`new`](Self::new) allocates, but for 256 for each dispatch of a plan.
    pub fn bytes(model: &Model, slots: u32, context: u32) -> Result<u64> {
        let (gpu, config) = (&model.gpu, &model.config);
        let limits = (gpu.max_binding(), gpu.family());
        let sizes = Sizes::new(config, slots, context, limits.0)?;
        let size = (sizes.capacity, context);
        let (pass, _) = plan_activations(config, &Needs::of(model), sizes.purpose(), size, limits);
        let words = |n: u32| (4 * u64::from(n)).next_multiple_of(16);
        let caches = config.num_hidden_layers as u64 * 4 * sizes.cache(config);
        let staging = 4 * u64::from(sizes.slots) * u64::from(model.logit_stride());
        Ok(pass + caches + words(sizes.capacity) + words(sizes.slots) + staging)
    }

    /// For at most so many sequences at once, of at most `context` tokens.
    pub async fn new(model: &Model, slots: u32, context: u32) -> Result<Self> {
        let (gpu, config) = (&model.gpu, &model.config);
        let sizes = Sizes::new(config, slots, context, gpu.max_binding())?;
        let Sizes { slots, capacity, .. } = sizes;
        let scope = gpu.scope("allocating for generation");
        let pass = Pass::new(model, sizes.purpose(), capacity, context)?;
        let rows = gpu.tensor("cache rows", u64::from(capacity), Storage::F32);
        let picks = gpu.tensor("picks", u64::from(slots), Storage::F32);
        let caches: Vec<Tensor> = (0..config.num_hidden_layers)
            .map(|_| gpu.tensor("keys and values", sizes.cache(config), Storage::F32))
            .collect();
        let staging = gpu.staging(4 * u64::from(slots) * u64::from(model.logit_stride()));
        scope.finish().await?;
        let recorder = Recorder {
            model,
            pass: &pass,
            caches: &caches,
            rows: &rows,
            picks: &picks,
            sizes,
        };
        let mut next = Vec::new();
        // When few answers are left, products over all slots' rows would be mostly for nothing.
        for most in [slots / 4, slots] {
            if most > 0 {
                next.push((most, recorder.plan(New::Next, most, true).await?));
            }
        }
        let prompt = recorder.plan(New::Prompt, capacity, false).await?;
        let prompts = recorder.plan(New::Prompt, capacity, true).await?;
        Ok(Self {
            prompt,
            prompts,
            next,
            sizes,
            vocabulary: config.vocab_size,
            rows,
            picks,
            staging: Some(staging),
            pass,
        })
    }

    /// Sequences at once.
    pub fn slots(&self) -> u32 {
        self.sizes.slots
    }

    /// Tokens of a sequence, at most.
    pub fn context(&self) -> u32 {
        self.sizes.context
    }

    /// Tokens that the model knows.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Tokens of a pass, at most.
    pub fn capacity(&self) -> u32 {
        self.sizes.capacity
    }

    /// Check that a sequence can be read.
    ///
    /// # Errors
    /// [`Error::Data`] for one that is empty, longer than the context, or has a token that is not in the vocabulary.
    pub fn check(&self, name: &str, sequence: &[u32]) -> Result<()> {
        if sequence.is_empty() {
            return Err(Error::data(format!("{name} is empty")));
        }
        if sequence.len() > self.sizes.context as usize {
            let (n, context) = (sequence.len(), self.sizes.context);
            return Err(Error::data(format!("{name} has {n} tokens, the context is {context}")));
        }
        match sequence.iter().find(|&&id| id as usize >= self.vocabulary) {
            Some(id) => Err(Error::data(format!(
                "{name}: token {id} is not in the vocabulary of {}",
                self.vocabulary
            ))),
            None => Ok(()),
        }
    }

    /// Read stretches of sequences, each in another slot and after what of its sequence was read, which have been
    /// [checked](Self::check) and are no more tokens than a pass has; [`New::Next`] ones have one token each.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device refuses it.
    pub async fn read(&self, new: New, stretches: &[Stretch<'_>]) -> Result<()> {
        let (mut tokens, mut positions, mut keys) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut wanted) = (Vec::new(), Vec::new());
        for stretch in stretches {
            let first = stretch.slot * self.sizes.context;
            tokens.extend(stretch.tokens);
            for position in (stretch.start..).take(stretch.tokens.len()) {
                positions.push(position);
                rows.push(first + position);
                keys.push([first, first + position + 1]);
            }
            if stretch.wanted {
                wanted.push(tokens.len() as u32 - 1);
            }
        }
        let a = &self.pass.activations;
        let write = || {
            for (tensor, numbers) in [
                (&a.token, &tokens[..]),
                (&a.position, &positions),
                (&a.keys, keys.as_flattened()),
                (&a.target_row, &wanted),
                (&self.rows, &rows),
            ] {
                self.pass.gpu.write(tensor, bytemuck::cast_slice(numbers));
            }
        };
        self.pass.gpu.told("reading tokens", write).await?;
        let counts = Counts {
            tokens: tokens.len() as u32,
            targets: wanted.len() as u32,
            ..Counts::default()
        };
        let plan = match new {
            New::Prompt if stretches.len() == 1 => &self.prompt,
            New::Prompt => &self.prompts,
            New::Next => {
                let fits = self.next.iter().find(|(most, _)| counts.tokens <= *most);
                &fits.expect("no more stretches than slots").1
            }
        };
        plan.run_paced(&counts, &Scalars::default()).await?;
        Ok(())
    }

    /// The token after each wanted stretch of the last pass, each being draw `draws[i].1` of sequence `draws[i].0`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn picked(&mut self, sampling: &Sampling, draws: &[(u32, u64)]) -> Result<Vec<u32>> {
        if sampling.is_greedy() {
            let picks = self.picks.clone();
            let words = |bytes: &[u8]| bytemuck::pod_collect_to_vec(bytes);
            return self.back(&picks, draws.len() as u64, words).await;
        }
        let vocabulary = self.vocabulary;
        let pick = |logits: &[f32]| -> Vec<u32> {
            let rows = logits.chunks(vocabulary.next_multiple_of(4)).zip(draws);
            rows.map(|(row, &(sequence, draw))| sampling.pick(&row[..vocabulary], sequence, draw))
                .collect()
        };
        self.logits(draws.len() as u64, pick).await
    }

    /// What `take` makes of the logits after the first `n` wanted stretches of the last pass, `[n, V rounded up to 4]`.
    ///
    /// # Errors
    /// [`Error::Gpu`] when the device fails.
    pub async fn logits<T>(&mut self, n: u64, take: impl FnOnce(&[f32]) -> T) -> Result<T> {
        let logits = self.pass.activations.logits.clone();
        let numbers = n * self.vocabulary.next_multiple_of(4) as u64;
        // What is mapped is aligned for any number.
        self.back(&logits, numbers, |bytes| take(bytemuck::cast_slice(bytes)))
            .await
    }

    /// What `take` makes of the first `n` words of a tensor, by way of the buffer that is kept for it.
    async fn back<T>(&mut self, tensor: &Tensor, n: u64, take: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let gpu = &self.pass.gpu;
        // It is gone only after an error, or when a caller gave up waiting.
        let all = 4 * self.pass.activations.logits.len();
        let staging = self.staging.take();
        let start = || gpu.read_start(tensor, 0, 4 * n, staging.unwrap_or_else(|| gpu.staging(all)));
        let pending = gpu.told("reading back", start).await?;
        let (value, staging) = gpu.read_finish(pending, take).await?;
        self.staging = Some(staging);
        Ok(value)
    }
}

/// What plans are recorded over.
struct Recorder<'a> {
    model: &'a Model,
    pass: &'a Pass,
    caches: &'a [Tensor],
    rows: &'a Tensor,
    picks: &'a Tensor,
    sizes: Sizes,
}

impl Recorder<'_> {
    /// A pass over at most `most` new tokens of one sequence or of several: keys and values to the cache, logits and the likeliest
    /// token of the rows that are wanted.
    async fn plan(&self, new: New, most: u32, several: bool) -> Result<Plan> {
        let Self { model, pass, .. } = *self;
        let mut plan = PlanBuilder::new(&model.gpu, "generate");
        plan.slice_as(if new == New::Prompt { PROMPT_ROWS } else { NEXT_ROWS });
        let none = |_| None;
        let a = &pass.activations;
        let context = Context {
            tokens: Rows::of(Of::Tokens),
            capacity: most,
            keys: (&a.position, &a.example),
            training: false,
            gradient: &none,
            dropped: None,
            sums: None,
            d_low: None,
        };
        pass.record_embedding(&mut plan, model);
        for (l, cache) in self.caches.iter().enumerate() {
            pass.record_attention_input(&mut plan, model, l, &context);
            self.record_attention(&mut plan, cache, &context, several);
            pass.record_after_attention(&mut plan, model, l, &context);
        }
        let place = Place::rows(model.config.hidden_size as u32);
        let wanted = Rows::of(Of::Targets);
        let (stream, eps) = (pass.stream(model.blocks.len()), model.config.rms_norm_eps as f32);
        gather::gather(
            &mut plan,
            wanted,
            &a.target_row,
            0,
            (stream, place),
            (&a.head_in, place),
        );
        let normed = (&a.head_normed, place);
        let weight = &model.norm.tensor;
        rmsnorm::forward(
            &mut plan,
            wanted,
            (&a.head_in, place),
            weight,
            eps,
            normed,
            &a.head_rstd,
        );
        let at_once = most.min(self.sizes.slots);
        model.record_logits(&mut plan, wanted, 0, at_once, &a.head_normed, &a.logits);
        let logits = (&a.logits, model.config.vocab_size as u32, model.logit_stride());
        argmax::apply(&mut plan, wanted, logits, self.picks);
        plan.finish().await
    }

    /// New keys and values to the cache, and attention to those of the sequences so far.
    fn record_attention(&self, plan: &mut PlanBuilder, cache: &Tensor, context: &Context, several: bool) {
        let (a, config) = (&self.pass.activations, &self.model.config);
        let kept = &a.block[0];
        let width = width(config);
        let (fused, values) = self.pass.attention_shape(self.model, kept);
        for (tensor, (stride, offset), to) in [(&kept.qkv, fused.k, 0), (values, fused.v, width)] {
            let place = |stride, offset| Place {
                heads: 1,
                width,
                stride,
                offset,
            };
            let (from, to) = ((tensor, place(stride, offset)), (cache, place(2 * width, to)));
            gather::scatter(plan, context.tokens, self.rows, from, to);
        }
        let shape = Shape {
            k: (2 * width, 0),
            v: (2 * width, width),
            ..fused
        };
        let (operands, results) = ((&kept.qkv, cache, cache), (&kept.attended, &kept.lse));
        let keys = self.sizes.context;
        if several {
            let most = (context.capacity, keys);
            attention::forward_alone(plan, context.tokens, &shape, operands, &a.keys, results, most);
        } else {
            attention::forward(plan, context.tokens, &shape, operands, &a.keys, results, keys);
        }
    }
}
