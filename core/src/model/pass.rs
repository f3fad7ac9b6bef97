//! The forward and the backward pass, as lists of dispatches over one set of buffers.

use super::activations::{Activations, BackwardActivations, BlockActivations, Purpose};
use super::linear::{Context, Inputs};
use super::{Block, Model};
use crate::gpu::{Gpu, Of, PlanBuilder, Rows, Storage, Tensor};
use crate::ops::attention::{self, Saved, Shape};
use crate::ops::{column_sum, embedding, gather, rmsnorm, rmsnorm::Place, rope, swiglu};
use crate::{Error, Result};

/// The buffers of passes over micro-batches of at most `capacity` tokens, and the plans' building blocks.
pub(crate) struct Pass {
    pub(super) gpu: Gpu,
    pub(super) activations: Activations<Tensor>,
    pub capacity: u32,
    pub(super) positions: u32,
    pub(super) vocabulary: u32,
    recomputes: bool,
}

impl Pass {
    /// Allocate for a model, activations that are kept in this storage; no example may be longer than `positions`.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for a buffer that does not fit a binding.
    pub fn new(model: &Model, purpose: (Purpose, Storage), capacity: u32, positions: u32) -> Result<Self> {
        let gpu = &model.gpu;
        let needs = super::activations::Needs::of(model);
        let size = (capacity, positions);
        let limits = (gpu.max_binding(), gpu.family());
        let (_, (label, largest)) = super::activations::plan(&model.config, &needs, purpose, size, limits);
        if largest > gpu.max_binding() {
            return Err(Error::TooLarge {
                what: format!("{label} for micro-batches of {capacity} tokens"),
                need: largest,
                have: gpu.max_binding(),
                hint: "use smaller micro-batches (--micro-batch-tokens) or shorter rows (--max-length)".into(),
            });
        }
        let activations = Activations::allocate(gpu, model, purpose, capacity, positions);
        let frequencies = model.config.rope.inverse_frequencies(model.config.head_dim);
        gpu.write(
            &activations.rope,
            bytemuck::cast_slice(&rope::table(positions, &frequencies)),
        );
        let vocabulary = model.config.vocab_size as u32;
        Ok(Self {
            gpu: gpu.clone(),
            activations,
            capacity,
            positions,
            vocabulary,
            recomputes: purpose.0 == Purpose::Recomputing,
        })
    }

    /// Whether its backward pass computes activations once more.
    pub fn recomputes(&self) -> bool {
        self.recomputes
    }

    /// The device it is on.
    pub fn gpu(&self) -> &Gpu {
        &self.gpu
    }

    fn context<'a>(&'a self, training: bool, gradient: &'a dyn Fn(usize) -> Option<Tensor>) -> Context<'a> {
        let a = &self.activations;
        Context {
            tokens: Rows::of(Of::Tokens),
            capacity: self.capacity,
            keys: (&a.position, &a.example),
            training,
            gradient,
            dropped: a.dropped.as_ref(),
            sums: a.backward.as_ref().and_then(|b| b.sums.as_ref()),
            d_low: a.backward.as_ref().and_then(|b| b.low.as_ref()),
        }
    }

    fn block(&self, l: usize) -> &BlockActivations<Tensor> {
        &self.activations.block[l.min(self.activations.block.len() - 1)]
    }

    /// The residual stream into block `l`.
    pub(super) fn stream(&self, l: usize) -> &Tensor {
        let streams = &self.activations.stream;
        &streams[if streams.len() > 2 { l } else { l % 2 }]
    }

    /// From tokens to the last residual stream.
    pub fn record_forward(&self, plan: &mut PlanBuilder, model: &Model, training: bool) {
        self.record_embedding(plan, model);
        let none = |_| None;
        let context = self.context(training, &none);
        for l in 0..model.blocks.len() {
            self.record_attention_input(plan, model, l, &context);
            self.record_attention(plan, model, l, &context);
            self.record_after_attention(plan, model, l, &context);
        }
    }

    /// What the backward pass of block `l` reads, computed once more from the block's input.
    fn record_again(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        self.record_attention_input(plan, model, l, context);
        self.record_attention(plan, model, l, context);
        self.record_gate_up(plan, model, l, context);
    }

