//! `train`: everything is checked before the first step, and nothing is written before it either.

mod dry_run;
mod evaluations;
mod record;
mod saving;
mod steps;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use pollster::block_on;
use wgpu_sft::Error;
use wgpu_sft::data::{AlpacaStyle, Examples, Mix, Order};
use wgpu_sft::formats::Dtype;
use wgpu_sft::gpu::{Gpu, Storage};
use wgpu_sft::model::Use;
use wgpu_sft::train::checkpoint::{Counters, Device, Identity};
use wgpu_sft::train::memory::{self, MemoryPlan};
use wgpu_sft::train::{Method, Recompute, TrainConfig, Trainer, work};

use record::Record;

use crate::args::{DeviceArgs, TrainArgs};
use crate::config_file::Settings;
use crate::eval::{SuiteArgs, Suites};
use crate::model_files::{ModelFiles, parse_dtype, storage};
use crate::progress::{bytes, line};
use crate::rows::Rows;
use crate::run_folder::{Checkpoint, RunFolder};
use crate::{Outcome, devices, interrupt, pipeline_cache};
use evaluations::{Evaluations, Watch};

/// Tokens computed at once where no flag says: more gain nothing, and cost memory.
const MOST_TOKENS: u32 = 2048;

/// A run that has been checked.
struct Job {
    settings: Settings,
    config: TrainConfig,
    source: ModelFiles,
    rows: Rows,
    eval_rows: Option<Rows>,
    suites: Option<Suites>,
    watch: Option<Watch>,
    mix: Mix,
    order: Order,
    total: u64,
    /// Optimizer steps that are done.
    done: u64,
    /// What asking suites has allocated.
    suite_bytes: u64,
    gpu: Gpu,
    usage: Use,
    memory: MemoryPlan,
    identity: Identity,
    folder: RunFolder,
    checkpoint: Option<Checkpoint>,
}

/// Train as the flags say.
pub fn run(args: TrainArgs) -> Result<Outcome> {
    let settings = match &args.config {
        Some(file) => args.settings.with_file(file)?,
        None => args.settings,
    };
    if args.print_config {
        line(settings.to_toml()?.trim_end())?;
        return Ok(Outcome::Fine);
    }
    let resume = match (&args.resume, args.overwrite_output_dir || args.dry_run) {
        (Some(from), _) => Resume::From(from.as_deref()),
        (None, true) => Resume::Anew,
        (None, false) => Resume::No,
    };
    let mut job = Job::new(settings, resume)?;
    job.introduce()?;
    job.refuse_too_large()?;
    if args.dry_run {
        return dry_run::run(&mut job);
    }
    let mut trainer = job.trainer()?;
    // Everything is allocated before anything of an earlier run is removed.
    let mut evaluations = Evaluations::new(&job, &trainer)?;
    job.suite_bytes = evaluations.bytes;
    job.refuse_past_limit()?;
    let mut counters = Counters::default();
    match &job.checkpoint {
        None => job.folder.start()?,
        Some(checkpoint) => {
            saving::restore(checkpoint, &mut trainer)?;
            (job.done, counters) = (checkpoint.state.step, checkpoint.state.counters.clone());
            job.folder.go_on(job.done, counters.evaluated == Some(job.done))?;
            job.say(&format!("resuming after step {} of {}", job.done, job.total))?;
        }
    }
    let record = Record::begin(&job, &trainer)?;
    interrupt::catch("stopping after this step; once more to stop at once")?;
    let outcome = steps::run(&mut job, &mut trainer, &mut evaluations, counters);
    record.end(&job, outcome)
}

/// Whether to go on from a checkpoint.
enum Resume<'a> {
    /// Refuse a folder that holds a run.
    No,
    /// Replace what the folder holds.
    Anew,
    /// From this checkpoint, or the newest.
    From(Option<&'a Path>),
}

