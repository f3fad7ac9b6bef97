//! The update at a step's end, a piece at a time and never in half.

use super::{InFlight, METRICS, Trainer};
use crate::Result;
use crate::gpu::{Counts, Gpu, Plan, PlanBuilder, Staging, turn};
use crate::model::Flat;
use crate::ops::{adamw, gradient_norm};
use crate::train::buffers::Buffers;
use crate::train::step_metrics::StepMetrics;
use crate::train::{TrainConfig, WeightDecayOn};

/// What is being done where the device refuses a part of it.
pub(super) const DOING: &str = "updating the weights";

/// What clips the gradients of one step, updates the weights by them, and clears them for the next one.
///
/// # Errors
/// [`Error::Gpu`](crate::Error::Gpu) when a shader does not compile or there is no memory for it.
pub(super) async fn plan(gpu: &Gpu, flat: &Flat, buffers: &Buffers, config: &TrainConfig) -> Result<Plan> {
    let Buffers {
        gradients,
        moments,
        metrics,
        runs,
        partial_sums,
        ..
    } = buffers;
    let mut plan = PlanBuilder::new(gpu, "update");
    let mut first = 0;
    for run in runs {
        gradient_norm::partial(&mut plan, &run.of(gradients), partial_sums, first);
        first += gradient_norm::partials(run.len) as u32;
    }
    gradient_norm::finish(&mut plan, partial_sums, first, metrics);
    for run in runs {
        let decay = run.matrix || config.weight_decay_on == WeightDecayOn::All;
        let (gradient, weight) = (run.of(gradients), run.of(&flat.buffers));
        let both = (&run.of(&moments[0]), &run.of(&moments[1]));
        adamw::update(&mut plan, metrics, &gradient, &weight, both, decay);
    }
    for run in runs {
        plan.clear(&run.of(gradients));
    }
    plan.finish().await
}

/// An update that is under way. Half of one would be no model's weights: once a piece was submitted, dropping this submits the rest.
pub(super) struct Update<'a> {
    trainer: &'a mut Trainer,
    submitted: usize,
    /// What is to be read back at the end; none after it.
    step: Option<(StepMetrics, Staging)>,
}

impl<'a> Update<'a> {
    /// Of the trainer's next step, whose gradients are there.
    pub fn new(trainer: &'a mut Trainer, metrics: StepMetrics, staging: Staging) -> Self {
        Self {
            trainer,
            submitted: 0,
            step: Some((metrics, staging)),
        }
    }

    /// Submit it all, where work is paced a piece a turn.
    ///
    /// # Errors
    /// [`Error::Gpu`](crate::Error::Gpu) when the device refuses a piece: the weights are those of no step then.
    pub async fn run(mut self) -> Result<()> {
        let gpu = self.trainer.gpu.clone();
        while self.step.is_some() {
            let most = turn().await;
            let told = gpu.told(DOING, || self.submit(most)).await;
            self.heed(told)?;
        }
        Ok(())
    }

    /// Submit the next piece, of at most so many operations; after the last the step has been taken.
    fn submit(&mut self, most: u64) {
        let trainer = &mut *self.trainer;
        // Until it is whole: nothing else marks one that is forgotten, or whose submit panics.
        trainer.torn = true;
        trainer.update.submit(&mut self.submitted, &Counts::default(), most);
        if !trainer.update.is_whole(self.submitted) {
            return;
        }
        if let Some((metrics, staging)) = self.step.take() {
            (trainer.torn, trainer.given_up) = (false, false);
            trainer.step += 1;
            let pending = trainer.gpu.read_start(&trainer.metrics, 0, METRICS * 4, staging);
            trainer.clear_sums();
            trainer.in_flight.push_back(InFlight { pending, metrics });
        }
    }

    /// What the device says of a piece: nothing follows one that it refuses.
    fn heed(&mut self, told: Result<()>) -> Result<()> {
        if told.is_err() {
            (self.trainer.torn, self.trainer.given_up) = (true, true);
            if self.step.take().is_none() {
                self.trainer.step -= 1;
                self.trainer.in_flight.pop_back();
            }
        }
        told
    }
}

impl Drop for Update<'_> {
    fn drop(&mut self) {
        // Where a submit panicked, what it was of is lost.
        while self.submitted > 0 && self.step.is_some() && !std::thread::panicking() {
            let gpu = self.trainer.gpu.clone();
            let told = gpu.told_at_once(DOING, || {
                self.submit(u64::MAX);
                Ok(())
            });
            // A refusal is told to whoever takes the next step; in a browser the device's handlers hear of it.
            let _ = self.heed(told);
        }
    }
}
