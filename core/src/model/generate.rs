//! Generation, one sequence at a time, with a key-value cache.

use super::activations::Purpose;
use super::linear::Context;
use super::{Model, Pass};
use crate::data::{Example, MicroBatch};
use crate::gpu::{Counts, Of, Plan, PlanBuilder, Rows, Scalars, Storage, Tensor};
use crate::ops::attention::{self, Shape};
use crate::ops::{gather, rmsnorm, rmsnorm::Place};
use crate::random::{Stream, block, uniform};
use crate::{Error, Result};

/// How the next token is drawn. The default is greedy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits; 0: the likeliest token, always.
    pub temperature: f32,
    /// Only so many of the likeliest tokens; 0: all.
    pub top_k: u32,
    /// Only the likeliest tokens that together reach this probability; 1: all.
    pub top_p: f32,
    /// Only tokens at least so likely as this share of the likeliest; 0: all.
    pub min_p: f32,
    /// What the draws come from.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 42,
        }
    }
}

impl Sampling {
    /// Check every field.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn validate(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(Error::config(
                "temperature",
                format!("{} is not a number from 0 up", self.temperature),
            ));
        }
        for (field, value) in [("top_p", self.top_p), ("min_p", self.min_p)] {
            if !(0.0..=1.0).contains(&value) {
                return Err(Error::config(field, format!("{value} is not between 0 and 1")));
            }
        }
        Ok(())
    }

    /// The next token, draw number `draw` of a sequence: the filters in transformers' order (temperature, top-k, top-p,
    /// min-p), then one uniform number.
    pub fn pick(&self, logits: &[f32], draw: u64) -> u32 {
        let likeliest = || (0..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        if self.temperature == 0.0 {
            return likeliest() as u32;
        }
        let mut order: Vec<usize> = (0..logits.len()).collect();
        order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        if self.top_k > 0 {
            order.truncate(self.top_k as usize);
        }
        let peak = f64::from(logits[order[0]]);
        let weigh = |order: &[usize]| -> Vec<f64> {
            let weights: Vec<f64> = order
                .iter()
                .map(|&i| ((f64::from(logits[i]) - peak) / f64::from(self.temperature)).exp())
                .collect();
            let sum: f64 = weights.iter().sum();
            weights.iter().map(|w| w / sum).collect()
        };
        let mut weights = weigh(&order);
        if self.top_p < 1.0 {
            let mut before = 0.0;
            let keep = weights.iter().take_while(|w| {
                let kept = before < f64::from(self.top_p);
                before += **w;
                kept
            });
            order.truncate(keep.count().max(1));
            weights = weigh(&order);
        }
        let floor = f64::from(self.min_p) * weights[0];
        order.truncate(weights.iter().take_while(|&&w| w >= floor).count().max(1));
        weights = weigh(&order);
        let mut rest = f64::from(uniform(block(self.seed, Stream::Sampling, 0, draw)[0]));
        for (&i, w) in order.iter().zip(&weights) {
            rest -= w;
            if rest < 0.0 {
                return i as u32;
            }
        }
        order[order.len() - 1] as u32
    }
}

/// Tokens of a prompt that are read at a time.
const PREFILL: u32 = 128;

/// Continues sequences. Keeps its keys and values, so that a longer prompt that begins with the last one costs only the rest.
pub struct Generator {
    prefill: Stage,
    decode: Stage,
    logits: Tensor,
    context: u32,
    vocabulary: usize,
    /// What the cache holds, and is laid out for.
    cached: Vec<u32>,
}

/// A plan for at most so many new tokens.
struct Stage {
    pass: Pass,
    plan: Plan,
    /// Row of the cache for each new token.
    slots: Tensor,
}

