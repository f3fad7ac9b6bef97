//! Held-out rows and suites during a run: what is measured, which step was the best, when to stop.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use pollster::block_on;
use serde_json::{Map, Value, json};
use wgpu_sft::Error;
use wgpu_sft::eval::{Comparison, Examiner, ItemResult, Measure, SuiteResult};
use wgpu_sft::train::Trainer;
use wgpu_sft::train::checkpoint::{Best, Counters};

use super::Job;
use crate::config_file::Settings;
use crate::eval::Suites;
use crate::one_line;
use crate::progress::bytes;
use crate::rows::Rows;
use crate::tensor_file::replace;

/// Answers of each suite that `samples.jsonl` follows.
const SAMPLES: usize = 3;
/// Items of each suite that the report shows side by side.
const SIDE_BY_SIDE: usize = 12;

/// Which number decides, and when the run has had enough (transformers' `EarlyStoppingCallback`).
pub struct Watch {
    /// As `metrics.jsonl` has it.
    metric: String,
    higher_is_better: bool,
    patience: Option<u32>,
    threshold: f64,
    /// Whether the result is the best evaluated step's, not the last one's.
    pub load_best: bool,
}

impl Watch {
    /// As the settings say; `None` where nothing is evaluated.
    pub fn new(settings: &Settings, eval_rows: Option<&Rows>, suites: Option<&Suites>) -> Result<Option<Self>> {
        let mut known: Vec<(String, bool)> = Vec::new();
        if eval_rows.is_some() {
            for measure in [Measure::Loss, Measure::Perplexity, Measure::TokenAccuracy] {
                known.push((format!("eval_{measure}"), measure.higher_is_better()));
            }
        }
        for suite in suites
            .iter()
            .flat_map(|suites| &suites.prepared)
            .map(|prepared| &prepared.suite)
        {
            let names = suite
                .measure
                .iter()
                .map(|measure| (key(&suite.name, *measure), measure.higher_is_better()));
            known.extend(names);
        }
        if let Some((i, (name, _))) = known
            .iter()
            .enumerate()
            .find(|(i, (name, _))| known[..*i].iter().any(|(other, _)| other == name))
        {
            let why = format!(
                "{name} would be there twice in the log (number {}): give the suite another name",
                i + 1
            );
            return Err(Error::config("eval_suite", why).into());
        }
        let load_best = settings.load_best_model_at_end.unwrap_or(false);
        let patience = settings.early_stopping_patience;
        let Some(first) = known.first() else {
            let asked = [
                ("eval_steps", settings.eval_steps.is_some()),
                ("load_best_model_at_end", load_best),
                ("metric_for_best_model", settings.metric_for_best_model.is_some()),
                ("early_stopping_patience", patience.is_some()),
            ];
            return match asked.into_iter().find(|(_, asked)| *asked) {
                Some((field, _)) => Err(Error::config(field, "needs --eval-data or --eval-suite").into()),
                None => Ok(None),
            };
        };
        let (metric, higher_is_better) = match &settings.metric_for_best_model {
            None => first.clone(),
            Some(asked) => {
                let name = asked.strip_prefix("eval_").unwrap_or(asked);
                let found = known
                    .iter()
                    .find(|(known, _)| known.strip_prefix("eval_") == Some(name));
                found.cloned().ok_or_else(|| {
                    let names: Vec<_> = known.iter().map(|(name, _)| name.as_str()).collect();
                    Error::config(
                        "metric_for_best_model",
                        format!("{asked:?} is none of {}", names.join(", ")),
                    )
                })?
            }
        };
        if patience == Some(0) {
            return Err(Error::config("early_stopping_patience", "must be at least 1").into());
        }
        if patience.is_some() && !load_best {
            let why = "needs --load-best-model-at-end: a run that is stopped late keeps an earlier step's weights";
            return Err(Error::config("early_stopping_patience", why).into());
        }
        let threshold = settings.early_stopping_threshold.unwrap_or(0.0);
        if !(threshold.is_finite() && threshold >= 0.0) {
            return Err(Error::config(
                "early_stopping_threshold",
                format!("{threshold} is not a number from 0 up"),
            )
            .into());
        }
        if settings.early_stopping_threshold.is_some() && patience.is_none() {
            return Err(Error::config("early_stopping_threshold", "needs --early-stopping-patience").into());
        }
        Ok(Some(Self {
            metric,
            higher_is_better,
            patience,
            threshold,
            load_best,
        }))
    }

    /// What decides, by its name in `metrics.jsonl`.
    pub fn metric(&self) -> &str {
        &self.metric
    }