impl Job {
    fn new(settings: Settings, resume: Resume) -> Result<Self> {
        let config = settings.train_config()?.canonical();
        let model = required("model", &settings.model)?.clone();
        let data = required("data", &settings.data)?.clone();
        let folder = RunFolder::new(required("output_dir", &settings.output_dir)?.clone());
        let checkpoint = match resume {
            Resume::No => {
                folder.refuse_run()?;
                None
            }
            Resume::Anew => None,
            Resume::From(None) => Some(folder.newest()?),
            Resume::From(Some(path)) => Some(Checkpoint::open(path)?),
        };
        if settings.save_dtype.is_some() && config.method == Method::Lora {
            return Err(Error::config("save_dtype", "an adapter is always saved in f32").into());
        }
        if settings.dtype.is_some() && config.method == Method::Full {
            return Err(Error::config("dtype", "weights that are trained are always f32").into());
        }

        let quiet = settings.quiet.unwrap_or(false);
        let source = ModelFiles::open(&model, quiet)?;
        if is_same(folder.path(), &source.path) {
            bail!("output_dir: {} is the model's own folder", folder.path().display());
        }
        source.check_tensors()?;
        source.save_dtype(settings.save_dtype.as_deref())?;
        let (mix, row_args) = (settings.mix()?, settings.rows());
        let rows = source.rows(&data, &row_args, quiet)?;
        let eval_files = settings.eval_data.as_deref();
        let eval_rows = eval_files
            .map(|files| source.rows(files, &row_args, quiet)?.unweighted("eval_data"))
            .transpose()?;
        let suites = settings.eval_suite.as_deref().map(|files| {
            let suites = SuiteArgs {
                suite: files.iter().map(Into::into).collect(),
                ..SuiteArgs::default()
            };
            Suites::read(&suites, &source, &row_args)
        });
        let suites = suites.transpose()?;
        let watch = Watch::new(&settings, eval_rows.as_ref(), suites.as_ref())?;
        let (mut order, total) = config.order_of_groups(rows.groups(mix))?;

        let gpu = devices::open(&DeviceArgs {
            device: settings.device.clone(),
            kernels: settings.kernels.clone(),
            checked: settings.checked.unwrap_or(false),
        })?;
        let stored = match (config.method, settings.dtype.as_deref()) {
            (Method::Full, _) => Dtype::F32,
            (Method::Lora, Some(name)) => parse_dtype("dtype", name)?,
            (Method::Lora, None) if source.dtype().is_quantized() => Dtype::F32,
            (Method::Lora, None) => source.dtype(),
        };
        let usage = match (config.method, settings.dtype.is_some()) {
            (Method::Full, _) => Use::Trained,
            (Method::Lora, true) => Use::Frozen(Some(storage(stored))),
            (Method::Lora, false) => Use::Frozen(None),
        };
        let lora = (config.method == Method::Lora).then_some(&config.lora);
        let longest = rows
            .examples
            .longest()
            .max(eval_rows.as_ref().map_or(0, |rows| rows.examples.longest()));
        let saved = checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
        let moved = saved.is_some_and(|state| state.device != Device::from(gpu.info()));
        // What is set, or was when the run began, is not made smaller to fit.
        let (most, least) = match (settings.micro_batch_tokens, saved) {
            (Some(tokens), _) => (tokens, tokens),
            (None, Some(state)) => (state.identity.micro_batch_tokens, state.identity.micro_batch_tokens),
            (None, None) => {
                let tokens = u32::try_from(most_tokens(&rows, &mut order)).unwrap_or(u32::MAX);
                let most = memory::capacity(&source.config, lora, longest, tokens, MOST_TOKENS, gpu.max_binding())?;
                (most, longest)
            }
        };
        if most < longest {
            let why = format!("{most} tokens do not hold the longest row, which has {longest}");
            return Err(Error::config("micro_batch_tokens", why).into());
        }
        let limits = (gpu.max_binding(), gpu.family());
        let memory = memory::fit(
            settings.memory_limit()?,
            settings.recompute()?,
            (most, least),
            |tokens, recompute| {
                let size = (tokens, recompute);
                let storages = [storage(stored), config.activations];
                memory::plan(&source.config, usage, storages, lora, size, limits)
            },
        )?;
        let identity = Identity {
            total_steps: total,
            data: rows.content_hash(mix),
            tokenizer: source.tokenizer_hash(),
            model: source.model_hash(config.method == Method::Lora),
            dtype: stored.name().to_lowercase(),
            micro_batch_tokens: memory.capacity,
            kernels: match saved {
                // Another device has kernels of its own; that it is another is told apart from that.
                Some(state) if moved && settings.kernels.is_none() => state.identity.kernels.clone(),
                _ => gpu.family().to_string(),
            },
            config: config.clone(),
        };
        if let (Some(checkpoint), Some(state)) = (&checkpoint, saved) {
            state
                .check(&identity)
                .with_context(|| checkpoint.path.display().to_string())?;
            if moved {
                eprintln!(
                    "warning: the checkpoint was made on {} ({}): the run goes on, but not with the same roundings",
                    state.device.name, state.device.driver
                );
            }
        }
        Ok(Self {
            settings,
            config,
            source,
            rows,
            eval_rows,
            suites,
            watch,
            mix,
            order,
            total,
            done: 0,
            suite_bytes: 0,
            gpu,
            usage,
            memory,
            identity,
            folder,
            checkpoint,
        })
    }