impl Generator {
    /// For sequences of at most `context` tokens, prompt included.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Gpu`] when the cache or a buffer does not fit.
    pub async fn new(model: &Model, context: u32) -> Result<Self> {
        let gpu = &model.gpu;
        let config = &model.config;
        let width = 2 * (config.num_key_value_heads * config.head_dim) as u32;
        let bytes = u64::from(context) * u64::from(width) * 4;
        if bytes > gpu.max_binding() {
            return Err(Error::TooLarge {
                what: format!("the key-value cache of {context} tokens"),
                need: bytes,
                have: gpu.max_binding(),
                hint: "use a shorter context".into(),
            });
        }
        let scope = gpu.scope("allocating the key-value cache");
        let caches: Vec<Tensor> = (0..config.num_hidden_layers)
            .map(|_| gpu.tensor("keys and values", u64::from(context) * u64::from(width), Storage::F32))
            .collect();
        let logits = gpu.tensor("logits", u64::from(model.logit_stride()), Storage::F32);
        scope.finish().await?;
        let prefill = Stage::new(model, PREFILL.min(context), context, &caches, &logits).await?;
        let decode = Stage::new(model, 1, context, &caches, &logits).await?;
        Ok(Self {
            prefill,
            decode,
            logits,
            context,
            vocabulary: config.vocab_size,
            cached: Vec::new(),
        })
    }

    /// Forget what was read.
    pub fn reset(&mut self) {
        self.cached.clear();
    }

    /// Continue `prompt` until one of `terminators` (which is not returned), `max_new_tokens`, or the context is full.
    /// Tells each token as it comes; `false` stops.
    ///
    /// # Errors
    /// [`Error::Data`] for an empty or too long prompt, [`Error::Gpu`] when the device fails.
    pub async fn generate(
        &mut self,
        prompt: &[u32],
        sampling: &Sampling,
        max_new_tokens: u32,
        terminators: &[u32],
        mut on_token: impl FnMut(u32) -> bool,
    ) -> Result<Vec<u32>> {
        sampling.validate()?;
        if prompt.is_empty() {
            return Err(Error::data("the prompt is empty"));
        }
        if prompt.len() > self.context as usize {
            let why = format!(
                "the prompt has {} tokens, the context is {}",
                prompt.len(),
                self.context
            );
            return Err(Error::data(why));
        }
        let mut new = Vec::new();
        let mut sequence = prompt.to_vec();
        while new.len() < max_new_tokens as usize {
            let logits = self.logits_after(&sequence).await?;
            let token = sampling.pick(&logits, new.len() as u64);
            if terminators.contains(&token) {
                break;
            }
            new.push(token);
            if !on_token(token) || sequence.len() == self.context as usize {
                break;
            }
            sequence.push(token);
        }
        Ok(new)
    }

    /// The logits of the token after a sequence, `[V]`, reading only what the cache does not hold.
    ///
    /// # Errors
    /// [`Error::Data`] when the sequence is empty, too long or holds an unknown token, [`Error::Gpu`] when the device fails.
    pub async fn logits_after(&mut self, sequence: &[u32]) -> Result<Vec<f32>> {
        if sequence.is_empty() || sequence.len() > self.context as usize {
            return Err(Error::data(format!(
                "a sequence of {} tokens, the context is {}",
                sequence.len(),
                self.context
            )));
        }
        let shared = self.cached.iter().zip(sequence).take_while(|(a, b)| a == b).count();
        // The last token is always read, for its logits.
        let mut done = shared.min(sequence.len() - 1);
        self.cached.truncate(done);
        while done < sequence.len() {
            let rest = &sequence[done..];
            let stage = if rest.len() == 1 { &self.decode } else { &self.prefill };
            let take = rest.len().min(stage.pass.capacity as usize);
            stage.run(&rest[..take], done as u32)?;
            self.cached.extend(&rest[..take]);
            done += take;
        }
        let mut logits = self.decode.pass.gpu().read(&self.logits).await?;
        logits.truncate(self.vocabulary);
        Ok(logits)
    }
}

