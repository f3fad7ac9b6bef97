//! How good a model is: loss, perplexity and token accuracy on rows that are not trained on, measures of its answers, and how sure they are.

pub mod bleu;
pub mod chrf;
pub mod classify;
mod compare;
pub mod consistency;
mod examine;
pub mod ifeval;
mod item;
mod measure;
pub mod multiple_choice;
pub mod porter;
pub mod rouge;
pub mod stats;
mod suite;
pub mod text;

pub use compare::{Comparison, Difference, RESAMPLES, SideBySide, SuiteComparison, Verdict};
pub use examine::{Examiner, ItemResult, Prepared, SLOTS, SuiteResult};
pub use item::{Item, encode_pair};
pub use measure::{Measure, Needs};
pub use stats::Estimate;
pub use suite::{Suite, SuiteFile};

use std::ops::AddAssign;

use crate::data::{Example, Examples, IGNORE, micro_batches};
use crate::gpu::{Plan, PlanBuilder, Scalars, Storage};
use crate::model::{Model, Pass, Purpose};
use crate::{Error, Result};

/// Examples that are packed together: what bounds the memory that they take here.
const WINDOW: usize = 256;

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

impl AddAssign for EvalMetrics {
    fn add_assign(&mut self, other: Self) {
        self.loss_sum += other.loss_sum;
        self.correct += other.correct;
        self.targets += other.targets;
        self.rows += other.rows;
    }
}

/// How likely a model finds a continuation of a context, as lm-evaluation-harness's `loglikelihood` has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogLikelihood {
    /// Sum of log p over the continuation's tokens, each after the context and the tokens before it.
    pub log_likelihood: f64,
    /// Whether each of them is the likeliest token, so that greedy decoding would write the continuation.
    pub greedy: bool,
}

/// Evaluates a model.
pub struct Evaluator {
    pass: Pass,
    plan: Plan,
}

impl Evaluator {
    /// In micro-batches of at most `capacity` tokens.
    ///
    /// # Errors
    /// [`Error::TooLarge`] or [`Error::Gpu`] when its buffers do not fit.
    pub async fn new(model: &Model, capacity: u32) -> Result<Self> {
        let gpu = model.gpu();
        let scope = gpu.scope("allocating for evaluation");
        let pass = Pass::new(model, (Purpose::Forward, Storage::F32), capacity, capacity)?;
        scope.finish().await?;
        let plan = plan(model, &pass).await?;
        Ok(Self { pass, plan })
    }

    /// Over these examples: the sum of what [`per_example`](Self::per_example) tells.
    ///
    /// # Errors
    /// [`Error::Config`] for an example longer than the capacity, [`Error::Data`] for a token that is not in the vocabulary,
    /// [`Error::Gpu`] when the device fails.
    pub async fn run<E: Examples + ?Sized>(&mut self, examples: &E) -> Result<EvalMetrics> {
        run(&self.pass, &self.plan, examples).await
    }

    /// Of each of these examples, in their order. No logits are kept but those of a chunk of rows.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn per_example<E: Examples + ?Sized>(&mut self, examples: &E) -> Result<Vec<EvalMetrics>> {
        let mut all = Vec::with_capacity(examples.count());
        each(&self.pass, &self.plan, examples, |metrics| all.push(metrics)).await?;
        Ok(all)
    }

    /// Of each pair of a context and its continuation, both as token ids, in their order.
    ///
    /// # Errors
    /// [`Error::Data`] for a pair that lacks either: a caller without a context gives the token that begins texts. Otherwise as
    /// [`run`](Self::run), the two together being the example.
    pub async fn log_likelihoods(&mut self, pairs: &[(Vec<u32>, Vec<u32>)]) -> Result<Vec<LogLikelihood>> {
        for (number, (context, continuation)) in pairs.iter().enumerate() {
            for (what, ids) in [("context", context), ("continuation", continuation)] {
                if ids.is_empty() {
                    return Err(Error::data(format!("pair {number}: the {what} is empty")));
                }
            }
        }
        let mut all = Vec::with_capacity(pairs.len());
        let of = |metrics: EvalMetrics| LogLikelihood {
            log_likelihood: -metrics.loss_sum,
            greedy: metrics.correct == metrics.targets as f64,
        };
        each(&self.pass, &self.plan, &Pairs(pairs), |metrics| all.push(of(metrics))).await?;
        Ok(all)
    }
}

/// Contexts and continuations as examples of which the continuation is supervised.
struct Pairs<'a>(&'a [(Vec<u32>, Vec<u32>)]);

impl Examples for Pairs<'_> {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn tokens(&self, number: usize) -> usize {
        let (context, continuation) = &self.0[number];
        context.len() + continuation.len()
    }

    fn example(&self, number: usize) -> Result<Example> {
        let (context, continuation) = &self.0[number];
        let ignored = context.iter().map(|_| IGNORE);
        Ok(Example {
            ids: [&context[..], continuation].concat(),
            labels: ignored.chain(continuation.iter().map(|&id| id as i32)).collect(),
        })
    }
}

/// The plan of an evaluation over these buffers.
pub(crate) async fn plan(model: &Model, pass: &Pass) -> Result<Plan> {
    let mut plan = PlanBuilder::new(model.gpu(), "evaluate");
    pass.record_forward(&mut plan, model, false);
    pass.record_loss(&mut plan, model, None, None);
    plan.finish().await
}

/// Evaluate with a plan made by [`plan`].
pub(crate) async fn run<E: Examples + ?Sized>(pass: &Pass, plan: &Plan, examples: &E) -> Result<EvalMetrics> {
    let mut total = EvalMetrics::default();
    each(pass, plan, examples, |metrics| total += metrics).await?;
    Ok(total)
}

/// Tell what each example comes to, in their order: losses and predictions of targets are read back, and summed here in f64.
async fn each<E: Examples + ?Sized>(
    pass: &Pass,
    plan: &Plan,
    examples: &E,
    mut tell: impl FnMut(EvalMetrics),
) -> Result<()> {
    let rows: Vec<u32> = (0..examples.count() as u32).collect();
    for window in rows.chunks(WINDOW) {
        let one = EvalMetrics {
            rows: 1,
            ..EvalMetrics::default()
        };
        let mut all = vec![one; window.len()];
        for batch in micro_batches(examples, window, pass.capacity as usize)? {
            if batch.targets.is_empty() {
                continue;
            }
            let counts = pass.upload(&batch).await?;
            plan.run_paced(&counts, &Scalars::default()).await?;
            let [losses, correct] = pass.results(batch.targets.len() as u32);
            let losses = pass.gpu().read(&losses).await?;
            let correct = pass.gpu().read(&correct).await?;
            for ((&row, loss), correct) in batch.target_rows.iter().zip(losses).zip(correct) {
                let example = &mut all[(batch.example[row as usize] - window[0]) as usize];
                example.loss_sum += f64::from(loss);
                example.correct += f64::from(correct);
                example.targets += 1;
            }
        }
        all.into_iter().for_each(&mut tell);
    }
    Ok(())
}
