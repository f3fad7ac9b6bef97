//! The training loop's device side: one optimizer step at a time.

mod update;

use self::update::Update;
use super::buffers::Buffers;
use super::step_metrics::StepMetrics;
use super::window::Window;
use super::{Recompute, TrainConfig, schedule};
use crate::data::{Examples, MicroBatch};
use crate::eval::{self, EvalMetrics};
use crate::gpu::{Counts, Gpu, Pending, Plan, PlanBuilder, Scalars, Staging, Tensor, Timing};
use crate::model::{Model, Pass};
use crate::ops::loss_sum::METRICS;
use crate::{Error, Result};
use std::collections::VecDeque;

/// Steps whose metrics may be on their way.
const IN_FLIGHT: usize = 2;

/// A step whose numbers are on their way.
struct InFlight {
    pending: Pending,
    metrics: StepMetrics,
}

/// Trains a model: its adapter if it has one, else all its weights.
pub struct Trainer {
    gpu: Gpu,
    model: Model,
    config: TrainConfig,
    total_steps: u64,
    warmup: u64,
    step: u64,
    pass: Pass,
    gradients: Vec<Tensor>,
    moments: [Vec<Tensor>; 2],
    metrics: Tensor,
    micro: Plan,
    update: Plan,
    eval: Plan,
    staging: Vec<Staging>,
    in_flight: VecDeque<InFlight>,
    window: Window,
    /// Whether gradients may not be zero: a step was given up before all of it was submitted, or [`Trainer::accumulate`] has left some.
    given_up: bool,
    diverged: Option<u64>,
    /// Whether the weights are those of no step: an update, or the restoring of a state, has begun and is not whole.
    torn: bool,
}

impl Trainer {
    /// For a run of `total_steps` steps cut into micro-batches of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::Config`] when the model has nothing to train or a setting is out of range; [`Error::TooLarge`] or
    /// [`Error::Gpu`] when its buffers do not fit.
    pub async fn new(model: Model, config: &TrainConfig, total_steps: u64, capacity: u32) -> Result<Self> {
        config.validate()?;
        let gpu = model.gpu().clone();
        let Some(flat) = model.trained() else {
            return Err(Error::config(
                "method",
                "the model has no adapter, and was not loaded to be trained",
            ));
        };
        let how = |recompute| (recompute, config.activations);
        let buffers = match Buffers::new(&model, flat, capacity, how(config.recompute == Recompute::On)).await? {
            None if config.recompute == Recompute::Auto => Buffers::new(&model, flat, capacity, how(true)).await?,
            given => given,
        };
        let Some(buffers) = buffers else {
            let why = "the device is out of memory: use smaller micro-batches (--micro-batch-tokens) or shorter rows";
            return Err(Error::gpu("allocating for training", why));
        };
        let update = update::plan(&gpu, flat, &buffers, config).await?;
        let Buffers {
            pass,
            gradients,
            moments,
            metrics,
            ..
        } = buffers;

        let gradient = |slot: usize| Some(flat.at(&gradients, slot));
        let mut plan = PlanBuilder::new(&gpu, "micro-batch");
        pass.record_forward(&mut plan, &model, true);
        pass.record_loss(&mut plan, &model, Some(&metrics), Some(&gradient));
        let micro = plan.finish().await?;

        let eval = eval::plan(&model, &pass).await?;
        let staging = || (0..IN_FLIGHT).map(|_| gpu.staging(METRICS * 4)).collect();
        let staging = gpu.told("allocating for training", staging).await?;
        let window = Window::new(&gpu);
        Ok(Self {
            warmup: schedule::warmup_steps(config.warmup_steps, total_steps)?,
            config: config.clone(),
            gpu,
            model,
            total_steps,
            step: 0,
            pass,
            gradients,
            moments,
            metrics,
            micro,
            update,
            eval,
            staging,
            in_flight: VecDeque::new(),
            window,
            given_up: false,
            diverged: None,
            torn: false,
        })
    }

    /// Whether the backward pass computes activations once more: as set, or because memory was refused otherwise.
    pub fn recomputes(&self) -> bool {
        self.pass.recomputes()
    }

    /// Steps submitted so far.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Steps whose metrics have not been read.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// The model as it is after the steps submitted so far. What is made of it, such as a [`Generator`](crate::model::Generator), shares its
    /// weights: asked while a step is being submitted, a part of its answer is of other weights than the rest.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The model, without what only training needs.
    pub fn into_model(self) -> Model {
        self.model
    }

