//! Held-out rows and suites during a run.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use pollster::block_on;
use serde_json::{Map, Value};
use wgpu_sft::eval::{Comparison, Examiner, SuiteResult};
use wgpu_sft::train::checkpoint::Counters;
use wgpu_sft::train::{Trainer, journal};

use super::Job;
use crate::one_line;
use crate::progress::{bytes, warn};
use crate::tensor_file::replace;

/// Items of each suite that the report shows side by side.
const SIDE_BY_SIDE: usize = 12;

/// What is evaluated during a run, its buffers allocated before the first step.
pub struct Evaluations {
    examiner: Option<Examiner>,
    /// What that allocated.
    pub bytes: u64,
}

/// What an evaluation came to.
pub struct Evaluated {
    /// Lines to print.
    pub lines: Vec<String>,
    /// The best so far.
    pub best: bool,
}

impl Evaluations {
    /// For the model that is trained.
    pub fn new(job: &Job, trainer: &Trainer) -> Result<Self> {
        let Some(suites) = &job.suites else {
            return Ok(Self {
                examiner: None,
                bytes: 0,
            });
        };
        let before = job.gpu.memory().live();
        let examiner = block_on(Examiner::new(trainer.model(), &suites.prepared))?;
        job.say(&format!(
            "suites: {} of {} items; memory for them: {}",
            suites.prepared.len(),
            suites
                .prepared
                .iter()
                .map(|prepared| prepared.items().len())
                .sum::<usize>(),
            bytes(job.gpu.memory().live().saturating_sub(before)),
        ))?;
        Ok(Self {
            examiner: Some(examiner),
            bytes: job.gpu.memory().live().saturating_sub(before),
        })
    }

    /// Whether there is an evaluation after `step` steps. What tuning changes is told from the start.
    pub fn are_due(&self, job: &Job, step: u64) -> bool {
        job.watch.is_some() && job.course.evaluates_after(step, job.suites.is_some())
    }

    /// Evaluate after `step` steps; `None` when that was interrupted.
    pub fn run(
        &mut self,
        job: &Job,
        trainer: &mut Trainer,
        step: u64,
        counters: &mut Counters,
    ) -> Result<Option<(Map<String, Value>, Evaluated)>> {
        let rows = match &job.eval_rows {
            Some(rows) => Some(block_on(trainer.evaluate(&rows.examples)).context("evaluating")?),
            None => None,
        };
        let mut results = Vec::new();
        if let (Some(suites), Some(examiner)) = (&job.suites, &mut self.examiner) {
            match suites.examine(examiner, &job.source, true)? {
                Some(examined) => results = examined,
                None => return Ok(None),
            }
            job.folder.claim()?;
            let path = file(job, step);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            replace(&path, serde_json::to_string(&results)?.as_bytes())?;
            let samples = journal::samples(step, &results);
            job.folder
                .samples(&samples.iter().map(|line| format!("{line}\n")).collect::<String>())?;
        }
        let numbers = journal::numbers(rows.as_ref(), &results);
        let lines = journal::words(step, job.course.total, rows.as_ref(), &results);
        counters.evaluated = Some(step);
        let best = match &job.watch {
            Some(watch) if step > 0 => watch.see(step, &numbers, counters),
            _ => false,
        };
        Ok(Some((numbers, Evaluated { lines, best })))
    }
}

/// Where the results of a step's suites are.
fn file(job: &Job, step: u64) -> PathBuf {
    job.folder.path().join("evaluations").join(format!("step-{step}.json"))
}

fn read(job: &Job, step: u64) -> Result<Vec<SuiteResult>> {
    let path = file(job, step);
    let named = || path.display().to_string();
    let text = fs::read(&path).with_context(named)?;
    serde_json::from_slice(&text).with_context(named)
}

/// What the run changed: the model after `step` steps beside what it began as. Kept as `compare.json`. Suites that were not asked before the
/// first step, or were others then, leave nothing to compare with: that is said, and the run is none the worse.
pub fn compare(job: &Job, step: u64) -> Result<Option<Comparison>> {
    if job.suites.is_none() {
        return Ok(None);
    }
    let compared = compared(job, step);
    if let Err(error) = &compared {
        warn(&format!("before and after are not compared: {}", one_line(error)));
        return Ok(None);
    }
    compared.map(Some)
}

fn compared(job: &Job, step: u64) -> Result<Comparison> {
    let (before, after) = (read(job, 0)?, read(job, step)?);
    let names = (
        job.source.name.as_str(),
        format!("{} after step {step}", job.source.name),
    );
    let comparison = Comparison::new((names.0, &before), (&names.1, &after), SIDE_BY_SIDE)?;
    let text = serde_json::to_string_pretty(&comparison)?;
    replace(&job.folder.path().join("compare.json"), text.as_bytes())?;
    Ok(comparison)
}
