//! Which evaluation is the best, and when a run has had enough.

use serde_json::{Map, Value};

use super::Settings;
use super::checkpoint::{Best, Counters};
use super::journal::key;
use crate::eval::{Measure, Suite};
use crate::{Error, Result};

/// Which number decides, and when the run has had enough (transformers' `EarlyStoppingCallback`).
#[derive(Debug, Clone)]
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
    ///
    /// # Errors
    /// [`Error::Config`] for a number that nobody measures, one that two suites would have, and settings that need others.
    pub fn new<'a>(
        settings: &Settings,
        has_eval_rows: bool,
        suites: impl Iterator<Item = &'a Suite>,
    ) -> Result<Option<Self>> {
        let mut known: Vec<(String, bool)> = Vec::new();
        if has_eval_rows {
            for measure in [Measure::Loss, Measure::Perplexity, Measure::TokenAccuracy] {
                known.push((format!("eval_{measure}"), measure.higher_is_better()));
            }
        }
        for suite in suites {
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
            return Err(Error::config("eval_suite", why));
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
                Some((field, _)) => Err(Error::config(field, "needs --eval-data or --eval-suite")),
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
            return Err(Error::config("early_stopping_patience", "must be at least 1"));
        }
        if patience.is_some() && !load_best {
            let why = "needs --load-best-model-at-end: a run that is stopped late keeps an earlier step's weights";
            return Err(Error::config("early_stopping_patience", why));
        }
        let threshold = settings.early_stopping_threshold.unwrap_or(0.0);
        if !(threshold.is_finite() && threshold >= 0.0) {
            return Err(Error::config(
                "early_stopping_threshold",
                format!("{threshold} is not a number from 0 up"),
            ));
        }
        if settings.early_stopping_threshold.is_some() && patience.is_none() {
            return Err(Error::config(
                "early_stopping_threshold",
                "needs --early-stopping-patience",
            ));
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

    /// Why a run that goes on cannot use its best evaluation: it is by another number, or `has_checkpoint` knows none of its step.
    /// It is forgotten then.
    pub fn forget(&self, counters: &mut Counters, has_checkpoint: impl FnOnce(u64) -> bool) -> Option<String> {
        let best = counters.best.as_ref()?;
        let why = if best.metric != self.metric {
            format!("it was told by {}, now by {}", best.metric, self.metric)
        } else if self.load_best && !has_checkpoint(best.step) {
            "its checkpoint is not in the output folder".to_owned()
        } else {
            return None;
        };
        let why = format!("the best evaluation, after step {}, is forgotten: {why}", best.step);
        counters.best = None;
        counters.evaluations_without_gain = 0;
        Some(why)
    }

    /// Whether the run is to end here.
    pub fn has_had_enough(&self, counters: &Counters) -> bool {
        self.patience
            .is_some_and(|patience| counters.evaluations_without_gain >= patience)
    }

    /// Take an evaluation after `step` steps into account; whether it is the best so far.
    pub fn see(&self, step: u64, numbers: &Map<String, Value>, counters: &mut Counters) -> bool {
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