    /// Token rows that are dispatched for a micro-batch of so many tokens.
    pub fn token_rows(&self, tokens: usize) -> u64 {
        let counts = Counts {
            tokens: tokens as u32,
            ..Counts::default()
        };
        self.micro.token_rows(&counts).into()
    }

    /// The learning rate of the step after `done` steps.
    pub fn learning_rate(&self, done: u64) -> f64 {
        let kind = self.config.lr_scheduler_type;
        self.config.learning_rate() * kind.factor(done, self.warmup, self.total_steps)
    }

    /// Submit one optimizer step over these micro-batches, no more than two of which are under way at once: there is room for the
    /// next when an earlier one is done. Where this crate may block, that is waited for; on a caller's device and in a browser the
    /// future waits. One that is dropped gives the step up, as if it had never begun; but an update that has begun is submitted to its end,
    /// and the step has been: [`Trainer::step`] tells. (On a caller's device in a browser, what the device says of an update that is dropped
    /// is heard by the device's own handlers.)
    ///
    /// # Errors
    /// [`Error::Busy`] when the metrics of two steps have not been read; [`Error::Data`] when there is no target in the step, or a
    /// micro-batch does not fit; [`Error::Diverged`] once a step has diverged; [`Error::Gpu`] when the device fails, and until
    /// a state is restored where it refused a part of an update.
    pub async fn submit(&mut self, batches: &[MicroBatch]) -> Result<()> {
        let targets = self.targets(batches)?;
        if self.in_flight.len() >= IN_FLIGHT {
            return Err(Error::Busy);
        }
        let gpu = self.gpu.clone();
        self.begin_gradients().await?;
        let (scalars, learning_rate) = (self.scalars(targets), self.learning_rate(self.step));
        for batch in batches {
            self.window.room().await?;
            self.run_micro_batch(batch, &scalars).await?;
        }
        let before = || {
            self.update.write_counts(&Counts::default(), &scalars);
            // One is gone when a caller gave up waiting for its metrics, or a step just before this.
            let lost = || self.gpu.staging(METRICS * 4);
            self.staging.pop().unwrap_or_else(lost)
        };
        let staging = gpu.told(update::DOING, before).await?;
        let metrics = StepMetrics {
            step: self.step + 1,
            loss_sum: 0.0,
            correct: 0.0,
            targets: targets as u64,
            tokens: batches.iter().map(|b| b.tokens.len() as u64).sum(),
            token_rows: batches.iter().map(|b| self.token_rows(b.tokens.len())).sum(),
            grad_norm: 0.0,
            learning_rate,
            work: self.micro.work() * batches.len() as u64 + self.update.work(),
        };
        Update::new(self, metrics, staging).run().await
    }

    /// The targets of the next step, if it may be taken.
    fn targets(&self, batches: &[MicroBatch]) -> Result<usize> {
        if let Some(step) = self.diverged {
            return Err(diverged(step));
        }
        self.check_whole("training")?;
        match batches.iter().map(|b| b.targets.len()).sum() {
            0 => Err(Error::data(format!("step {} has no target", self.step + 1))),
            targets => Ok(targets),
        }
    }

    /// Refuse weights that are those of no step.
    fn check_whole(&self, doing: &str) -> Result<()> {
        let why = "an update, or the restoring of a state, was cut short, and the weights are those of no step: restore a state";
        if self.torn { Err(Error::gpu(doing, why)) } else { Ok(()) }
    }

