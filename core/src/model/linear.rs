//! A linear layer, `y = f·(x·Wᵀ (+ s·(dropout(x)·Aᵀ)·Bᵀ)) (+ bias)`, forward and backward.

use super::weights::Weight;
use crate::gpu::{PlanBuilder, Rows, Tensor};
use crate::ops::embedding::{chunk_rows, chunks};
use crate::ops::matmul::{Layout, Low, Matmul, Matrix, Output, Part};
use crate::ops::{column_sum, dropout, rmsnorm::Place, swiglu};

/// A linear layer's weights, and the adapter on it.
#[derive(Debug, Clone)]
pub struct Linear {
    /// `[out, in]`; several modules that read the same input lie one below the other.
    pub weight: Weight,
    /// `[out]`.
    pub bias: Option<Weight>,
    /// Low-rank matrices beside some of the modules.
    pub lora: Option<Lora>,
    /// What the products are multiplied by, `f`; the bias is not.
    pub factor: f32,
}

/// The adapter of one linear layer: an `A` and a `B` for each adapted module, each one below the other.
#[derive(Debug, Clone)]
pub struct Lora {
    /// `[modules · rank, in]`.
    pub a: Weight,
    /// `[outputs of the modules, rank]`.
    pub b: Weight,
    /// What is particular to each adapted module.
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
    /// Where its outputs are, and its rows of `b`.
    pub part: Part,
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
    /// `[R, most modules · rank]`: the gradient of `x·Aᵀ` times the scale, without the layer's factor.
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

