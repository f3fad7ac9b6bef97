//! What a run is going to do: decided from its settings, its model, its rows and its device before anything is allocated.

use super::checkpoint::{Device, Identity, State};
use super::memory::{self, MemoryPlan};
use super::{LoraConfig, Method, Recompute, Settings, TrainConfig, Trainer, work};
use crate::data::{Examples, MicroBatch, Order, Tally, micro_batches};
use crate::formats::{Dtype, ModelFiles, peft};
use crate::gpu::Gpu;
use crate::model::{Model, ModelConfig, Use};
use crate::report::{self, Hashes, MemorySummary, Session};
use crate::{Error, Result};

/// What a run has to know of the model that it tunes.
#[derive(Debug, Clone)]
pub struct BaseModel<'a> {
    /// As the user named it.
    pub name: &'a str,
    /// Its shape.
    pub config: &'a ModelConfig,
    /// The type that most of its weights are stored in.
    pub dtype: Dtype,
    /// Hash of its tokenizer and chat template, if it has a tokenizer.
    pub tokenizer: Option<String>,
    /// Hash of its configuration and, where they stay as they are, of its weights.
    pub hash: String,
}

impl<'a> BaseModel<'a> {
    /// Of a model's files; `hash` is [`ModelFiles::hash`]'s.
    pub fn new(files: &'a ModelFiles, hash: String) -> Self {
        Self {
            name: &files.name,
            config: &files.config,
            dtype: files.dtype(),
            tokenizer: files.tokenizer_hash(),
            hash,
        }
    }
}

/// A run that has been thought through.
#[derive(Debug)]
pub struct Course {
    /// The settings that decide what is computed, every default written out.
    pub config: TrainConfig,
    /// The rows of each step.
    pub order: Order,
    /// Optimizer steps of the whole run.
    pub total: u64,
    /// How the model is put on the device.
    pub usage: Use,
    /// What the run takes there.
    pub memory: MemoryPlan,
    /// What a checkpoint knows the run by.
    pub identity: Identity,
    /// Whether the run goes on from a checkpoint of another device: it does, but not with the same roundings.
    pub moved: bool,
    recompute: Recompute,
    limit: Option<u64>,
    eval_steps: Option<u64>,
    save_steps: u64,
}

