//! A linear layer, `y = x·Wᵀ (+ bias) (+ s·(dropout(x)·Aᵀ)·Bᵀ)`, forward and backward.

use super::weights::Weight;
use crate::gpu::{PlanBuilder, Rows, Tensor};
use crate::ops::embedding::{chunk_rows, chunks};
use crate::ops::matmul::{Layout, Matmul, Matrix, Output};
use crate::ops::{column_sum, dropout, rmsnorm::Place};

/// A linear layer's weights, and the adapter on it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`; several modules that read the same input lie one below the other.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Weight>,
    /// Low-rank matrices beside some of the modules.
    pub lora: Option<Lora>,
}

/// The adapter of one linear layer: an `A` for each adapted module one below the other, a `B` each.
#[derive(Debug, Clone)]
pub struct Lora {
    /// `[modules · rank, in]`.
    pub a: Weight,
    /// One for each adapted module.
    pub modules: Vec<LoraModule>,
    /// Rank, rounded up to a multiple of 4; the rows and columns added are zero and stay so.
    pub rank: u32,
    /// `alpha / r`.
    pub scale: f32,
    /// Share of the input dropped in training.
    pub dropout: f32,
}

/// One adapted module of a linear layer.
#[derive(Debug, Clone)]
pub struct LoraModule {
    /// `[out of the module, rank]`.
    pub b: Weight,
    /// The module's first output.
    pub first: u32,
    /// What keys its dropout.
    pub site: u32,
}

/// What the passes share: the rows, the capacity, gradients by slot, scratch.
pub struct Context<'a> {
    /// The micro-batch's tokens.
    pub tokens: Rows,
    /// The most there can be.
    pub capacity: u32,
    /// Each token's position and example, for dropout.
    pub keys: (&'a Tensor, &'a Tensor),
    /// Whether dropout is on.
    pub training: bool,
    /// The gradient of a trained weight, by slot.
    pub gradient: &'a dyn Fn(usize) -> Option<Tensor>,
    /// `[R, widest input]`, twice where there is dropout.
    pub dropped: Option<&'a [Tensor; 2]>,
    /// Scratch of [`column_sum`].
    pub sums: Option<&'a Tensor>,
    /// `[R, most modules · rank]`: the gradient of `x·Aᵀ`.
    pub d_low: Option<&'a Tensor>,
}

impl Lora {
    /// `x·Aᵀ` is `[R, this]`.
    pub fn low_width(&self) -> u32 {
        self.rank * self.modules.len() as u32
    }

    fn drops(&self, context: &Context) -> bool {
        context.training && self.dropout > 0.0
    }

    /// The input as module `module` sees it.
    fn dropped(
        &self,
        plan: &mut PlanBuilder,
        context: &Context,
        x: &Tensor,
        width: u32,
        module: &LoraModule,
    ) -> Tensor {
        let [dropped, _] = context.dropped.expect("allocated where there is dropout");
        let at = (module.site, self.dropout);
        dropout::apply(plan, context.tokens, context.keys, at, x, dropped, width, false);
        dropped.clone()
    }
}

impl Linear {
    /// Numbers in a row of the input.
    pub fn inputs(&self) -> u32 {
        self.weight.spec.columns
    }

    /// Numbers in a row of the output.
    pub fn outputs(&self) -> u32 {
        self.weight.spec.rows()
    }

    /// Rows of the weight that fit a binding.
    fn chunks(&self, plan: &PlanBuilder) -> Vec<(u32, u32, Tensor)> {
        let columns = self.inputs();
        let storage = self.weight.tensor.storage();
        chunks(self.outputs(), chunk_rows(plan.gpu().max_binding(), columns, storage))
            .map(|(first, count)| {
                let [start, len] = [first, count].map(|rows| u64::from(rows) * u64::from(columns));
                (first, count, self.weight.tensor.slice(start, len))
            })
            .collect()
    }

