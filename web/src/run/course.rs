//! The steps of a run, between them evaluations and checkpoints: the same decisions as natively, one at a time.

use serde_json::{Value, json};
use wgpu_sft::train::StepMetrics;

use super::{Active, event, seconds};
use crate::error::Result;

impl Active {
    /// The next piece of work.
    pub async fn advance(&mut self) -> Result<Value> {
        if let Some(event) = self.told.pop_front() {
            return Ok(event);
        }
        if self.finished < self.submitted {
            return self.step().await;
        }
        // Nothing is under way: the state is that after exactly this many steps.
        if self.evaluates_after(self.finished) && self.counters.evaluated != Some(self.finished) {
            self.last_end = None;
            return self.evaluate().await;
        }
        let over = self.finished >= self.course.total || self.has_had_enough();
        let due =
            self.finished > 0 && (over || self.course.saves_after(self.finished)) && self.saved != Some(self.finished);
        if due || self.must_save {
            self.last_end = None;
            self.save().await?;
            return Ok(event("saved", json!({ "step": self.finished })));
        }
        if over {
            return self.finish().await;
        }
        self.submit().await?;
        self.step().await
    }

    /// End the steps under way, and make a checkpoint.
    pub async fn pause(&mut self) -> Result<()> {
        while self.finished < self.submitted {
            let event = self.step().await?;
            self.told.push_back(event);
        }
        self.last_end = None;
        if self.finished > 0 && (self.must_save || self.saved != Some(self.finished)) {
            self.save().await?;
        } else {
            self.write_logs().await?;
        }
        Ok(())
    }

    fn evaluates_after(&self, step: u64) -> bool {
        self.watch.is_some() && self.course.evaluates_after(step, !self.suites.is_empty())
    }

    fn has_had_enough(&self) -> bool {
        let enough = |watch: &wgpu_sft::train::Watch| watch.has_had_enough(&self.counters);
        self.watch.as_ref().is_some_and(enough)
    }

    /// Hand steps to the device, as long as nothing has to be done between them.
    async fn submit(&mut self) -> Result<()> {
        while self.submitted < self.course.total
            && self.trainer.in_flight() < 2
            && (self.finished == self.submitted
                || !(self.course.saves_after(self.submitted) || self.evaluates_after(self.submitted)))
        {
            let batches = self.course.batches(&self.rows.examples, self.submitted)?;
            self.trainer.submit(&batches).await?;
            self.submitted += 1;
        }
        Ok(())
    }

    /// Wait for the oldest step under way, while the next one is handed over.
    async fn step(&mut self) -> Result<Value> {
        let begun = self.last_end;
        let step = self.trainer.metrics().await?;
        self.finished += 1;
        let now = seconds();
        self.last_end = Some(now);
        let took = begun.map(|begun| now - begun);
        if let Some(took) = took.filter(|took| *took > 0.0) {
            self.gpu.set_speed(step.work as f64 / took);
        }
        Ok(self.log(&step, took))
    }

    /// Count a step, and log it if it is its turn.
    fn log(&mut self, step: &StepMetrics, took: Option<f64>) -> Value {
        self.counters.add(step);
        let epoch = self.course.epoch(step.step);
        let event = event(
            "step",
            json!({
                "step": step.step,
                "total": self.course.total,
                "epoch": epoch,
                "loss": step.loss(),
                "grad_norm": step.grad_norm,
                "learning_rate": step.learning_rate,
                "tokens": step.tokens,
                "targets": step.targets,
                "seconds": took,
            }),
        );
        if step.step.is_multiple_of(self.settings.logging_steps()) || step.step == self.course.total {
            let (since, tokens) = self.since[0];
            let speed = (self.counters.tokens - tokens) as f64 / (seconds() - since).max(1e-9);
            let line = self.counters.line(step, epoch, speed);
            self.metrics += &format!("{line}\n");
            self.since = [self.since[1], (seconds(), self.counters.tokens)];
        }
        event
    }
}