impl Course {
    /// Decide. `evaluated` is the length in tokens of the longest row that is evaluated on, and `saved` the checkpoint to go on from.
    ///
    /// # Errors
    /// [`Error::Config`] naming a setting, [`Error::Checkpoint`] saying what is not as it was when the checkpoint was made,
    /// [`Error::TooLarge`] for what exceeds a limit of memory.
    pub fn new<E: Examples + ?Sized>(
        settings: &Settings,
        model: &BaseModel,
        (tally, examples): (&Tally, &E),
        evaluated: usize,
        gpu: &Gpu,
        saved: Option<&State>,
    ) -> Result<Self> {
        let config = settings.train_config()?.canonical();
        let mix = settings.mix()?;
        let (mut order, total) = config.order_of_groups(tally.groups(mix))?;
        let as_stored = match model.dtype.is_quantized() {
            true => Dtype::F32,
            false => model.dtype,
        };
        // A checkpoint's own, where nothing is said: the browser stores quantised weights in fewer bits than the command line.
        let asked = match (settings.dtype.as_deref(), saved) {
            (Some(name), _) => Some(Dtype::named("dtype", name)?),
            (None, Some(state)) => {
                Some(Dtype::named("dtype", &state.identity.dtype)?).filter(|dtype| *dtype != as_stored)
            }
            (None, None) => None,
        };
        let (stored, usage) = match (config.method, asked) {
            (Method::Full, _) => (Dtype::F32, Use::Trained),
            (Method::Lora, Some(dtype)) => (dtype, Use::Frozen(Some(dtype.storage()))),
            (Method::Lora, None) => (as_stored, Use::Frozen(None)),
        };
        let lora = (config.method == Method::Lora).then_some(&config.lora);
        let longest = (0..examples.count()).map(|row| examples.tokens(row)).max().unwrap_or(0);
        let longest = u32::try_from(longest.max(evaluated)).unwrap_or(u32::MAX);
        let moved = saved.is_some_and(|state| state.device != Device::from(gpu.info()));
        // What is set, or was when the run began, is not made smaller to fit.
        let (most, least) = match (settings.micro_batch_tokens, saved) {
            (Some(tokens), _) => (tokens, tokens),
            (None, Some(state)) => (state.identity.micro_batch_tokens, state.identity.micro_batch_tokens),
            (None, None) => {
                let tokens = u32::try_from(most_tokens(examples, &mut order)).unwrap_or(u32::MAX);
                let most = memory::capacity(
                    model.config,
                    lora,
                    longest,
                    tokens,
                    memory::MOST_TOKENS,
                    gpu.max_binding(),
                )?;
                (most, longest)
            }
        };
        if most < longest {
            let why = format!("{most} tokens do not hold the longest row, which has {longest}");
            return Err(Error::config("micro_batch_tokens", why));
        }
        let limit = settings.memory_limit()?;
        let recompute = settings.recompute()?;
        let limits = (gpu.max_binding(), gpu.family());
        let memory = memory::fit(limit, recompute, (most, least), |tokens, recompute| {
            let storages = [stored.storage(), config.activations];
            memory::plan(model.config, usage, storages, lora, (tokens, recompute), limits)
        })?;
        let identity = Identity {
            total_steps: total,
            data: tally.content_hash(mix),
            tokenizer: model.tokenizer.clone(),
            model: model.hash.clone(),
            dtype: stored.name().to_lowercase(),
            micro_batch_tokens: memory.capacity,
            kernels: match saved {
                // Another device has kernels of its own; that it is another is told apart from that.
                Some(state) if moved && settings.kernels.is_none() => state.identity.kernels.clone(),
                _ => gpu.family().to_string(),
            },
            config: config.clone(),
        };
        if let Some(state) = saved {
            state.check(&identity)?;
        }
        let recompute = match (recompute, limit) {
            // Left to the device: whether it refuses memory shows when it is asked for.
            (Recompute::Auto, None) => Recompute::Auto,
            _ if memory.recompute => Recompute::On,
            _ => Recompute::Off,
        };
        Ok(Self {
            config,
            order,
            total,
            usage,
            memory,
            identity,
            moved,
            recompute,
            limit,
            eval_steps: settings.eval_steps,
            save_steps: settings.save_steps(),
        })
    }