    /// Writes `y [R, out]`, plus `residual` where given; `low [R, modules·rank]` keeps `x·Aᵀ` for the backward pass.
    pub fn forward(
        &self,
        plan: &mut PlanBuilder,
        context: &Context,
        x: &Tensor,
        y: &Tensor,
        residual: Option<&Tensor>,
        low: Option<&Tensor>,
    ) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = (context.tokens, context.capacity);
        let output = match (&self.bias, residual) {
            (None, None) => Output::Write,
            (Some(_), None) => Output::Bias,
            (None, Some(_)) => Output::Add,
            (Some(_), Some(_)) => Output::BiasAdd,
        };
        for (first, count, weight) in self.chunks(plan) {
            let c = Matrix::new(y, outputs).column(first);
            let bias = self
                .bias
                .as_ref()
                .map(|b| b.tensor.slice(u64::from(first), u64::from(count)));
            Matmul {
                bias: bias.as_ref(),
                add: residual,
                ..Matmul::new(
                    Layout::Nt,
                    (Matrix::new(x, inputs), Matrix::new(&weight, inputs), c),
                    (0, count, inputs),
                    rows,
                    output,
                )
            }
            .record(plan);
        }
        let (Some(lora), Some(low)) = (&self.lora, low) else {
            return;
        };
        let (width, rank) = (lora.low_width(), lora.rank);
        if lora.drops(context) {
            for (j, module) in lora.modules.iter().enumerate() {
                let dropped = lora.dropped(plan, context, x, inputs, module);
                let a = Matrix {
                    offset: j as u32 * rank * inputs,
                    ..Matrix::new(&lora.a.tensor, inputs)
                };
                let c = Matrix::new(low, width).column(j as u32 * rank);
                let operands = (Matrix::new(&dropped, inputs), a, c);
                Matmul::new(Layout::Nt, operands, (0, rank, inputs), rows, Output::Write).record(plan);
            }
        } else {
            let a = Matrix::new(&lora.a.tensor, inputs);
            let operands = (Matrix::new(x, inputs), a, Matrix::new(low, width));
            Matmul::new(Layout::Nt, operands, (0, width, inputs), rows, Output::Write).record(plan);
        }
        for (j, module) in lora.modules.iter().enumerate() {
            let a = Matrix::new(low, width).column(j as u32 * rank);
            let b = Matrix::new(&module.b.tensor, rank);
            let c = Matrix::new(y, outputs).column(module.first);
            let sizes = (0, module.b.spec.rows(), rank);
            let product = Matmul::new(Layout::Nt, (a, b, c), sizes, rows, Output::Accumulate);
            Matmul {
                alpha: lora.scale,
                ..product
            }
            .record(plan);
        }
    }

    /// Adds to the gradients of what is trained, from the input `x` and `dy [R, out]`; writes `dx [R, in]` where asked for.
    pub fn backward(
        &self,
        plan: &mut PlanBuilder,
        context: &Context,
        x: &Tensor,
        dy: &Tensor,
        low: Option<&Tensor>,
        dx: Option<&Tensor>,
    ) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let batch = (context.tokens, context.capacity);
        let gradient = |weight: &Weight| weight.slot.and_then(|slot| (context.gradient)(slot));
        let dys = Matrix::new(dy, outputs);
        let d_weight = gradient(&self.weight);
        for (first, count, weight) in self.chunks(plan) {
            let dys = dys.column(first);
            if let Some(d_weight) = &d_weight {
                let [start, len] = [first, count].map(|rows| u64::from(rows) * u64::from(inputs));
                let part = d_weight.slice(start, len);
                let (b, c) = (Matrix::new(x, inputs), Matrix::new(&part, inputs));
                Matmul::new(Layout::Tn, (dys, b, c), (count, inputs, 0), batch, Output::Accumulate).record(plan);
            }
            if let Some(dx) = dx {
                let output = if first == 0 { Output::Write } else { Output::Accumulate };
                let (b, c) = (Matrix::new(&weight, inputs), Matrix::new(dx, inputs));
                Matmul::new(Layout::Nn, (dys, b, c), (0, inputs, count), batch, output).record(plan);
            }
        }
        if let Some(d_bias) = self.bias.as_ref().and_then(&gradient) {
            let sums = context.sums.expect("allocated where biases are trained");
            column_sum::plain(
                plan,
                context.tokens,
                (dy, Place::rows(outputs)),
                sums,
                &d_bias,
                context.capacity,
            );
        }
        let (Some(lora), Some(low), Some(d_low)) = (&self.lora, low, context.d_low) else {
            return;
        };
        let (width, rank) = (lora.low_width(), lora.rank);
        for (j, module) in lora.modules.iter().enumerate() {
            let dys = dys.column(module.first);
            let rows = module.b.spec.rows();
            let (b, c) = (
                Matrix::new(&module.b.tensor, rank),
                Matrix::new(d_low, width).column(j as u32 * rank),
            );
            let product = Matmul::new(Layout::Nn, (dys, b, c), (0, rank, rows), batch, Output::Write);
            Matmul {
                alpha: lora.scale,
                ..product
            }
            .record(plan);
            if let Some(d_b) = gradient(&module.b) {
                let b = Matrix::new(low, width).column(j as u32 * rank);
                let product = Matmul::new(
                    Layout::Tn,
                    (dys, b, Matrix::new(&d_b, rank)),
                    (rows, rank, 0),
                    batch,
                    Output::Accumulate,
                );
                Matmul {
                    alpha: lora.scale,
                    ..product
                }
                .record(plan);
            }
        }
        let d_a = gradient(&lora.a);
        if !lora.drops(context) {
            let d_lows = Matrix::new(d_low, width);
            if let Some(d_a) = &d_a {
                let (b, c) = (Matrix::new(x, inputs), Matrix::new(d_a, inputs));
                Matmul::new(
                    Layout::Tn,
                    (d_lows, b, c),
                    (width, inputs, 0),
                    batch,
                    Output::Accumulate,
                )
                .record(plan);
            }
            if let Some(dx) = dx {
                let (b, c) = (Matrix::new(&lora.a.tensor, inputs), Matrix::new(dx, inputs));
                Matmul::new(
                    Layout::Nn,
                    (d_lows, b, c),
                    (0, inputs, width),
                    batch,
                    Output::Accumulate,
                )
                .record(plan);
            }
            return;
        }
        for (j, module) in lora.modules.iter().enumerate() {
            let d_lows = Matrix::new(d_low, width).column(j as u32 * rank);
            let offset = j as u32 * rank * inputs;
            if let Some(d_a) = &d_a {
                let dropped = lora.dropped(plan, context, x, inputs, module);
                let c = Matrix {
                    offset,
                    ..Matrix::new(d_a, inputs)
                };
                let b = Matrix::new(&dropped, inputs);
                Matmul::new(Layout::Tn, (d_lows, b, c), (rank, inputs, 0), batch, Output::Accumulate).record(plan);
            }
            if let Some(dx) = dx {
                let [_, d_dropped] = context.dropped.expect("allocated where there is dropout");
                let a = Matrix {
                    offset,
                    ..Matrix::new(&lora.a.tensor, inputs)
                };
                let c = Matrix::new(d_dropped, inputs);
                Matmul::new(Layout::Nn, (d_lows, a, c), (0, inputs, rank), batch, Output::Write).record(plan);
                let at = (module.site, lora.dropout);
                dropout::apply(plan, context.tokens, context.keys, at, d_dropped, dx, inputs, true);
            }
        }
    }
}