    /// Gradients and sums start from zero: an update leaves them so, what was given up or only accumulated does not.
    async fn begin_gradients(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.given_up, true) {
            return Ok(());
        }
        let clear = || {
            self.clear_gradients();
            self.clear_sums();
        };
        self.gpu.told("clearing gradients", clear).await
    }

    /// What the next step's kernels are told.
    fn scalars(&self, targets: usize) -> Scalars {
        let config = &self.config;
        let step = self.step + 1;
        let learning_rate = self.learning_rate(self.step);
        let power = |beta: f64| 1.0 - beta.powf(step as f64);
        Scalars {
            seed_low: config.seed as u32,
            seed_high: (config.seed >> 32) as u32,
            step: step as u32,
            loss_scale: (1.0 / targets as f64) as f32,
            learning_rate: learning_rate as f32,
            weight_decay: config.weight_decay as f32,
            beta1: config.adam_beta1 as f32,
            beta2: config.adam_beta2 as f32,
            epsilon: config.adam_epsilon as f32,
            correction1: power(config.adam_beta1) as f32,
            correction2_root: power(config.adam_beta2).sqrt() as f32,
            max_norm: config.max_grad_norm as f32,
            padding: [0; 4],
        }
    }

    async fn run_micro_batch(&mut self, batch: &MicroBatch, scalars: &Scalars) -> Result<()> {
        let counts = self.pass.upload(batch).await?;
        let submission = self.micro.run_paced(&counts, scalars).await?;
        self.window.push(self.step + 1, submission);
        Ok(())
    }

    /// Take one optimizer step over these micro-batches, timing each dispatch; see [`Plan::profile`]. Its metrics are not read. Given up
    /// in the middle, it leaves a trainer that has to be restored.
    ///
    /// # Errors
    /// As [`Trainer::submit`] and [`Plan::profile`].
    pub async fn profile(&mut self, batches: &[MicroBatch]) -> Result<Vec<Timing>> {
        let scalars = self.scalars(self.targets(batches)?);
        self.begin_gradients().await?;
        let mut timings = Vec::new();
        for batch in batches {
            let counts = self.pass.upload(batch).await?;
            timings.extend(self.micro.profile(&counts, &scalars).await?);
        }
        self.torn = true;
        timings.extend(self.update.profile(&Counts::default(), &scalars).await?);
        self.clear_sums();
        (self.torn, self.given_up) = (false, false);
        self.step += 1;
        Ok(timings)
    }

    /// Loss and correct predictions start from zero in each step; what is latched stays.
    fn clear_sums(&self) {
        self.gpu.write(&self.metrics.slice(0, 2), &[0; 8]);
    }

    /// The numbers of the oldest step in flight, once they are there.
    ///
    /// # Errors
    /// [`Error::Diverged`] when its loss or gradient was not finite: the weights are those before that step.
    /// [`Error::Gpu`] when the device fails, or nothing is in flight.
    pub async fn metrics(&mut self) -> Result<StepMetrics> {
        let Some(InFlight { pending, mut metrics }) = self.in_flight.pop_front() else {
            return Err(Error::gpu("reading metrics", "no step is in flight"));
        };
        let take = |bytes: &[u8]| bytemuck::pod_collect_to_vec::<u8, f32>(bytes);
        let (numbers, staging) = self.gpu.read_finish(pending, take).await?;
        self.staging.push(staging);
        self.window.ended(metrics.step);
        if numbers[4] != 0.0 {
            let step = *self.diverged.get_or_insert(numbers[4] as u64);
            return Err(diverged(step));
        }
        metrics.loss_sum = f64::from(numbers[0]);
        metrics.correct = f64::from(numbers[1]);
        metrics.grad_norm = f64::from(numbers[2]);
        Ok(metrics)
    }

    /// Evaluate the model as it is after the steps submitted so far.
    ///
    /// # Errors
    /// [`Error::Config`] for an example longer than the capacity, [`Error::Data`] for a token that is not in the vocabulary,
    /// [`Error::Gpu`] when the device fails, and until a state is restored where it refused a part of an update.
    pub async fn evaluate<E: Examples + ?Sized>(&mut self, examples: &E) -> Result<EvalMetrics> {
        self.check_whole("evaluating")?;
        eval::run(&self.pass, &self.eval, examples).await
    }

    /// Tell every trained tensor and its two moments, `name`, `name.exp_avg` and `name.exp_avg_sq`, one at a time: the
    /// checkpoint's names, or PEFT's for an adapter. In f32, after the steps submitted so far.
    ///
    /// # Errors
    /// [`Error::Gpu`] when reading back fails, and until a state is restored where the device refused a part of an update; what `take`
    /// returns.
    pub async fn state(&self, mut take: impl FnMut(&str, &[usize], Vec<f32>) -> Result<()>) -> Result<()> {
        self.check_whole("telling the state")?;
        for (name, shape) in self.model.trained_tensors() {
            for (buffers, suffix) in self.state_buffers() {
                let numbers = self.model.trained_tensor(buffers, &name).await?;
                take(&format!("{name}{suffix}"), &shape, numbers)?;
            }
        }
        Ok(())
    }

    fn state_buffers(&self) -> [(&[Tensor], &'static str); 3] {
        let weights = &self.model.trained().expect("checked when made").buffers;
        [
            (weights, ""),
            (&self.moments[0], ".exp_avg"),
            (&self.moments[1], ".exp_avg_sq"),
        ]
    }

    /// The gradient of one trained tensor, for checking: run [`Trainer::accumulate`] first.
    ///
    /// # Errors
    /// [`Error::Weights`] for a name that is not trained, [`Error::Gpu`] when reading back fails.
    pub async fn gradient(&self, name: &str) -> Result<Vec<f32>> {
        self.model.trained_tensor(&self.gradients, name).await
    }

    /// Compute the gradients of these micro-batches as of one step, without an update, for [`Trainer::gradient`]; give the loss
    /// sum and correct predictions. The next step starts from none.
    ///
    /// # Errors
    /// [`Error::Data`] when there is no target or a micro-batch does not fit, [`Error::Gpu`] when the device fails.
    pub async fn accumulate(&mut self, batches: &[MicroBatch]) -> Result<EvalMetrics> {
        let targets: usize = batches.iter().map(|b| b.targets.len()).sum();
        if targets == 0 {
            return Err(Error::data("there is no target"));
        }
        self.given_up = true;
        let gpu = self.gpu.clone();
        self.begin_gradients().await?;
        let scalars = Scalars {
            seed_low: self.config.seed as u32,
            seed_high: (self.config.seed >> 32) as u32,
            step: self.step as u32 + 1,
            loss_scale: (1.0 / targets as f64) as f32,
            ..Scalars::default()
        };
        for batch in batches {
            self.window.room().await?;
            self.run_micro_batch(batch, &scalars).await?;
        }
        let sums = self.gpu.read(&self.metrics.slice(0, 2)).await?;
        gpu.told("clearing sums", || self.clear_sums()).await?;
        Ok(EvalMetrics {
            loss_sum: f64::from(sums[0]),
            correct: f64::from(sums[1]),
            targets: targets as u64,
            rows: 0,
        })
    }

    /// Forget accumulated gradients.
    fn clear_gradients(&self) {
        let mut encoder = self.gpu.device().create_command_encoder(&Default::default());
        for tensor in &self.gradients {
            encoder.clear_buffer(tensor.buffer(), 0, None);
        }
        self.gpu.queue().submit([encoder.finish()]);
        self.gpu.submitted().add(0);
    }

    /// The names that [`Trainer::state`] tells, in its order.
    pub fn state_names(&self) -> Vec<String> {
        let suffixes = self.state_buffers().map(|(_, suffix)| suffix);
        let of = |(name, _): (String, _)| suffixes.map(|suffix| format!("{name}{suffix}"));
        self.model.trained_tensors().into_iter().flat_map(of).collect()
    }

    /// Go back to the state after `step` steps: `state(name)` gives the numbers that [`Trainer::state`] told by that name.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor of the wrong size, [`Error::Gpu`] when the device refuses one, and what `state` returns. Until
    /// all are put back, steps and evaluations are refused.
    pub fn restore(&mut self, step: u64, mut state: impl FnMut(&str) -> Result<Vec<f32>>) -> Result<()> {
        for name in self.state_names() {
            self.restore_tensor(&name, &state(&name)?)?;
        }
        self.restored(step);
        Ok(())
    }

    /// [`Trainer::restore`] for those who read one tensor at a time: one of [`Trainer::state_names`]. All are to be put back, and
    /// [`Trainer::restored`] is to be called, before the next step.
    ///
    /// # Errors
    /// [`Error::Weights`] for a tensor of the wrong size, or that is not trained; [`Error::Gpu`] when the device refuses it.
    pub fn restore_tensor(&mut self, name: &str, values: &[f32]) -> Result<()> {
        // The weights' own suffix is none: it comes last.
        let [weights, first, second] = self.state_buffers();
        let found = [second, first, weights]
            .into_iter()
            .find_map(|(buffers, suffix)| Some((buffers, name.strip_suffix(suffix)?)));
        let (buffers, name) = found.unwrap_or((weights.0, name));
        let write = || self.model.write_trained(buffers, name, values);
        let written = self.gpu.told_at_once("restoring a state", write);
        // Of two states until the rest has followed; what does not fit is not written.
        self.torn |= !matches!(written, Err(Error::Weights { .. }));
        written
    }

    /// Every tensor is put back: the state is that after `step` steps. Metrics of steps before that were not read are forgotten. Where
    /// the device refuses it, the next step or evaluation says so.
    pub fn restored(&mut self, step: u64) {
        // A run that diverged may go on from an earlier state.
        let given_up = self.given_up;
        let clear = || {
            self.gpu.write(&self.metrics, &[0; 4 * METRICS as usize]);
            if given_up {
                self.clear_gradients();
            }
            Ok(())
        };
        self.torn = self.gpu.told_at_once("restoring a state", clear).is_err();
        // What they would tell is of the weights before, that those diverged too.
        self.in_flight.clear();
        self.given_up &= self.torn;
        self.diverged = None;
        self.step = step;
    }
}

fn diverged(step: u64) -> Error {
    Error::Diverged {
        step,
        why: "the loss or a gradient is not finite; the weights are those before this step".into(),
    }
}