    fn record_attention(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        let kept = self.block(l);
        let (shape, v) = self.attention_shape(model, kept);
        let operands = (&kept.qkv, &kept.qkv, v);
        let (range, results) = (&self.activations.keys, (&kept.attended, &kept.lse));
        attention::forward(plan, context.tokens, &shape, operands, range, results, self.capacity);
    }

    /// Begin a plan over these buffers: lends it its scratch and looks up the tokens.
    pub(super) fn record_embedding(&self, plan: &mut PlanBuilder, model: &Model) {
        if let Some(scratch) = &self.activations.scratch {
            plan.lend(scratch);
        }
        let tokens = Rows::of(Of::Tokens);
        embedding::forward(
            plan,
            tokens,
            &self.activations.token,
            &model.embedding.tensor,
            embedding_rows(model),
            self.stream(0),
        );
    }

    /// Norm, queries, keys and values, their norms and rotation.
    pub(super) fn record_attention_input(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        let (a, kept, block, config) = (&self.activations, self.block(l), &model.blocks[l], &model.config);
        let (tokens, eps) = (context.tokens, config.rms_norm_eps as f32);
        let place = Place::rows(config.hidden_size as u32);
        let normed = (&a.normed, place);
        rmsnorm::forward(
            plan,
            tokens,
            (self.stream(l), place),
            &block.attention_norm.tensor,
            eps,
            normed,
            &kept.attention_rstd,
        );
        let raw = kept.qkv_raw.as_ref().unwrap_or(&kept.qkv);
        block
            .qkv
            .forward(plan, context, &a.normed, (raw, None), None, kept.low[0].as_ref());
        let places = head_places(model);
        if let (Some(norms), Some(rstds), Some(raw)) = (&block.qk_norm, &kept.qk_rstd, &kept.qkv_raw) {
            for i in 0..2 {
                let (from, to) = ((raw, places[i]), (&kept.qkv, places[i]));
                rmsnorm::forward(plan, tokens, from, &norms[i].tensor, eps, to, &rstds[i]);
            }
        }
        for place in places {
            rope::apply(plan, tokens, &a.position, &a.rope, (&kept.qkv, place), false);
        }
    }

    /// Output projection, residual, feed-forward layer, residual.
    pub(super) fn record_after_attention(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        self.record_gate_up(plan, model, l, context);
        self.record_down(plan, model, l, context);
    }

    /// Output projection, residual, norm, gate and up, and SwiGLU of them.
    fn record_gate_up(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        let (a, kept, block, config) = (&self.activations, self.block(l), &model.blocks[l], &model.config);
        let (tokens, eps) = (context.tokens, config.rms_norm_eps as f32);
        let place = Place::rows(config.hidden_size as u32);
        block.o.forward(
            plan,
            context,
            &kept.attended,
            (&kept.middle, None),
            Some(self.stream(l)),
            kept.low[1].as_ref(),
        );
        let normed = (&a.normed, place);
        rmsnorm::forward(
            plan,
            tokens,
            (&kept.middle, place),
            &block.mlp_norm.tensor,
            eps,
            normed,
            &kept.mlp_rstd,
        );
        let outputs = (&kept.gate_up, Some(&a.hidden));
        block
            .gate_up
            .forward(plan, context, &a.normed, outputs, None, kept.low[2].as_ref());
    }

    /// The feed-forward layer's output, residual.
    fn record_down(&self, plan: &mut PlanBuilder, model: &Model, l: usize, context: &Context) {
        let (a, kept, block) = (&self.activations, self.block(l), &model.blocks[l]);
        block.down.forward(
            plan,
            context,
            &a.hidden,
            (self.stream(l + 1), None),
            Some(&kept.middle),
            kept.low[3].as_ref(),
        );
    }