    fn parts(&self) -> Vec<Part> {
        self.modules.iter().map(|module| module.part).collect()
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

    /// Writes `low = s·dropout(x)·Aᵀ`.
    fn record_low(&self, plan: &mut PlanBuilder, context: &Context, x: &Tensor, low: &Tensor) {
        let (inputs, width, rank) = (self.a.spec.columns, self.low_width(), self.rank);
        let record = |plan: &mut PlanBuilder, x: &Tensor, first: u32, n: u32| {
            let a = Matrix {
                offset: first * inputs,
                ..Matrix::new(&self.a.tensor, inputs)
            };
            let operands = (Matrix::new(x, inputs), a, Matrix::new(low, width).column(first));
            let rows = (context.tokens, context.capacity);
            let product = Matmul::new(Layout::Nt, operands, (0, n, inputs), rows, Output::Write);
            Matmul {
                alpha: self.scale,
                ..product
            }
            .record(plan);
        };
        if !self.drops(context) {
            return record(plan, x, 0, width);
        }
        for (j, module) in self.modules.iter().enumerate() {
            let dropped = self.dropped(plan, context, x, inputs, module);
            record(plan, &dropped, j as u32 * rank, rank);
        }
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

    /// A product of the factor.
    fn product<'a>(
        &self,
        layout: Layout,
        operands: (Matrix<'a>, Matrix<'a>, Matrix<'a>),
        sizes: (u32, u32, u32),
        rows: (Rows, u32),
        output: Output,
    ) -> Matmul<'a> {
        Matmul {
            alpha: self.factor,
            ..Matmul::new(layout, operands, sizes, rows, output)
        }
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

    /// Writes `y [R, out]`, plus `residual`, which has no factor, where given; `low [R, modules·rank]` keeps `s·x·Aᵀ` for the backward pass. Where
    /// `hidden [R, out / 2]` is given, it becomes `silu(gate)·up` of the gates and ups that `y` is.
    pub fn forward(
        &self,
        plan: &mut PlanBuilder,
        context: &Context,
        x: &Tensor,
        (y, hidden): (&Tensor, Option<&Tensor>),
        residual: Option<&Tensor>,
        low: Option<&Tensor>,
    ) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = (context.tokens, context.capacity);
        let adapter = self.lora.as_ref().zip(low);
        if let Some((lora, low)) = adapter {
            lora.record_low(plan, context, x, low);
        }
        let (fuses, chunks) = (Matmul::fuses(plan.gpu().family()), self.chunks(plan));
        let paired = hidden.filter(|_| fuses && self.bias.is_none() && chunks.len() == 1);
        let output = match (&self.bias, residual) {
            _ if paired.is_some() => Output::Swiglu,
            (None, None) => Output::Write,
            (Some(_), None) => Output::Bias,
            (None, Some(_)) => Output::Add,
            (Some(_), Some(_)) => Output::BiasAdd,
        };
        for (first, count, weight) in &chunks {
            let c = Matrix::new(y, outputs).column(*first);
            let bias = self
                .bias
                .as_ref()
                .map(|b| b.tensor.slice(u64::from(*first), u64::from(*count)));
            let parts = match adapter {
                Some((lora, _)) => within(&lora.parts(), *first, *count),
                None => Vec::new(),
            };
            let low = adapter.filter(|_| !parts.is_empty()).map(|(lora, low)| Low {
                a: Matrix::new(low, lora.low_width()),
                b: Matrix::new(&lora.b.tensor, lora.rank),
                k: lora.rank,
                parts: &parts,
            });
            Matmul {
                bias: bias.as_ref(),
                add: residual,
                hidden: paired,
                low: low.filter(|_| fuses),
                ..self.product(
                    Layout::Nt,
                    (Matrix::new(x, inputs), Matrix::new(weight, inputs), c),
                    (0, *count, inputs),
                    rows,
                    output,
                )
            }
            .record(plan);
        }
        if let (Some((lora, low)), false) = (adapter, fuses) {
            for (j, Part { first, len, start }) in lora.parts().into_iter().enumerate() {
                let a = Matrix::new(low, lora.low_width()).column(j as u32 * lora.rank);
                let b = Matrix {
                    offset: start * lora.rank,
                    ..Matrix::new(&lora.b.tensor, lora.rank)
                };
                let operands = (a, b, Matrix::new(y, outputs).column(first));
                self.product(Layout::Nt, operands, (0, len, lora.rank), rows, Output::Accumulate)
                    .record(plan);
            }
        }
        if let (Some(hidden), None) = (hidden, paired) {
            swiglu::forward(plan, context.tokens, y, outputs / 2, hidden);
        }
    }

    /// Adds to the gradients of what is trained, from the input `x` and `dy [R, out]`; writes `dx` where asked for.
    pub fn backward(
        &self,
        plan: &mut PlanBuilder,
        context: &Context,
        x: &Tensor,
        dy: &Tensor,
        low: Option<&Tensor>,
        dx: Option<Inputs>,
    ) {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let batch = (context.tokens, context.capacity);
        let gradient = |weight: &Weight| weight.slot.and_then(|slot| (context.gradient)(slot));
        let dys = Matrix::new(dy, outputs);
        let chunks = self.chunks(plan);
        if let Some(d_weight) = gradient(&self.weight) {
            for (first, count, _) in &chunks {
                let [start, len] = [*first, *count].map(|rows| u64::from(rows) * u64::from(inputs));
                let part = d_weight.slice(start, len);
                let operands = (dys.column(*first), Matrix::new(x, inputs), Matrix::new(&part, inputs));
                self.product(Layout::Tn, operands, (*count, inputs, 0), batch, Output::Accumulate)
                    .record(plan);
            }
        }
        if let Some(d_bias) = self.bias.as_ref().and_then(&gradient) {
            let sums = context.sums.expect("allocated where biases are trained");
            let place = (dy, Place::rows(outputs));
            column_sum::plain(plan, context.tokens, place, sums, &d_bias, context.capacity);
        }
        let adapter = match (&self.lora, low, context.d_low) {
            (Some(lora), Some(low), Some(d_low)) => Some((lora, low, d_low)),
            _ => None,
        };
        if let Some((lora, low, d_low)) = adapter {
            let (width, rank) = (lora.low_width(), lora.rank);
            let (parts, rows) = (&lora.parts()[..], lora.b.spec.rows());
            let operands = (dys, Matrix::new(&lora.b.tensor, rank), Matrix::new(d_low, width));
            Matmul {
                alpha: lora.scale,
                parts,
                ..Matmul::new(Layout::Nn, operands, (0, rank, 0), batch, Output::Write)
            }
            .record(plan);
            if let Some(d_b) = gradient(&lora.b) {
                let operands = (dys, Matrix::new(low, width), Matrix::new(&d_b, rank));
                Matmul {
                    parts,
                    ..self.product(Layout::Tn, operands, (rows, rank, 0), batch, Output::Accumulate)
                }
                .record(plan);
            }
            if let Some(d_a) = gradient(&lora.a) {
                let record = |plan: &mut PlanBuilder, x: &Tensor, first: u32, m: u32| {
                    let c = Matrix {
                        offset: first * inputs,
                        ..Matrix::new(&d_a, inputs)
                    };
                    let operands = (Matrix::new(d_low, width).column(first), Matrix::new(x, inputs), c);
                    self.product(Layout::Tn, operands, (m, inputs, 0), batch, Output::Accumulate)
                        .record(plan);
                };
                if lora.drops(context) {
                    for (j, module) in lora.modules.iter().enumerate() {
                        let dropped = lora.dropped(plan, context, x, inputs, module);
                        record(plan, &dropped, j as u32 * rank, rank);
                    }
                } else {
                    record(plan, x, 0, width);
                }
            }
        }
        let Some(dx) = dx else {
            return;
        };
        // What reaches the input through `A`, all at once where no module drops its own numbers.
        let through_a = adapter
            .filter(|(lora, ..)| !lora.drops(context))
            .map(|(lora, _, d_low)| Low {
                a: Matrix::new(d_low, lora.low_width()),
                b: Matrix::new(&lora.a.tensor, inputs),
                k: lora.low_width(),
                parts: &[],
            });
        let fuses = Matmul::fuses(plan.gpu().family());
        let drops = adapter.is_some() && through_a.is_none();
        let whole = fuses && !drops && chunks.len() == 1 && Matmul::is_one_chain(Layout::Nn, outputs);
        let swiglu = dx.swiglu.filter(|_| whole);
        let (target, stride) = match swiglu {
            Some((_, d_gate_up)) => (d_gate_up, 2 * inputs),
            None => (dx.plain, inputs),
        };
        for (first, count, weight) in &chunks {
            let operands = (
                dys.column(*first),
                Matrix::new(weight, inputs),
                Matrix::new(target, stride),
            );
            let output = match (swiglu, *first) {
                (Some(_), _) => Output::SwigluGradient,
                (None, 0) => Output::Write,
                (None, _) => Output::Accumulate,
            };
            Matmul {
                add: swiglu.map(|(gate_up, _)| gate_up),
                low: through_a.filter(|_| fuses && *first == 0),
                ..self.product(Layout::Nn, operands, (0, inputs, *count), batch, output)
            }
            .record(plan);
        }
        if let (Some(low), false) = (through_a, fuses) {
            let operands = (low.a, low.b, Matrix::new(dx.plain, inputs));
            self.product(Layout::Nn, operands, (0, inputs, low.k), batch, Output::Accumulate)
                .record(plan);
        }
        if let (Some((lora, _, d_low)), true) = (adapter, drops) {
            let [_, d_dropped] = context.dropped.expect("allocated where there is dropout");
            for (j, module) in lora.modules.iter().enumerate() {
                let first = j as u32 * lora.rank;
                let a = Matrix {
                    offset: first * inputs,
                    ..Matrix::new(&lora.a.tensor, inputs)
                };
                let d_lows = Matrix::new(d_low, lora.low_width()).column(first);
                let operands = (d_lows, a, Matrix::new(d_dropped, inputs));
                self.product(Layout::Nn, operands, (0, inputs, lora.rank), batch, Output::Write)
                    .record(plan);
                let at = (module.site, lora.dropout);
                dropout::apply(
                    plan,
                    context.tokens,
                    context.keys,
                    at,
                    d_dropped,
                    dx.plain,
                    inputs,
                    true,
                );
            }
        }
        if let (Some((gate_up, d_gate_up)), None) = (dx.swiglu, swiglu) {
            swiglu::backward(plan, context.tokens, gate_up, dx.plain, inputs, d_gate_up);
        }
    }
}

/// Where the gradient of a linear layer's input goes.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// `[R, in]`. Not written where what follows is done at once.
    pub plain: &'a Tensor,
    /// Where the input is `silu(gate)·up`: gates and ups `[R, 2·in]`, and where their gradient is written.
    pub swiglu: Option<(&'a Tensor, &'a Tensor)>,
}

impl<'a> Inputs<'a> {
    /// The gradient alone.
    pub fn plain(plain: &'a Tensor) -> Self {
        Self { plain, swiglu: None }
    }
}

/// What of these parts lies in `count` outputs from `first` on, as parts of those.
fn within(parts: &[Part], first: u32, count: u32) -> Vec<Part> {
    let cut = |part: &Part| {
        let start = part.first.max(first);
        let end = (part.first + part.len).min(first + count);
        Part {
            first: start.saturating_sub(first),
            len: end.saturating_sub(start),
            start: part.start + (start - part.first),
        }
    };
    parts.iter().map(cut).collect()
}
