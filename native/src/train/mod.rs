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
use wgpu_sft::data::AlpacaStyle;
use wgpu_sft::gpu::{Gpu, Storage};
use wgpu_sft::train::checkpoint::Counters;
use wgpu_sft::train::{Course, Method, Settings, Trainer, Watch};

use record::Record;

use crate::args::{DeviceArgs, TrainArgs};
use crate::eval::{SuiteArgs, Suites};
use crate::model_files::ModelFiles;
use crate::progress::{bytes, line};
use crate::rows::Rows;
use crate::run_folder::{Checkpoint, RunFolder};
use crate::{Outcome, devices, interrupt, pipeline_cache};
use evaluations::Evaluations;

/// A run that has been checked.
struct Job {
    settings: Settings,
    source: ModelFiles,
    rows: Rows,
    eval_rows: Option<Rows>,
    suites: Option<Suites>,
    watch: Option<Watch>,
    course: Course,
    /// Optimizer steps that are done.
    done: u64,
    /// What asking suites has allocated.
    suite_bytes: u64,
    gpu: Gpu,
    folder: RunFolder,
    checkpoint: Option<Checkpoint>,
}

/// Train as the flags say.
pub fn run(args: TrainArgs) -> Result<Outcome> {
    let settings = match &args.config {
        Some(file) => {
            let named = || file.display().to_string();
            let text = std::fs::read_to_string(file).with_context(named)?;
            args.settings.or(Settings::from_toml(&text).with_context(named)?)
        }
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
    job.course.check_bindings(&job.gpu)?;
    if args.dry_run {
        return dry_run::run(&mut job);
    }
    let mut trainer = job.trainer()?;
    // Everything is allocated before anything of an earlier run is removed.
    let mut evaluations = Evaluations::new(&job, &trainer)?;
    job.suite_bytes = evaluations.bytes;
    job.course.check_suites(job.suite_bytes)?;
    let mut counters = Counters::default();
    match &job.checkpoint {
        None => job.folder.start()?,
        Some(checkpoint) => {
            saving::restore(checkpoint, &mut trainer)?;
            (job.done, counters) = (checkpoint.state.step, checkpoint.state.counters.clone());
            job.folder.go_on(job.done, counters.evaluated == Some(job.done))?;
            job.say(&format!("resuming after step {} of {}", job.done, job.course.total))?;
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
        let config = settings.train_config()?;
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
        let quiet = settings.quiet.unwrap_or(false);
        let source = ModelFiles::open(&model, quiet)?;
        if is_same(folder.path(), &source.path) {
            bail!("output_dir: {} is the model's own folder", folder.path().display());
        }
        source.check_tensors()?;
        source.save_dtype(settings.save_dtype.as_deref())?;
        settings.mix()?;
        let row_args = settings.rows();
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
        let asked = suites.iter().flat_map(|suites| &suites.prepared);
        let watch = Watch::new(&settings, eval_rows.is_some(), asked.map(|prepared| &prepared.suite))?;
        // Settings that cannot be are told before a device is asked for.
        config.order_of_groups(rows.tally.groups(settings.mix()?))?;

        let gpu = devices::open(&DeviceArgs {
            device: settings.device.clone(),
            kernels: settings.kernels.clone(),
            checked: settings.checked.unwrap_or(false),
        })?;
        let saved = checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
        let evaluated = eval_rows.as_ref().map_or(0, |rows| rows.examples.longest()) as usize;
        let course = Course::new(
            &settings,
            &source.base(config.method == Method::Lora),
            (&rows.tally, &rows.examples),
            evaluated,
            &gpu,
            saved,
        );
        let course = match (&checkpoint, course) {
            (Some(checkpoint), Err(error @ Error::Checkpoint { .. })) => {
                return Err(error).with_context(|| checkpoint.path.display().to_string());
            }
            (_, course) => course?,
        };
        if let (Some(state), true) = (saved, course.moved) {
            eprintln!(
                "warning: the checkpoint was made on {} ({}): the run goes on, but not with the same roundings",
                state.device.name, state.device.driver
            );
        }
        Ok(Self {
            settings,
            source,
            rows,
            eval_rows,
            suites,
            watch,
            course,
            done: 0,
            suite_bytes: 0,
            gpu,
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

    /// Say what is about to be done.
    fn introduce(&self) -> Result<()> {
        let rows = &self.rows;
        self.say(&format!("device: {}", devices::describe(&self.gpu)))?;
        let tally = &rows.tally;
        let (tokens, targets) = (tally.sum(|report| report.tokens), tally.sum(|report| report.targets));
        self.say(&format!(
            "rows: {} of {}, {tokens} tokens, {targets} targets ({:.1} %), longest {} tokens",
            tally.sum(|report| report.kept as u64),
            tally.sum(|report| report.rows as u64),
            100.0 * targets as f64 / tokens as f64,
            tally.longest(),
        ))?;
        for (rows, which) in [(Some(rows), "rows"), (self.eval_rows.as_ref(), "rows to evaluate on")] {
            let Some(rows) = rows else { continue };
            rows.warn_of_bad_rows();
            if self.quiet() {
                continue;
            }
            rows.describe()?;
            let overlong = rows.tally.sum(|report| report.overlong as u64);
            if overlong > 0 {
                let fate = match self.settings.overlong.as_deref() {
                    Some("truncate") => {
                        let nothing = rows.tally.sum(|report| report.truncated_to_nothing as u64);
                        format!("truncated, {nothing} of them left without a target and dropped")
                    }
                    Some("split") => "split".to_owned(),
                    _ => "dropped".to_owned(),
                };
                self.say(&format!("too long: {overlong} {which} were {fate}"))?;
            }
        }
        if !self.quiet() {
            rows.describe_tasks(self.settings.mix()?)?;
        }
        if tally.has_instructions() {
            self.say(match tally.alpaca_style {
                AlpacaStyle::Alpaca => "instructions: as Stanford's text (alpaca)",
                AlpacaStyle::AlpacaChat => "instructions: through the chat template (alpaca-chat)",
            })?;
        }
        self.say(&format!(
            "steps: {} of {} examples, {:.2} epochs",
            self.course.total,
            self.course.config.examples_per_step(),
            self.course.epoch(self.course.total),
        ))?;
        let plan = &self.course.memory;
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
            self.course.capacity(),
        ))
    }

    /// Put the model on the device, ready for its first step.
    fn trainer(&mut self) -> Result<Trainer> {
        let model = self.source.load(&self.gpu, self.course.usage, self.quiet())?;
        self.source.forget_weights();
        self.tune()?;
        let trainer = block_on(self.course.trainer(model))?;
        pipeline_cache::write(&self.gpu);
        if trainer.recomputes() && !self.course.memory.recompute {
            self.say("memory: the device refused as much: activations are recomputed instead of kept")?;
        }
        Ok(trainer)
    }

    /// Cut products as the run did before, or as is fastest on this device.
    fn tune(&self) -> Result<()> {
        pipeline_cache::read_tiles(&self.gpu);
        let begun = Instant::now();
        let saved = self.checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
        let now = || begun.elapsed().as_secs_f64();
        if block_on(self.course.tune(&self.gpu, &self.source.config, saved, now))? > 0 {
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