    /// Forget a best evaluation that a run which goes on cannot use: by another number, or without its checkpoint.
    pub fn check(&self, job: &Job, counters: &mut Counters) {
        let Some(best) = &counters.best else { return };
        let why = if best.metric != self.metric {
            format!("it was told by {}, now by {}", best.metric, self.metric)
        } else if self.load_best && job.folder.checkpoint(best.step).is_err() {
            "its checkpoint is not in the output folder".to_owned()
        } else {
            return;
        };
        eprintln!(
            "warning: the best evaluation, after step {}, is forgotten: {why}",
            best.step
        );
        counters.best = None;
        counters.evaluations_without_gain = 0;
    }

    /// Whether the run is to end here.
    pub fn has_had_enough(&self, counters: &Counters) -> bool {
        self.patience
            .is_some_and(|patience| counters.evaluations_without_gain >= patience)
    }

    /// Take an evaluation after `step` steps into account; whether it is the best so far.
    fn see(&self, step: u64, numbers: &Map<String, Value>, counters: &mut Counters) -> bool {
        let value = numbers.get(&self.metric).and_then(Value::as_f64);
        let gain = |over: f64, value: f64| {
            if self.higher_is_better {
                value - over
            } else {
                over - value
            }
        };
        // A number that is none is no gain.
        let (best, gained) = match (value, &counters.best) {
            (None, _) => (false, false),
            (Some(_), None) => (true, true),
            (Some(value), Some(best)) => {
                let gain = gain(best.value, value);
                (gain > 0.0, gain > self.threshold)
            }
        };
        if let (true, Some(value)) = (best, value) {
            counters.best = Some(Best {
                step,
                metric: self.metric.clone(),
                value,
            });
        }
        counters.evaluations_without_gain = if gained {
            0
        } else {
            counters.evaluations_without_gain + 1
        };
        best
    }
}

/// How `metrics.jsonl` calls a measure of a suite.
fn key(suite: &str, measure: Measure) -> String {
    format!("eval_{suite}_{measure}")
}

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
        let due = |every: u64| step > 0 && step.is_multiple_of(every);
        let start = step == 0 && job.suites.is_some();
        job.watch.is_some() && (start || step == job.total || job.settings.eval_steps.is_some_and(due))
    }

    /// Evaluate after `step` steps; `None` when that was interrupted.
    pub fn run(
        &mut self,
        job: &Job,
        trainer: &Trainer,
        step: u64,
        counters: &mut Counters,
    ) -> Result<Option<(Map<String, Value>, Evaluated)>> {
        let mut numbers = Map::new();
        let mut lines = Vec::new();
        let at = format!("step {step}/{}", job.total);
        if let Some(rows) = &job.eval_rows {
            let result = block_on(trainer.evaluate(&rows.examples)).context("evaluating")?;
            for (name, value) in [
                ("eval_loss", json!(result.loss())),
                ("eval_perplexity", json!(result.perplexity())),
                ("eval_token_accuracy", json!(result.token_accuracy())),
                ("eval_targets", json!(result.targets)),
            ] {
                numbers.insert(name.to_owned(), value);
            }
            lines.push(format!(
                "{at}  eval_loss {:.4}  perplexity {:.3}  token accuracy {:.1} %",
                result.loss(),
                result.perplexity(),
                100.0 * result.token_accuracy()
            ));
        }
        if let (Some(suites), Some(examiner)) = (&job.suites, &mut self.examiner) {
            let Some(results) = suites.examine(examiner, &job.source, true)? else {
                return Ok(None);
            };
            for result in &results {
                let mut text = format!("{at}  {}:", result.suite.name);
                for &measure in &result.suite.measure {
                    let value = result.value(measure);
                    numbers.insert(key(&result.suite.name, measure), json!(value));
                    text += &format!("  {measure} {}", measure.show(value));
                }
                lines.push(text);
            }
            let path = file(job, step);
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            replace(&path, serde_json::to_string(&results)?.as_bytes())?;
            job.folder.samples(&samples(step, &results))?;
        }
        counters.evaluated = Some(step);
        let best = match &job.watch {
            Some(watch) if step > 0 => watch.see(step, &numbers, counters),
            _ => false,
        };
        Ok(Some((numbers, Evaluated { lines, best })))
    }
}

/// The first answers of each suite, a JSON object a line.
fn samples(step: u64, results: &[SuiteResult]) -> String {
    let asked = results.iter().filter(|result| result.suite.asks());
    let items = asked.flat_map(|result| result.items.iter().take(SAMPLES).map(move |item| (result, item)));
    let line = |(result, item): (&SuiteResult, &ItemResult)| {
        let json = json!({
            "step": step,
            "suite": result.suite.name,
            "prompt": item.prompt,
            "reference": item.references.join(" | "),
            "answer": item.answer,
        });
        format!("{json}\n")
    };
    items.map(line).collect()
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
        eprintln!("warning: before and after are not compared: {}", one_line(error));
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
