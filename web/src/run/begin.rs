//! The beginning of a run: everything is checked, then allocated, before anything is written.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;

use js_sys::Function;
use serde::Deserialize;
use serde_json::json;
use wasm_bindgen::prelude::*;
use wgpu_sft::Error;
use wgpu_sft::data::{Intake, Source as RowSource, Tally};
use wgpu_sft::eval::Examiner;
use wgpu_sft::report::{Outcome, Run as Record, Session};
use wgpu_sft::train::checkpoint::{Counters, Device as SavedDevice};
use wgpu_sft::train::{BaseModel, Course, Method, Settings, Watch};

use super::{Active, Rows, Run, clock, files, seconds, tell};
use crate::device::Device;
use crate::error::{Result, Within};
use crate::io::{Folder, RowFile};
use crate::source::Source;
use crate::suites;

/// Rows that are tokenised between two words of progress.
const TOLD: usize = 500;

/// What is to be done.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Job {
    /// As in `train.toml`. What names files or devices is not looked at: those are given.
    #[serde(default)]
    settings: Settings,
    /// The text of a suite file, whose rows are in files given by the same names.
    suites: Option<String>,
    /// Go on from the newest complete checkpoint of the folder, if there is one.
    #[serde(default)]
    resume: bool,
}

#[wasm_bindgen]
impl Run {
    /// Begin a run, or go on with one. `job` is JSON: `{settings: {keys of train.toml}, suites?: text of a suite file, resume?: boolean}`;
    /// the suites' rows are in `suite_files`, by the names that the suites use. `on_progress` is told what is being done, how much of it is
    /// done, and of how much (0 where that is not known), later also while the run evaluates. Errors: what is wrong with the settings, the rows, the checkpoint; what does not
    /// fit; a folder that holds a run, unless `resume` is set.
    pub async fn begin(
        device: &Device,
        source: &Source,
        job: &str,
        data: Vec<RowFile>,
        eval_data: Vec<RowFile>,
        suite_files: Vec<RowFile>,
        folder: Folder,
        #[wasm_bindgen(unchecked_param_type = "(what: string, done: number, total: number) => void")]
        on_progress: Function,
    ) -> Result<Run> {
        let tell = |what: &str, done: u64, total: u64| tell(&on_progress, what, done, total);
        let job: Job = serde_json::from_str(job).map_err(|e| Error::config("job", e.to_string()))?;
        let (gpu, model) = (device.gpu().clone(), source.files().clone());
        let mut settings = job.settings;
        let names = |files: &[RowFile]| Some(files.iter().map(RowFile::row_name).collect());
        settings.model = Some(model.name.clone());
        settings.data = names(&data);
        settings.eval_data = (!eval_data.is_empty()).then(|| names(&eval_data)).flatten();
        let config = settings.train_config()?;

        let checkpoint = match job.resume {
            true => files::newest(&folder).await?,
            false => files::refuse_run(&folder).await.map(|()| None)?,
        };
        let state = checkpoint.as_ref().map(|checkpoint| &checkpoint.state);
        if state.is_none() {
            source.complete(&mut settings);
        }

        let rows = read(&settings, &model, &data, tell)?;
        let eval_rows = match eval_data.is_empty() {
            true => None,
            false => Some(read(&settings, &model, &eval_data, tell)?),
        };
        let suites = match &job.suites {
            Some(text) => suites::prepare(&model, text, &suite_files, &settings.rows())?,
            None => Vec::new(),
        };
        let asked = suites.iter().map(|prepared| &prepared.suite);
        let watch = Watch::new(&settings, eval_rows.is_some(), asked)?;
        let lengths = eval_rows
            .iter()
            .flat_map(|rows| &rows.examples)
            .map(|example| example.ids.len());
        let evaluated = lengths.max().unwrap_or(0);
        let base = BaseModel::new(&model, source.model_hash(config.method == Method::Lora).await?);
        let course = Course::new(&settings, &base, (&rows.tally, &rows.examples), evaluated, &gpu, state)?;
        course.check_bindings(&gpu)?;

        let loaded = source
            .load(&gpu, course.usage, |done, total| tell("loading", done, total))
            .await?;
        tell("tuning", 0, 0)?;
        course.tune(&gpu, &model.config, state, seconds).await?;
        tell("preparing", 0, 0)?;
        let mut trainer = course.trainer(loaded).await?;
        let before = gpu.memory().live();
        let examiner = match suites.is_empty() {
            true => None,
            false => Some(Examiner::new(trainer.model(), &suites).await?),
        };
        let suite_bytes = gpu.memory().live().saturating_sub(before);
        course.check_suites(suite_bytes)?;
        let mut warnings = Vec::new();
        let (mut done, mut counters) = (0, Counters::default());
        if let Some(checkpoint) = &checkpoint {
            checkpoint.restore(&folder, &mut trainer).await?;
            (done, counters) = (checkpoint.state.step, checkpoint.state.counters.clone());
            if course.moved {
                let device = &checkpoint.state.device;
                let device = format!("{} {}", device.name, device.driver);
                warnings.push(format!(
                    "the checkpoint was made on another device ({}): the run goes on, but not with the same roundings",
                    device.trim()
                ));
            }
        }
        let logs = files::go_on(&folder, done, counters.evaluated == Some(done)).await?;
        if let Some(watch) = &watch {
            let known = files::checkpoints(&folder).await?;
            warnings.extend(watch.forget(&mut counters, |step| known.contains(&step)));
        }
        let eval_tally = eval_rows.as_ref().map(|rows| &rows.tally);
        let earlier = files::record(&folder).await.filter(|_| checkpoint.is_some());
        let mut sessions = earlier.map_or(Vec::new(), |run: Record| run.sessions);
        sessions.push(Session {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            platform: platform(),
            device: SavedDevice::from(gpu.info()),
            kernels: gpu.family().to_string(),
            started: clock(),
            from_step: done,
            outcome: Outcome::Running,
            ..Session::default()
        });
        let recomputes = trainer.recomputes();
        let mut record = course.record(&settings, &base, (&rows.tally, eval_tally), recomputes, sessions)?;
        record.memory.suites = suite_bytes;
        let sum = |of: fn(&wgpu_sft::data::Report) -> u64| rows.tally.sum(of);
        let about = json!({
            "model": model.name,
            "total_steps": course.total,
            "step": done,
            "steps_per_epoch": course.order.steps_per_epoch(),
            "rows": sum(|report| report.kept as u64),
            "eval_rows": eval_tally.map_or(0, |tally| tally.sum(|report| report.kept as u64)),
            "tokens": sum(|report| report.tokens),
            "targets": sum(|report| report.targets),
            "trained_parameters": record.trained_parameters,
            "kernels": gpu.family().to_string(),
            "memory": record.memory,
            "warnings": warnings,
        });
        let now = (seconds(), counters.tokens);
        let active = Active {
            gpu,
            folder,
            settings,
            model,
            rows,
            eval_rows,
            suites,
            watch,
            course,
            trainer,
            examiner,
            counters,
            record,
            metrics: logs.0,
            samples: logs.1,
            submitted: done,
            finished: done,
            told: VecDeque::new(),
            saved: checkpoint.map(|checkpoint| checkpoint.state.step),
            must_save: false,
            ended: false,
            last_end: None,
            since: [now; 2],
            stop_evaluating: Rc::new(Cell::new(false)),
            on_progress,
        };
        active.write_logs().await?;
        Ok(Run::new(active, &about))
    }
}