    fn quiet(&self) -> bool {
        self.settings.quiet.unwrap_or(false)
    }

    fn say(&self, text: &str) -> Result<()> {
        if self.quiet() { Ok(()) } else { line(text) }
    }

    /// Tokens in a micro-batch.
    fn capacity(&self) -> usize {
        self.identity.micro_batch_tokens as usize
    }

    /// Say what is about to be done.
    fn introduce(&self) -> Result<()> {
        let rows = &self.rows;
        self.say(&format!("device: {}", devices::describe(&self.gpu)))?;
        let (tokens, targets) = (rows.sum(|report| report.tokens), rows.sum(|report| report.targets));
        self.say(&format!(
            "rows: {} of {}, {tokens} tokens, {targets} targets ({:.1} %), longest {} tokens",
            rows.sum(|report| report.kept as u64),
            rows.sum(|report| report.rows as u64),
            100.0 * targets as f64 / tokens as f64,
            rows.longest(),
        ))?;
        for (rows, which) in [(Some(rows), "rows"), (self.eval_rows.as_ref(), "rows to evaluate on")] {
            let Some(rows) = rows else { continue };
            rows.warn_of_bad_rows();
            if self.quiet() {
                continue;
            }
            rows.describe()?;
            let overlong = rows.sum(|report| report.overlong as u64);
            if overlong > 0 {
                let fate = match self.settings.overlong.as_deref() {
                    Some("truncate") => {
                        let nothing = rows.sum(|report| report.truncated_to_nothing as u64);
                        format!("truncated, {nothing} of them left without a target and dropped")
                    }
                    Some("split") => "split".to_owned(),
                    _ => "dropped".to_owned(),
                };
                self.say(&format!("too long: {overlong} {which} were {fate}"))?;
            }
        }
        if !self.quiet() {
            rows.describe_tasks(self.mix)?;
        }
        if rows.has_instructions() {
            self.say(match rows.alpaca_style {
                AlpacaStyle::Alpaca => "instructions: as Stanford's text (alpaca)",
                AlpacaStyle::AlpacaChat => "instructions: through the chat template (alpaca-chat)",
            })?;
        }
        self.say(&format!(
            "steps: {} of {} examples, {:.2} epochs",
            self.total,
            self.config.examples_per_step(),
            self.total as f64 / self.order.steps_per_epoch() as f64,
        ))?;
        let plan = &self.memory;
        self.say(&format!(
            "memory: {} (weights {}, gradients {}, optimizer {}, activations {}{}{}), largest binding {} of {}, {} tokens at once",
            bytes(plan.total()),
            bytes(plan.weights + plan.adapter),
            bytes(plan.gradients),
            bytes(plan.optimizer),
            bytes(plan.activations),
            match plan.stored {
                Storage::F32 => "",
                Storage::Bf16 => " in bf16",
                Storage::F16 => " in f16",
            },
            if plan.recompute { ", recomputed" } else { "" },
            bytes(plan.largest_binding),
            bytes(self.gpu.max_binding()),
            self.capacity(),
        ))
    }