    /// How attention reads a block's queries, keys and values, and where the values are.
    pub(super) fn attention_shape<'a>(&self, model: &Model, kept: &'a BlockActivations<Tensor>) -> (Shape, &'a Tensor) {
        let [h, k, s] = [
            model.config.num_attention_heads,
            model.config.num_key_value_heads,
            model.config.head_dim,
        ];
        // Values are not normed: with raw queries and keys kept apart, they stay among the raw ones.
        (
            Shape {
                scale: model.config.attention_multiplier as f32,
                ..Shape::fused(h as u32, k as u32, s as u32)
            },
            kept.qkv_raw.as_ref().unwrap_or(&kept.qkv),
        )
    }

    /// The loss of each target, added to `metrics` where they are given, and where gradients are wanted their way back to the first
    /// block.
    pub fn record_loss(
        &self,
        plan: &mut PlanBuilder,
        model: &Model,
        metrics: Option<&Tensor>,
        gradient: Option<&dyn Fn(usize) -> Option<Tensor>>,
    ) {
        let last = self.stream(model.blocks.len());
        model.record_head(plan, &self.activations, last, self.capacity, metrics, gradient);
        let (Some(gradient), Some(d)) = (gradient, &self.activations.backward) else {
            return;
        };
        let (a, context) = (&self.activations, self.context(true, gradient));
        let place = Place::rows(model.config.hidden_size as u32);
        let targets = Rows::of(Of::Targets);
        if let Some(d_norm) = model.norm.slot.and_then(gradient) {
            let sums = d.sums.as_ref().expect("allocated where norms are trained");
            let (dy, x) = ((&d.head_normed, place), (&a.head_in, place));
            column_sum::rmsnorm_weight(plan, targets, dy, x, &a.head_rstd, sums, &d_norm, self.capacity);
        }
        // The gathered input is not needed any more, and becomes its own gradient's place.
        let operands = (&d.head_normed, &d.normed, place);
        rmsnorm::backward(
            plan,
            targets,
            (&a.head_in, place),
            &model.norm.tensor,
            &a.head_rstd,
            operands,
            false,
        );
        gather::gather(
            plan,
            context.tokens,
            &a.inverse,
            0,
            (&d.normed, place),
            (&d.stream, place),
        );
        // Below the first trained weight nothing is wanted.
        let trains_embedding = model.embedding.slot.is_some();
        for l in (0..model.blocks.len()).rev() {
            // What the last block computed is still there.
            if self.recomputes && l + 1 < model.blocks.len() {
                self.record_again(plan, model, l, &context);
            }
            self.record_block_backward(plan, model, l, &context, d, l > 0 || trains_embedding);
        }
        if let Some(d_table) = model.embedding.slot.and_then(gradient) {
            let distinct = Rows::of(Of::Distinct);
            let rows = embedding_rows(model);
            embedding::backward(plan, distinct, &a.distinct, &a.order, &d.stream, rows, &d_table);
        }
    }

    fn record_block_backward(
        &self,
        plan: &mut PlanBuilder,
        model: &Model,
        l: usize,
        context: &Context,
        d: &BackwardActivations<Tensor>,
        onward: bool,
    ) {
        let (a, kept, block, config) = (&self.activations, self.block(l), &model.blocks[l], &model.config);
        let (tokens, eps) = (context.tokens, config.rms_norm_eps as f32);
        let place = Place::rows(config.hidden_size as u32);
        let width = config.intermediate_size as u32;
        let norm_weight = |plan: &mut PlanBuilder, weight: &super::Weight, dy, x, rstd: &Tensor| {
            if let Some(d_norm) = weight.slot.and_then(context.gradient) {
                let sums = context.sums.expect("allocated where norms are trained");
                column_sum::rmsnorm_weight(plan, tokens, dy, x, rstd, sums, &d_norm, self.capacity);
            }
        };

        if block.reads_inputs(context, 3) {
            swiglu::forward(plan, tokens, &kept.gate_up, width, &a.hidden);
        }
        let d_hidden = Inputs {
            plain: &d.hidden,
            swiglu: Some((&kept.gate_up, &d.gate_up)),
        };
        block.down.backward(
            plan,
            context,
            &a.hidden,
            &d.stream,
            kept.low[3].as_ref(),
            Some(d_hidden),
        );
        let middle = (&kept.middle, place);
        if block.reads_inputs(context, 2) {
            rmsnorm::forward(
                plan,
                tokens,
                middle,
                &block.mlp_norm.tensor,
                eps,
                (&a.normed, place),
                &kept.mlp_rstd,
            );
        }
        block.gate_up.backward(
            plan,
            context,
            &a.normed,
            &d.gate_up,
            kept.low[2].as_ref(),
            Some(Inputs::plain(&d.normed)),
        );
        norm_weight(plan, &block.mlp_norm, (&d.normed, place), middle, &kept.mlp_rstd);
        let operands = (&d.normed, &d.stream, place);
        rmsnorm::backward(
            plan,
            tokens,
            middle,
            &block.mlp_norm.tensor,
            &kept.mlp_rstd,
            operands,
            true,
        );

        block.o.backward(
            plan,
            context,
            &kept.attended,
            &d.stream,
            kept.low[1].as_ref(),
            Some(Inputs::plain(&d.attended)),
        );
        let (shape, v) = self.attention_shape(model, kept);
        let saved = Saved {
            keys: &a.keys,
            queries: &a.queries,
            o: &kept.attended,
            lse: &kept.lse,
            delta_offset: self.capacity * config.num_attention_heads as u32,
        };
        let operands = (&kept.qkv, &kept.qkv, v);
        attention::backward(
            plan,
            tokens,
            &shape,
            operands,
            &saved,
            &d.attended,
            (&d.qkv, &shape),
            self.capacity,
        );
        let places = head_places(model);
        for place in places {
            rope::apply(plan, tokens, &a.position, &a.rope, (&d.qkv, place), true);
        }
        let mut d_qkv = &d.qkv;
        if let (Some(norms), Some(rstds), Some(raw), Some(d_raw)) =
            (&block.qk_norm, &kept.qk_rstd, &kept.qkv_raw, &d.qkv_raw)
        {
            plan.copy(&d.qkv, d_raw);
            for i in 0..2 {
                let x = (raw, places[i]);
                norm_weight(plan, &norms[i], (&d.qkv, places[i]), x, &rstds[i]);
                let operands = (&d.qkv, d_raw, places[i]);
                rmsnorm::backward(plan, tokens, x, &norms[i].tensor, &rstds[i], operands, false);
            }
            d_qkv = d_raw;
        }
        let stream = (self.stream(l), place);
        if block.reads_inputs(context, 0) {
            let normed = (&a.normed, place);
            rmsnorm::forward(
                plan,
                tokens,
                stream,
                &block.attention_norm.tensor,
                eps,
                normed,
                &kept.attention_rstd,
            );
        }
        block.qkv.backward(
            plan,
            context,
            &a.normed,
            d_qkv,
            kept.low[0].as_ref(),
            onward.then_some(Inputs::plain(&d.normed)),
        );
        if onward {
            norm_weight(
                plan,
                &block.attention_norm,
                (&d.normed, place),
                stream,
                &kept.attention_rstd,
            );
            let operands = (&d.normed, &d.stream, place);
            rmsnorm::backward(
                plan,
                tokens,
                stream,
                &block.attention_norm.tensor,
                &kept.attention_rstd,
                operands,
                true,
            );
        }
    }

    /// The loss of each of so many targets, and 1 where the target is the likeliest token.
    pub fn results(&self, targets: u32) -> [Tensor; 2] {
        [&self.activations.loss, &self.activations.correct].map(|tensor| tensor.slice(0, u64::from(targets)))
    }

    /// A tensor for the numbers a step reports; see [`crate::ops::loss_sum::METRICS`].
    pub fn metrics(gpu: &Gpu) -> Tensor {
        gpu.tensor("metrics", crate::ops::loss_sum::METRICS, Storage::F32)
    }
}

impl Block {
    /// Whether the backward pass of linear layer `i` reads its input.
    fn reads_inputs(&self, context: &Context, i: usize) -> bool {
        let linear = self.linears()[i];
        let trained = |weight: &super::Weight| weight.slot.is_some_and(|slot| (context.gradient)(slot).is_some());
        linear.lora.is_some() || trained(&linear.weight)
    }
}

/// Numbers in a row of the embedding, and their factor.
fn embedding_rows(model: &Model) -> (u32, f32) {
    (
        model.config.hidden_size as u32,
        model.config.embedding_multiplier as f32,
    )
}

/// The query heads and the key heads in a row of queries, keys and values.
fn head_places(model: &Model) -> [Place; 2] {
    let [h, k, s] = [
        model.config.num_attention_heads,
        model.config.num_key_value_heads,
        model.config.head_dim,
    ];
    let (h, k, s) = (h as u32, k as u32, s as u32);
    let stride = (h + 2 * k) * s;
    [
        Place {
            heads: h,
            width: s,
            stride,
            offset: 0,
        },
        Place {
            heads: k,
            width: s,
            stride,
            offset: h * s,
        },
    ]
}