impl Stage {
    async fn new(model: &Model, most: u32, context: u32, caches: &[Tensor], logits: &Tensor) -> Result<Self> {
        let gpu = &model.gpu;
        let scope = gpu.scope("allocating for generation");
        let pass = Pass::new(model, (Purpose::Forward, Storage::F32), most, context)?;
        let slots = gpu.tensor("cache rows", u64::from(most), Storage::F32);
        scope.finish().await?;

        let mut plan = PlanBuilder::new(gpu, "generate");
        let none = |_| None;
        let (a, tokens) = (&pass.activations, Rows::of(Of::Tokens));
        let in_pass = Context {
            tokens,
            capacity: most,
            keys: (&a.position, &a.example),
            training: false,
            gradient: &none,
            dropped: None,
            sums: None,
            d_low: None,
        };
        let [h, k, s] = [
            model.config.num_attention_heads,
            model.config.num_key_value_heads,
            model.config.head_dim,
        ];
        let fused = Shape::fused(h as u32, k as u32, s as u32);
        let width = (k * s) as u32;
        pass.record_embedding(&mut plan, model);
        for (l, cache) in caches.iter().enumerate() {
            pass.record_attention_input(&mut plan, model, l, &in_pass);
            let kept = &a.block[0];
            let (_, values) = pass.attention_shape(model, kept);
            for (tensor, (stride, offset), to) in [(&kept.qkv, fused.k, 0), (values, fused.v, width)] {
                let from = (
                    tensor,
                    Place {
                        heads: 1,
                        width,
                        stride,
                        offset,
                    },
                );
                let to = (
                    cache,
                    Place {
                        heads: 1,
                        width,
                        stride: 2 * width,
                        offset: to,
                    },
                );
                gather::scatter(&mut plan, tokens, &slots, from, to);
            }
            let shape = Shape {
                k: (2 * width, 0),
                v: (2 * width, width),
                ..fused
            };
            let operands = (&kept.qkv, cache, cache);
            attention::forward(
                &mut plan,
                tokens,
                &shape,
                operands,
                &a.keys,
                (&kept.attended, &kept.lse),
                context,
            );
            pass.record_after_attention(&mut plan, model, l, &in_pass);
        }
        let place = Place::rows(model.config.hidden_size as u32);
        let one = Rows::of(Of::Targets);
        let (stream, eps) = (pass.stream(model.blocks.len()), model.config.rms_norm_eps as f32);
        gather::gather(&mut plan, one, &a.target_row, 0, (stream, place), (&a.head_in, place));
        let normed = (&a.head_normed, place);
        rmsnorm::forward(
            &mut plan,
            one,
            (&a.head_in, place),
            &model.norm.tensor,
            eps,
            normed,
            &a.head_rstd,
        );
        model.record_logits(&mut plan, one, 0, 1, &a.head_normed, logits);
        let plan = plan.finish().await?;
        Ok(Self { pass, plan, slots })
    }

    /// Read tokens at positions `start..` of the one sequence.
    fn run(&self, tokens: &[u32], start: u32) -> Result<()> {
        let n = tokens.len() as u32;
        let mut batch = MicroBatch::default();
        batch.push(
            0,
            &Example {
                ids: tokens.to_vec(),
                labels: Vec::new(),
            },
        );
        batch.positions = (start..start + n).collect();
        batch.target_rows = vec![n - 1];
        batch.targets = vec![0];
        let counts = Counts {
            targets: 1,
            ..self.pass.upload(&batch)?
        };
        // The sequence begins at row 0 of the cache, before the first new token.
        let keys: Vec<[u32; 2]> = (start..start + n).map(|position| [0, position + 1]).collect();
        let gpu = self.pass.gpu();
        gpu.write(&self.pass.activations.keys, bytemuck::cast_slice(keys.as_flattened()));
        gpu.write(&self.slots, bytemuck::cast_slice(&batch.positions));
        self.plan.run(&counts, &Scalars::default());
        Ok(())
    }
}