    /// Refuse what no binding of this adapter holds.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn check_bindings(&self, gpu: &Gpu) -> Result<()> {
        let (need, have) = (self.memory.largest_binding, gpu.max_binding());
        if need <= have {
            return Ok(());
        }
        Err(Error::TooLarge {
            what: self.memory.largest.to_owned(),
            need,
            have,
            hint: "use fewer --micro-batch-tokens, shorter rows (--max-length) or a smaller model".to_owned(),
        })
    }

    /// Refuse suites, which take so many bytes, where they take the run past the memory that it may use.
    ///
    /// # Errors
    /// [`Error::TooLarge`].
    pub fn check_suites(&self, bytes: u64) -> Result<()> {
        let need = self.memory.total() + bytes;
        match self.limit {
            Some(have) if need > have && bytes > 0 => Err(Error::TooLarge {
                what: "the run with its suites".to_owned(),
                need,
                have,
                hint: "raise --memory-limit, or use suites of shorter prompts and fewer --micro-batch-tokens"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// The micro-batches of the step after `step` steps.
    ///
    /// # Errors
    /// As [`micro_batches`].
    pub fn batches<E: Examples + ?Sized>(&mut self, examples: &E, step: u64) -> Result<Vec<MicroBatch>> {
        let capacity = self.capacity();
        micro_batches(examples, self.order.step(step), capacity)
    }

    /// Tokens in a micro-batch.
    pub fn capacity(&self) -> usize {
        self.memory.capacity as usize
    }

    /// Passes over the rows after `step` steps.
    pub fn epoch(&self, step: u64) -> f64 {
        step as f64 / self.order.steps_per_epoch() as f64
    }

    /// Whether a checkpoint is made after `step` steps.
    pub fn saves_after(&self, step: u64) -> bool {
        step == self.total || step.is_multiple_of(self.save_steps)
    }

    /// Whether an evaluation comes after `step` steps, where there is something to evaluate on: what suites say `at_start`, too, so that
    /// it is told what tuning changes.
    pub fn evaluates_after(&self, step: u64, at_start: bool) -> bool {
        let due = |every: u64| step > 0 && step.is_multiple_of(every);
        (step == 0 && at_start) || step == self.total || self.eval_steps.is_some_and(due)
    }

    /// Cut products as the run did before, or as is fastest on this device, found out within [`work::TUNING`] seconds; how many kinds of
    /// products were timed. `now` tells seconds.
    ///
    /// # Errors
    /// As [`work::tune`].
    pub async fn tune(
        &self,
        gpu: &Gpu,
        model: &ModelConfig,
        saved: Option<&State>,
        now: impl Fn() -> f64,
    ) -> Result<usize> {
        if let Some(state) = saved {
            gpu.set_tiles(state.tiles.iter().copied());
        }
        let frozen = Dtype::named("dtype", &self.identity.dtype)?.storage();
        let how = (self.lora(), [frozen, self.config.activations]);
        work::tune(gpu, model, how, self.memory.capacity, now, work::TUNING).await
    }

    /// Put a trainer around the base model, which was loaded as [`Course::usage`] says.
    ///
    /// # Errors
    /// As [`Trainer::new`].
    pub async fn trainer(&self, mut model: Model) -> Result<Trainer> {
        if let Some(lora) = self.lora() {
            model.add_adapter(&lora.adapter_config(None), self.config.seed)?;
        }
        let config = TrainConfig {
            recompute: self.recompute,
            ..self.config.clone()
        };
        Trainer::new(model, &config, self.total, self.memory.capacity).await
    }

    fn lora(&self) -> Option<&LoraConfig> {
        (self.config.method == Method::Lora).then_some(&self.config.lora)
    }

    /// What `run.json` says of the run as it begins, or goes on after `sessions`.
    ///
    /// # Errors
    /// [`Error::Config`] for settings that have no TOML form.
    pub fn record(
        &self,
        settings: &Settings,
        model: &BaseModel,
        (tally, eval_tally): (&Tally, Option<&Tally>),
        recomputes: bool,
        sessions: Vec<Session>,
    ) -> Result<report::Run> {
        let numbers = |tensors: Vec<(String, Vec<usize>)>| -> u64 {
            let of = |(_, shape): &(String, Vec<usize>)| shape.iter().product::<usize>() as u64;
            tensors.iter().map(of).sum()
        };
        let parameters = numbers(model.config.tensors());
        let trained_parameters = match self.lora() {
            None => parameters,
            Some(lora) => numbers(peft::tensors(&lora.adapter_config(None), model.config)?),
        };
        let plan = &self.memory;
        Ok(report::Run {
            schema: report::SCHEMA,
            model: model.name.to_owned(),
            parameters,
            trained_parameters,
            total_steps: self.total,
            steps_per_epoch: self.order.steps_per_epoch(),
            hashes: Hashes {
                data: self.identity.data.clone(),
                model: self.identity.model.clone(),
                tokenizer: self.identity.tokenizer.clone(),
            },
            settings: settings.filled()?,
            data: tally.summaries(),
            tasks: tally.tasks(settings.mix()?),
            eval_data: eval_tally.map_or(Vec::new(), Tally::summaries),
            memory: MemorySummary {
                weights: plan.weights,
                adapter: plan.adapter,
                gradients: plan.gradients,
                optimizer: plan.optimizer,
                activations: plan.activations,
                suites: 0, // known when they are allocated
                micro_batch_tokens: plan.capacity.into(),
                dtype: self.identity.dtype.clone(),
                recompute: recomputes,
            },
            sessions,
        })
    }
}

/// Tokens of the largest step of the first epoch: what could be computed at once.
fn most_tokens<E: Examples + ?Sized>(examples: &E, order: &mut Order) -> u64 {
    let tokens = |step: &[u32]| step.iter().map(|row| examples.tokens(*row as usize) as u64).sum();
    (0..order.steps_per_epoch())
        .map(|step| tokens(order.step(step)))
        .max()
        .unwrap_or(0)
}
