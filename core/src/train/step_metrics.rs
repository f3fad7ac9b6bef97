//! What is told of a step.

/// What one optimizer step did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepMetrics {
    /// The step, from 1.
    pub step: u64,
    /// Sum of −log p over its targets, before the update.
    pub loss_sum: f64,
    /// Targets that were the model's likeliest token.
    pub correct: f64,
    /// Supervised targets in the step.
    pub targets: u64,
    /// Tokens in the step.
    pub tokens: u64,
    /// Token rows that were dispatched for them, see [`Plan::token_rows`](crate::gpu::Plan::token_rows).
    pub token_rows: u64,
    /// Norm of all gradients, before clipping.
    pub grad_norm: f64,
    /// The learning rate that was used.
    pub learning_rate: f64,
    /// Operations of the step as [`Plan::work`](crate::gpu::Plan::work) estimates them: over the seconds it took, they are what
    /// [`Gpu::set_speed`](crate::gpu::Gpu::set_speed) wants to know.
    pub work: u64,
}

impl StepMetrics {
    /// Mean loss of a target.
    pub fn loss(&self) -> f64 {
        self.loss_sum / self.targets as f64
    }
}
