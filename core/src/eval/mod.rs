//! Loss, perplexity and token accuracy on rows that are not trained on.

pub mod compare;
pub mod stats;

use crate::Result;
use crate::data::{Examples, micro_batches};
use crate::gpu::{Plan, PlanBuilder, Scalars, Storage, Tensor};
use crate::model::{Model, Pass, Purpose};

/// Sums over the supervised targets of some examples.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EvalMetrics {
    /// Sum of −log p over the targets.
    pub loss_sum: f64,
    /// Targets that are the model's likeliest token.
    pub correct: f64,
    /// Supervised targets.
    pub targets: u64,
    /// Examples.
    pub rows: u64,
}

impl EvalMetrics {
    /// Mean loss of a target.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.targets as f64
    }

    /// e^loss.
    pub fn perplexity(&self) -> f64 {
        self.loss().exp()
    }

    /// Share of targets that are the model's likeliest token.
    pub fn token_accuracy(&self) -> f64 {
        self.correct / self.targets as f64
    }
}

/// Evaluates a model.
pub struct Evaluator {
    pass: Pass,
    plan: Plan,
    metrics: Tensor,
}

impl Evaluator {
    /// In micro-batches of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::TooLarge`](crate::Error::TooLarge) or [`Error::Gpu`](crate::Error::Gpu) when its buffers do not fit.
    pub async fn new(model: &Model, capacity: u32) -> Result<Self> {
        let gpu = model.gpu();
        let scope = gpu.scope("allocating for evaluation");
        let pass = Pass::new(model, (Purpose::Forward, Storage::F32), capacity, capacity)?;
        let metrics = Pass::metrics(gpu);
        scope.finish().await?;
        let plan = plan(model, &pass, &metrics).await?;
        Ok(Self { pass, plan, metrics })
    }

    /// Over these examples.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for an example longer than the capacity,
    /// [`Error::Gpu`](crate::Error::Gpu) when the device fails.
    pub async fn run<E: Examples + ?Sized>(&self, examples: &E) -> Result<EvalMetrics> {
        run(&self.pass, &self.plan, &self.metrics, examples).await
    }
}

/// The plan of an evaluation over these buffers.
pub(crate) async fn plan(model: &Model, pass: &Pass, metrics: &Tensor) -> Result<Plan> {
    let mut plan = PlanBuilder::new(model.gpu(), "evaluate");
    plan.clear(metrics);
    pass.record_forward(&mut plan, model, false);
    pass.record_loss(&mut plan, model, metrics, None);
    plan.finish().await
}

/// Evaluate with a plan made by [`plan`].
pub(crate) async fn run<E: Examples + ?Sized>(
    pass: &Pass,
    plan: &Plan,
    metrics: &Tensor,
    examples: &E,
) -> Result<EvalMetrics> {
    let rows: Vec<u32> = (0..examples.count() as u32).collect();
    let mut total = EvalMetrics {
        rows: examples.count() as u64,
        ..EvalMetrics::default()
    };
    // A window of rows at a time, so that sums in single precision stay short.
    for window in rows.chunks(64) {
        for batch in micro_batches(examples, window, pass.capacity as usize)? {
            if batch.targets.is_empty() {
                continue;
            }
            plan.run(&pass.upload(&batch)?, &Scalars::default());
            let sums = pass.gpu().read(&metrics.slice(0, 2)).await?;
            total.loss_sum += f64::from(sums[0]);
            total.correct += f64::from(sums[1]);
            total.targets += batch.targets.len() as u64;
        }
    }
    Ok(total)
}