/// Tokenise files of rows.
fn read(
    settings: &Settings,
    model: &wgpu_sft::formats::ModelFiles,
    files: &[RowFile],
    tell: impl Fn(&str, u64, u64) -> Result<()>,
) -> Result<Rows> {
    let row_settings = settings.rows();
    let context = model.config.max_position_embeddings;
    let with = row_settings.preparation(context, model.preparation())?;
    let reading = row_settings.reading()?;
    let mut rows = Rows {
        examples: Vec::new(),
        tally: Tally::new(&with),
    };
    let mut count = 0;
    for file in files {
        let name = file.row_name();
        rows.tally.begin_file(1.0)?;
        let mut intake = Intake::new(&with)?;
        let contents = file.contents();
        let source = RowSource::new(&contents[..], &name).within(&name)?;
        let mut told = Ok(());
        let read = source.for_each(&reading, |place, row| {
            let row = row.and_then(|row| with.prepare(place, row));
            let task = row.as_ref().ok().and_then(|row| row.task.clone()).unwrap_or_default();
            for example in intake.take(place, row)? {
                rows.tally.add(&task, &example)?;
                rows.examples.push(example);
            }
            count += 1;
            if count % TOLD == 0 && told.is_ok() {
                told = tell("tokenising", count as u64, 0);
            }
            Ok(())
        });
        told?;
        read.within(&name)?;
        rows.tally.end_file(name.clone(), 1.0, intake.finish().within(&name)?);
    }
    Ok(rows)
}

/// What the browser calls itself.
fn platform() -> String {
    let navigator = js_sys::Reflect::get(&js_sys::global(), &"navigator".into());
    let agent = navigator.and_then(|navigator| js_sys::Reflect::get(&navigator, &"userAgent".into()));
    agent.ok().and_then(|agent| agent.as_string()).unwrap_or_default()
}
