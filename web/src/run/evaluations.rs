//! Held-out rows and suites during a run, and what they say at its end.

use serde_json::{Value, json};
use wgpu_sft::eval::{Comparison, SuiteResult};
use wgpu_sft::report::Outcome;
use wgpu_sft::train::journal;

use super::{Active, event, files, seconds, tell};
use crate::error::{Result, Within};
use crate::suites;

/// Items of each suite that are shown side by side.
const SIDE_BY_SIDE: usize = 12;

impl Active {
    /// Evaluate after the steps done.
    pub async fn evaluate(&mut self) -> Result<Value> {
        self.stop_evaluating.set(false);
        let (step, begun) = (self.finished, seconds());
        let rows = match &self.eval_rows {
            Some(rows) => Some(self.trainer.evaluate(&rows.examples).await?),
            None => None,
        };
        let mut results = Vec::new();
        if let Some(examiner) = &mut self.examiner {
            let (stop, on_progress) = (self.stop_evaluating.clone(), &self.on_progress);
            let told = |suite: &str, done: u64, total: u64| {
                // Whoever asked to be told may be gone: no reason to fail.
                let _ = tell(on_progress, &format!("evaluating {suite}"), done, total);
                Ok(!stop.get())
            };
            match suites::examine(&self.suites, examiner, &self.model, told).await? {
                Some(examined) => results = examined,
                None => return Ok(event("paused", json!({ "step": step }))),
            }
            let path = evaluation(step);
            self.folder.write(&path, &serde_json::to_vec(&results)?).await?;
        }
        let samples = journal::samples(step, &results);
        self.samples.extend(samples.iter().map(|line| format!("{line}\n")));
        let numbers = journal::numbers(rows.as_ref(), &results);
        let lines = journal::words(step, self.course.total, rows.as_ref(), &results);
        let line = journal::evaluation_line(step, self.course.epoch(step), numbers.clone());
        self.metrics += &format!("{line}\n");
        self.counters.evaluated = Some(step);
        let best = match &self.watch {
            Some(watch) if step > 0 => watch.see(step, &numbers, &mut self.counters),
            _ => false,
        };
        let keeps_best = best && self.watch.as_ref().is_some_and(|watch| watch.load_best);
        // What was evaluated is part of a checkpoint's state: one that is there already is made anew.
        self.must_save = step > 0 && (keeps_best || self.saved == Some(step));
        for (since, _) in &mut self.since {
            *since += seconds() - begun; // the speed is that of training
        }
        let event = event(
            "evaluation",
            json!({ "step": step, "numbers": numbers, "lines": lines, "best": best, "samples": samples }),
        );
        let written = self.write_logs().await;
        if written.is_err() {
            // It is over all the same: what comes next tells it.
            self.told.push_back(event.clone());
        }
        written.map(|()| event)
    }

    /// All steps are done, or enough of them: write the result.
    pub async fn finish(&mut self) -> Result<Value> {
        let best = self.counters.best.clone();
        let best = best.filter(|_| self.watch.as_ref().is_some_and(|watch| watch.load_best));
        let kept = best.as_ref().map_or(self.finished, |best| best.step);
        if !self.ended {
            self.write_result(kept).await?;
        }
        let comparison = match self.suites.is_empty() {
            true => None,
            false => self.compare(kept).await?,
        };
        if let Some(comparison) = &comparison {
            let text = serde_json::to_vec_pretty(comparison)?;
            self.folder.write(files::COMPARISON, &text).await?;
        }
        self.ended = true;
        self.close_session(Outcome::Finished);
        self.write_report(comparison.as_ref()).await?;
        Ok(event(
            "finished",
            json!({ "step": self.finished, "best": best, "comparison": comparison }),
        ))
    }

    /// What the run changed: the model after `step` steps beside what it began as, where both were examined on the same.
    async fn compare(&self, step: u64) -> Result<Option<Comparison>> {
        let (Some(before), Some(after)) = (self.results(0).await?, self.results(step).await?) else {
            return Ok(None);
        };
        let name = &self.model.name;
        let after_name = format!("{name} after step {step}");
        Ok(Comparison::new((name, &before), (&after_name, &after), SIDE_BY_SIDE).ok())
    }

    async fn results(&self, step: u64) -> Result<Option<Vec<SuiteResult>>> {
        let path = evaluation(step);
        let Some(text) = self.folder.read(&path).await? else {
            return Ok(None);
        };
        let results = serde_json::from_slice(&text).map_err(|e| wgpu_sft::Error::data(e.to_string()));
        results.within(&path).map(Some)
    }
}

/// Where the results of a step's suites are.
fn evaluation(step: u64) -> String {
    format!("{}/step-{step}.json", files::EVALUATIONS)
}
