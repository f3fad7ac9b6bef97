//! The LM head over supervised rows only: logits exist for one chunk of rows at a time.

use super::activations::{Activations, logit_rows};
use super::{Model, Weight};
use crate::gpu::{Of, PlanBuilder, Rows, Tensor};
use crate::ops::embedding::{chunk_rows, chunks};
use crate::ops::matmul::{Layout, Matmul, Matrix, Output};
use crate::ops::{cross_entropy, gather, loss_sum, rmsnorm, rmsnorm::Place};

impl Model {
    /// The head's weight: its own, or the embedding.
    pub(super) fn head_weight(&self) -> &Weight {
        self.head.as_ref().unwrap_or(&self.embedding)
    }

    /// `logits = x·Wᵀ / s`, `s` being `logits_scaling`, for rows of `x [*, C]` from row `first` on; rows of `logits` are the vocabulary rounded up to 4.
    pub(super) fn record_logits(
        &self,
        plan: &mut PlanBuilder,
        rows: Rows,
        first: u32,
        most: u32,
        x: &Tensor,
        logits: &Tensor,
    ) {
        let (width, stride) = (self.config.hidden_size as u32, self.logit_stride());
        let a = Matrix {
            offset: first * width,
            ..Matrix::new(x, width)
        };
        for (start, count, weight) in self.head_chunks(plan) {
            let operands = (
                a,
                Matrix::new(&weight, width),
                Matrix::new(logits, stride).column(start),
            );
            Matmul {
                alpha: self.logit_factor(),
                ..Matmul::new(Layout::Nt, operands, (0, count, width), (rows, most), Output::Write)
            }
            .record(plan);
        }
    }

    /// What `x·Wᵀ` is multiplied by.
    fn logit_factor(&self) -> f32 {
        (1.0 / self.config.logits_scaling) as f32
    }

    /// Numbers from one row of logits to the next.
    pub(super) fn logit_stride(&self) -> u32 {
        (self.config.vocab_size as u32).next_multiple_of(4)
    }

    fn head_chunks(&self, plan: &PlanBuilder) -> Vec<(u32, u32, Tensor)> {
        let weight = self.head_weight();
        let width = weight.spec.columns;
        chunks(
            weight.spec.rows(),
            chunk_rows(plan.gpu().max_binding(), width, weight.tensor.storage()),
        )
        .map(|(first, count)| {
            let [start, len] = [first, count].map(|n| u64::from(n) * u64::from(width));
            (first, count, weight.tensor.slice(start, len))
        })
        .collect()
    }

    /// From the last residual stream to the loss of each target, added to `metrics` where they are given; where `gradient` is given
    /// also back: the gradient of `head_normed` is written, that of the head added.
    pub(super) fn record_head(
        &self,
        plan: &mut PlanBuilder,
        a: &Activations<Tensor>,
        stream: &Tensor,
        capacity: u32,
        metrics: Option<&Tensor>,
        gradient: Option<&dyn Fn(usize) -> Option<Tensor>>,
    ) {
        let (width, stride) = (self.config.hidden_size as u32, self.logit_stride());
        let vocabulary = self.config.vocab_size as u32;
        let place = Place::rows(width);
        let targets = Rows::of(Of::Targets);
        gather::gather(plan, targets, &a.target_row, 0, (stream, place), (&a.head_in, place));
        let eps = self.config.rms_norm_eps as f32;
        let normed = (&a.head_normed, place);
        rmsnorm::forward(
            plan,
            targets,
            (&a.head_in, place),
            &self.norm.tensor,
            eps,
            normed,
            &a.head_rstd,
        );

        let weight = self.head_weight();
        let d_weight = gradient.and_then(|gradient| gradient(weight.slot?));
        let most = logit_rows(capacity, vocabulary, plan.gpu().max_binding());
        for (first, count) in chunks(capacity, most) {
            let rows = targets.chunk(first, count);
            self.record_logits(plan, rows, first, count, &a.head_normed, &a.logits);
            let (logits, results) = ((&a.logits, vocabulary, stride), (&a.loss, &a.correct));
            cross_entropy::apply(plan, rows, first, &a.target, logits, results, gradient.is_some());
            let (true, Some(backward)) = (gradient.is_some(), &a.backward) else {
                continue;
            };
            let at = |tensor| Matrix {
                offset: first * width,
                ..Matrix::new(tensor, width)
            };
            for (start, part, head) in self.head_chunks(plan) {
                let d_logits = Matrix::new(&a.logits, stride).column(start);
                let output = if start == 0 { Output::Write } else { Output::Accumulate };
                let (b, c) = (Matrix::new(&head, width), at(&backward.head_normed));
                Matmul {
                    alpha: self.logit_factor(),
                    ..Matmul::new(Layout::Nn, (d_logits, b, c), (0, width, part), (rows, count), output)
                }
                .record(plan);
                if let Some(d_weight) = &d_weight {
                    let [from, len] = [start, part].map(|n| u64::from(n) * u64::from(width));
                    let d_part = d_weight.slice(from, len);
                    let (b, c) = (at(&a.head_normed), Matrix::new(&d_part, width));
                    Matmul {
                        alpha: self.logit_factor(),
                        ..Matmul::new(
                            Layout::Tn,
                            (d_logits, b, c),
                            (part, width, 0),
                            (rows, count),
                            Output::Accumulate,
                        )
                    }
                    .record(plan);
                }
            }
        }
        if let Some(metrics) = metrics {
            loss_sum::apply(plan, targets, &a.loss, &a.correct, metrics);
        }
    }
}