    /// Refuse what no binding of this adapter holds.
    fn refuse_too_large(&self) -> Result<()> {
        let (need, have) = (self.memory.largest_binding, self.gpu.max_binding());
        if need <= have {
            return Ok(());
        }
        Err(Error::TooLarge {
            what: self.memory.largest.to_owned(),
            need,
            have,
            hint: "use fewer --micro-batch-tokens, shorter rows (--max-length) or a smaller model".to_owned(),
        }
        .into())
    }

    /// Refuse suites that take a run past the memory that it may use.
    fn refuse_past_limit(&self) -> Result<()> {
        let need = self.memory.total() + self.suite_bytes;
        match self.settings.memory_limit()? {
            Some(have) if need > have && self.suite_bytes > 0 => Err(Error::TooLarge {
                what: "the run with its suites".to_owned(),
                need,
                have,
                hint: "raise --memory-limit, or use suites of shorter prompts and fewer --micro-batch-tokens"
                    .to_owned(),
            }
            .into()),
            _ => Ok(()),
        }
    }

    /// Put the model on the device, ready for its first step.
    fn trainer(&mut self) -> Result<Trainer> {
        let mut model = self.source.load(&self.gpu, self.usage, self.quiet())?;
        self.source.forget_weights();
        if self.config.method == Method::Lora {
            model.add_adapter(&self.config.lora.adapter_config(None), self.config.seed)?;
        }
        let recompute = match (self.settings.recompute()?, &self.settings.memory_limit) {
            // Left to the device: whether it refuses memory shows when it is asked for.
            (Recompute::Auto, None) => Recompute::Auto,
            _ if self.memory.recompute => Recompute::On,
            _ => Recompute::Off,
        };
        let config = TrainConfig {
            recompute,
            ..self.config.clone()
        };
        self.tune()?;
        let trainer = block_on(Trainer::new(model, &config, self.total, self.memory.capacity))?;
        pipeline_cache::write(&self.gpu);
        if trainer.recomputes() && !self.memory.recompute {
            self.say("memory: the device refused as much: activations are recomputed instead of kept")?;
        }
        Ok(trainer)
    }

    /// Cut products as the run did before, or as is fastest on this device.
    fn tune(&self) -> Result<()> {
        pipeline_cache::read_tiles(&self.gpu);
        if let Some(checkpoint) = &self.checkpoint {
            self.gpu.set_tiles(checkpoint.state.tiles.iter().copied());
        }
        let (begun, config) = (Instant::now(), &self.config);
        let lora = (config.method == Method::Lora).then_some(&config.lora);
        let frozen = storage(parse_dtype("dtype", &self.identity.dtype)?);
        let how = (lora, [frozen, config.activations]);
        let now = || begun.elapsed().as_secs_f64();
        let capacity = self.memory.capacity;
        let tuned = work::tune(&self.gpu, &self.source.config, how, capacity, now, work::TUNING);
        if block_on(tuned)? > 0 {
            pipeline_cache::write_tiles(&self.gpu);
        }
        Ok(())
    }
}

fn required<'a, T>(field: &str, value: &'a Option<T>) -> Result<&'a T> {
    let flag = field.replace('_', "-");
    value
        .as_ref()
        .ok_or_else(|| Error::config(field, format!("missing: give --{flag}, or {flag} in --config")).into())
}

fn is_same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Tokens of the largest step of the first epoch: what could be computed at once.
fn most_tokens(rows: &Rows, order: &mut Order) -> u64 {
    let tokens = |step: &[u32]| step.iter().map(|row| rows.examples.tokens(*row as usize) as u64).sum();
    (0..order.steps_per_epoch())
        .map(|step| tokens(order.step(step)))
        .max()
        .unwrap_or(0)
}
