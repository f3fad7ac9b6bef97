//! Optimizer steps on made-up tokens, timed by the caller's clock against what the adapter can do.

mod roofs;

use crate::data::{Example, MicroBatch};
use crate::formats::Dtype;
use crate::gpu::{Gpu, Storage, Timing};
use crate::model::{Model, ModelBuilder, ModelConfig, Use, init};
use crate::train::{LoraConfig, Method, TrainConfig, Trainer, work};
use crate::{Error, Result};
use serde::Serialize;

/// What to time.
#[derive(Debug, Clone)]
pub struct Job {
    /// The model's shape.
    pub config: ModelConfig,
    /// What is trained.
    pub method: Method,
    /// The adapter, for [`Method::Lora`].
    pub lora: LoraConfig,
    /// How matrices are stored that are not trained.
    pub frozen: Storage,
    /// How activations are kept.
    pub activations: Storage,
    /// Tokens of a step: one row, every token supervised.
    pub tokens: u32,
    /// Steps to time after the first.
    pub steps: u32,
}

/// What was seen. Names are those of the JSON that `wgpu-sft bench --json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The adapter.
    pub device: String,
    /// The graphics interface.
    pub backend: String,
    /// The kernel family.
    pub kernels: String,
    /// What is trained.
    pub method: Method,
    /// Tokens of a step.
    pub tokens: u32,
    /// Tokens trained a second, after the first step.
    pub tokens_per_second: f64,
    /// Mean time of a step after the first.
    pub step_seconds: f64,
    /// Time of choosing tiles, of making the plans, which compiles the shaders, and of the first step.
    pub first_step_seconds: f64,
    /// Floating-point operations of a step; see [`work::step_flops`].
    pub step_flops: u64,
    /// The most that one of the model's own products reaches alone, in floating-point operations a second.
    pub matmul_flops: f64,
    /// That product: its layout, and rows, columns, length of the contraction.
    pub matmul_shape: String,
    /// Bytes read and written a second by copying from buffer to buffer.
    pub copy_bytes_per_second: f64,
    /// `step_flops / step_seconds / matmul_flops`.
    pub ratio: f64,
    /// The most bytes that buffers held at once during the steps, those for reading back included.
    pub peak_memory_bytes: u64,
    /// Dispatches of a step.
    pub dispatches: u64,
    /// Submits of a step.
    pub submits: u64,
    /// Buffers made after the first step.
    pub allocations_after_first_step: u64,
}

impl Job {
    /// The adapter's configuration, where there is one.
    pub fn adapter(&self) -> Option<&LoraConfig> {
        (self.method == Method::Lora).then_some(&self.lora)
    }

    /// How the base model's weights are kept.
    pub fn usage(&self) -> Use {
        match self.method {
            Method::Lora => Use::Frozen(Some(self.frozen)),
            Method::Full => Use::Trained,
        }
    }

    /// A base model with random weights.
    ///
    /// # Errors
    /// As [`ModelBuilder`].
    pub async fn random_model(&self, gpu: &Gpu) -> Result<Model> {
        let mut builder = ModelBuilder::new(gpu, &self.config, self.usage())?;
        for (name, shape, numbers) in init::weights(&self.config, 0) {
            builder.put(&name, Dtype::F32, &shape, bytemuck::cast_slice(&numbers))?;
        }
        builder.finish().await
    }

    fn batch(&self) -> MicroBatch {
        let vocabulary = self.config.vocab_size as u64;
        let ids: Vec<u32> = (0..u64::from(self.tokens))
            .map(|i| (i * 7919 % vocabulary) as u32)
            .collect();
        let labels = ids.iter().map(|&id| id as i32).collect();
        let mut batch = MicroBatch::default();
        batch.push(0, &Example { ids, labels });
        batch
    }

    /// Time steps of `model`, a base model of the job's shape, by `now`, which gives seconds. Where the device can
    /// [time dispatches](Gpu::can_profile), also those of one step more.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than two tokens; as [`Trainer`].
    pub async fn run(&self, mut model: Model, now: impl Fn() -> f64) -> Result<(Report, Vec<Timing>)> {
        if self.tokens < 2 {
            return Err(Error::config("tokens", "a row needs at least 2"));
        }
        let gpu = model.gpu().clone();
        if let Some(lora) = self.adapter() {
            model.add_adapter(&lora.adapter_config(None), 0)?;
        }
        let config = TrainConfig {
            method: self.method,
            lora: self.lora.clone(),
            activations: self.activations,
            ..TrainConfig::default()
        };
        let batch = [self.batch()];
        let targets = batch[0].targets.len() as u32;
        let steps = self.steps.max(1);

        let begun = now();
        let how = (self.adapter(), [self.frozen, self.activations]);
        work::tune(&gpu, &self.config, how, self.tokens, &now, work::TUNING).await?;
        let mut trainer = Trainer::new(model, &config, u64::from(steps) + 3, self.tokens).await?;
        trainer.submit(&batch).await?;
        trainer.metrics().await?;
        let first_step_seconds = now() - begun;
        let (memory, submitted) = (gpu.memory().clone(), gpu.submitted().clone());
        let allocations = memory.allocations();

        if gpu.bounds_submits() {
            // As training does: how much a submit carries follows from how long a step takes, which the first does not tell.
            let begun = now();
            trainer.submit(&batch).await?;
            let work = trainer.metrics().await?.work;
            gpu.set_speed(work as f64 / (now() - begun));
        }
        let before = (submitted.dispatches(), submitted.submits());
        // As in training, one step is submitted while the one before runs. Drivers differ in what blocks, submitting or
        // waiting: only the whole says how long a step takes.
        let begun = now();
        trainer.submit(&batch).await?;
        for step in 0..steps {
            if step + 1 < steps {
                trainer.submit(&batch).await?;
            }
            trainer.metrics().await?;
        }
        let step_seconds = (now() - begun) / f64::from(steps);
        let allocations_after_first_step = memory.allocations() - allocations;
        let dispatches = (submitted.dispatches() - before.0) / u64::from(steps);
        let submits = (submitted.submits() - before.1) / u64::from(steps);
        let peak_memory_bytes = memory.peak();
        let timings = match gpu.can_profile() {
            true => trainer.profile(&batch).await?,
            false => Vec::new(),
        };
        drop(trainer);

        let step_flops = work::step_flops(&self.config, self.adapter(), self.tokens, targets)?;
        let (matmul_flops, matmul_shape) = roofs::matmul(&gpu, self, targets, &now).await?;
        let report = Report {
            device: gpu.info().name.clone(),
            backend: gpu.info().backend.to_string(),
            kernels: gpu.family().to_string(),
            method: self.method,
            tokens: self.tokens,
            tokens_per_second: f64::from(self.tokens) / step_seconds,
            step_seconds,
            first_step_seconds,
            step_flops,
            matmul_flops,
            matmul_shape,
            copy_bytes_per_second: roofs::copy(&gpu, &now).await?,
            ratio: step_flops as f64 / step_seconds / matmul_flops,
            peak_memory_bytes,
            dispatches,
            submits,
            allocations_after_first_step,
        };
        Ok((report, timings))
    }
}
