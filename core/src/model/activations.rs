//! The buffers of a forward and backward pass over at most `R` tokens.
//!
//! What the forward pass leaves for products and for the backward pass may be stored in 16 bits; it is marked *kept* below. The
//! residual stream, norms' deviations, log-sum-exps, logits, losses and all gradients are f32. So gradients need no loss scale.

use super::linear::Linear;
use super::{Block, Model, ModelConfig};
use crate::gpu::{Family, Gpu, Storage, Storage::F32, Tensor};
use crate::ops::matmul::scratch_len;

/// What a pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Forward only: one block's activations are used by every block.
    Forward,
    /// The same, with at most so many rows of the head, whose logits exist all at once.
    Generating(u32),
    /// Forward and backward, with what the backward pass reads kept for each block.
    Training,
    /// Forward and backward, with only each block's input kept: the backward pass computes the rest once more, block by
    /// block, in buffers that all blocks share (Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost").
    ///
    /// Attention's output is not kept: for 4 bytes of it a pass over segments of `n` tokens saves about `2n` operations,
    /// where 4 bytes of a linear layer's output save `2C`. Rows are seldom longer than the model is wide, and keeping it
    /// would double what is kept.
    Recomputing,
}

impl Purpose {
    /// Training with or without recomputation.
    pub fn training(recompute: bool) -> Self {
        if recompute { Self::Recomputing } else { Self::Training }
    }
}

/// What the adapters on a model need, for planning before there is a model.
#[derive(Debug, Clone, Copy, Default)]
pub struct Needs {
    /// Widths of `x·Aᵀ` for qkv, o, gate_up and down.
    pub low: [u32; 4],
    /// Whether there is dropout.
    pub dropout: bool,
    /// Whether biases or norm weights are trained.
    pub sums: bool,
}

impl Needs {
    /// Of a model as it is.
    pub fn of(model: &Model) -> Self {
        let low = |pick: fn(&Block) -> &Linear| {
            let widths = model
                .blocks
                .iter()
                .map(|b| pick(b).lora.as_ref().map_or(0, |l| l.low_width()));
            widths.max().unwrap_or(0)
        };
        let adapter = model.adapter.as_ref();
        Self {
            low: [low(|b| &b.qkv), low(|b| &b.o), low(|b| &b.gate_up), low(|b| &b.down)],
            dropout: adapter.is_some_and(|a| a.lora_dropout > 0.0),
            sums: model.norm.slot.is_some(),
        }
    }
}

/// Every buffer, as tensors or, for planning, as their sizes. `T` is a tensor or nothing.
pub struct Activations<T> {
    /// Token ids, `[R]`.
    pub token: T,
    /// Positions, `[R]`.
    pub position: T,
    /// Example numbers, `[R]`.
    pub example: T,
    /// `(first, last)` key of each query, `[R]`.
    pub keys: T,
    /// `(first, last)` query of each key, `[R]`.
    pub queries: T,
    /// Rows with a target, `[R]`.
    pub target_row: T,
    /// Their targets, `[R]`.
    pub target: T,
    /// For each row the number of its target, or none, `[R]`.
    pub inverse: T,
    /// `(id, first, last)` of each distinct token, `[R]`.
    pub distinct: T,
    /// Rows sorted by token, `[R]`.
    pub order: T,
    /// Cosines and sines, `[positions, S]`.
    pub rope: T,
    /// Residual stream into each block and out of the last, `[R, C]`: L + 1 of them, or 2 in turn.
    pub stream: Vec<T>,
    /// What each block keeps: L of them, or one. With recomputation, the same buffers L times but for the last `x·Aᵀ`.
    pub block: Vec<BlockActivations<T>>,
    /// Normed input of a linear layer, `[R, C]`, kept.
    pub normed: T,
    /// SwiGLU's output, `[R, F]`, kept.
    pub hidden: T,
    /// Rows with a target before and after the final norm, `[R, C]`. The backward pass needs their memory for f32.
    pub head_in: T,
    /// See `head_in`.
    pub head_normed: T,
    /// Final norm's reciprocal deviations, `[R]`.
    pub head_rstd: T,
    /// A chunk of logits, `[rows, V]`.
    pub logits: T,
    /// Loss of each target, `[R]`.
    pub loss: T,
    /// 1 where the target is the likeliest token, `[R]`.
    pub correct: T,
    /// Buffers of the backward pass.
    pub backward: Option<BackwardActivations<T>>,
    /// Dropped input, kept, and its gradient, `[R, widest input]`.
    pub dropped: Option<[T; 2]>,
    /// Scratch of the products, on GPUs.
    pub scratch: Option<T>,
}

/// What one block keeps for its backward pass.
#[derive(Clone)]
pub struct BlockActivations<T> {
    /// `[R]`.
    pub attention_rstd: T,
    /// Queries, keys and values as they come out of the linear layer, where they are normed, `[R, (H + 2K)·S]`, kept.
    pub qkv_raw: Option<T>,
    /// `[R·H]` and `[R·K]`.
    pub qk_rstd: Option<[T; 2]>,
    /// Rotated queries and keys, and values, `[R, (H + 2K)·S]`, kept.
    pub qkv: T,
    /// Log-sum-exp, and room for delta, `[2, R, H]`.
    pub lse: T,
    /// Attention's output, `[R, H·S]`, kept.
    pub attended: T,
    /// Residual stream after attention, `[R, C]`.
    pub middle: T,
    /// `[R]`.
    pub mlp_rstd: T,
    /// Gate and up, `[R, 2F]`, kept.
    pub gate_up: T,
    /// `x·Aᵀ` of qkv, o, gate_up and down, kept.
    pub low: [Option<T>; 4],
}

/// Gradients of activations. The head is done when the blocks' backward passes begin, and lends them its memory.
pub struct BackwardActivations<T> {
    /// Of the residual stream, `[R, C]`.
    pub stream: T,
    /// Of the other residual stream, `[R, C]`: a linear layer's input.
    pub normed: T,
    /// `[R, (H + 2K)·S]`.
    pub qkv: T,
    /// The same before the norms of queries and keys.
    pub qkv_raw: Option<T>,
    /// `[R, H·S]`; the memory of `head_in`.
    pub attended: T,
    /// `[R, 2F]`; the memory of `logits`.
    pub gate_up: T,
    /// `[R, F]`; the memory of `head_normed`.
    pub hidden: T,
    /// Of `head_normed`, `[R, C]`.
    pub head_normed: T,
    /// Of `x·Aᵀ`.
    pub low: Option<T>,
    /// Scratch of column sums.
    pub sums: Option<T>,
}

/// Numbers that the logits of one chunk of rows may take: 64 MiB.
const LOGITS: u64 = 16 << 20;

/// Rows of logits that exist at once.
pub fn logit_rows(capacity: u32, vocabulary: u32, max_binding: u64) -> u32 {
    let most = LOGITS.min(max_binding / 4) / u64::from(vocabulary.next_multiple_of(4));
    let most = most.max(1).min(u64::from(capacity)) as u32;
    if most >= 16 { most / 16 * 16 } else { most }
}

impl<T: Clone> Activations<T> {
    /// Make every buffer with `make(label, numbers, storage)`; what is kept, as `stored` says.
    pub fn new(
        config: &ModelConfig,
        needs: &Needs,
        (purpose, stored): (Purpose, Storage),
        (capacity, positions): (u32, u32),
        (max_binding, family): (u64, Family),
        mut make: impl FnMut(&'static str, u64, Storage) -> T,
    ) -> Self {
        let r = u64::from(capacity);
        let [c, f, s] = [config.hidden_size, config.intermediate_size, config.head_dim].map(|n| n as u64);
        let [h, k] = [config.num_attention_heads, config.num_key_value_heads].map(|n| n as u64);
        let qkv = (h + 2 * k) * s;
        let vocabulary = config.vocab_size as u32;
        let training = matches!(purpose, Purpose::Training | Purpose::Recomputing);
        // Rows of the head, and of its logits at once.
        let [headed, logit_rows] = match purpose {
            Purpose::Generating(most) => [most; 2],
            _ => [capacity, logit_rows(capacity, vocabulary, max_binding)],
        };
        let layers = if training { config.num_hidden_layers } else { 1 };
        let low = |make: &mut dyn FnMut(&'static str, u64, Storage) -> T, i: usize| {
            (needs.low[i] > 0).then(|| make("x·Aᵀ", r * u64::from(needs.low[i]), stored))
        };
        let kept = |make: &mut dyn FnMut(&'static str, u64, Storage) -> T| BlockActivations {
            attention_rstd: make("attention norm", r, F32),
            qkv_raw: config.qk_norm.then(|| make("raw q, k, v", r * qkv, stored)),
            qk_rstd: config
                .qk_norm
                .then(|| [make("q norm", r * h, F32), make("k norm", r * k, F32)]),
            qkv: make("q, k, v", r * qkv, stored),
            lse: make("log-sum-exp", 2 * r * h, F32),
            attended: make("attended", r * h * s, stored),
            middle: make("residual stream", r * c, F32),
            mlp_rstd: make("mlp norm", r, F32),
            gate_up: make("gate and up", 2 * r * f, stored),
            low: [0, 1, 2, 3].map(|i| low(make, i)),
        };
        let block = if purpose == Purpose::Recomputing {
            let shared = kept(&mut make);
            // That of `down` is kept, 4 bytes a rank, so that the product that comes after it need not be computed again.
            let own = |l: usize| {
                if l == 0 {
                    shared.low[3].clone()
                } else {
                    low(&mut make, 3)
                }
            };
            let downs: Vec<_> = (0..layers).map(own).collect();
            downs
                .into_iter()
                .map(|down| {
                    let mut block = shared.clone();
                    block.low[3] = down;
                    block
                })
                .collect()
        } else {
            (0..layers).map(|_| kept(&mut make)).collect()
        };
        let logits = u64::from(logit_rows) * u64::from(vocabulary.next_multiple_of(4));
        // Numbers of a buffer of the head that later holds so many of a block's gradient.
        let lent = |head: u64, block: u64| if training { head.max(block) } else { head };
        let head_rows = u64::from(headed) * c;
        let head_in = make("head input", lent(head_rows, r * h * s), F32);
        let head_normed = make("head input, normed", lent(head_rows, r * f), F32);
        let logits = make("logits", lent(logits, 2 * r * f), F32);
        let backward = training.then(|| BackwardActivations {
            stream: make("d residual stream", r * c, F32),
            normed: make("d normed", r * c, F32),
            qkv: make("d q, k, v", r * qkv, F32),
            qkv_raw: config.qk_norm.then(|| make("d raw q, k, v", r * qkv, F32)),
            attended: head_in.clone(),
            gate_up: logits.clone(),
            hidden: head_normed.clone(),
            head_normed: make("d head input", r * c, F32),
            low: needs
                .low
                .iter()
                .max()
                .filter(|&&w| w > 0)
                .map(|&w| make("d x·Aᵀ", r * u64::from(w), F32)),
            sums: needs.sums.then(|| {
                // Widest sums: a bias of gate and up, or the norm of every head's rows.
                let widest = [(capacity, qkv.max(2 * f).max(c)), (capacity * h as u32, s)];
                let len = |(rows, width): (u32, u64)| crate::ops::column_sum::scratch_len(rows, width as u32);
                make(
                    "column sums",
                    widest.map(len).into_iter().max().expect("two of them"),
                    F32,
                )
            }),
        });
        Self {
            token: make("tokens", r, F32),
            position: make("positions", r, F32),
            example: make("examples", r, F32),
            keys: make("key ranges", 2 * r, F32),
            queries: make("query ranges", 2 * r, F32),
            target_row: make("target rows", r, F32),
            target: make("targets", r, F32),
            inverse: make("targets of rows", r, F32),
            distinct: make("distinct tokens", 3 * r, F32),
            order: make("rows by token", r, F32),
            rope: make("rotations", u64::from(positions) * s, F32),
            stream: (0..if training { layers + 1 } else { 2 })
                .map(|_| make("residual stream", r * c, F32))
                .collect(),
            block,
            normed: make("normed", r * c, stored),
            hidden: make("hidden", r * f, stored),
            head_in,
            head_normed,
            head_rstd: make("head norm", r, F32),
            logits,
            loss: make("loss", r, F32),
            correct: make("correct", r, F32),
            backward,
            dropped: (training && needs.dropout).then(|| {
                let widest = c.max(f).max(h * s);
                [make("dropped", r * widest, stored), make("d dropped", r * widest, F32)]
            }),
            scratch: Some(scratch_len(family))
                .filter(|&len| len > 0)
                .map(|len| make("sums of products", len, F32)),
        }
    }
}

impl Activations<Tensor> {
    /// Allocate them.
    pub fn allocate(gpu: &Gpu, model: &Model, purpose: (Purpose, Storage), capacity: u32, positions: u32) -> Self {
        let make = |label: &'static str, len: u64, storage: Storage| gpu.tensor(label, len, storage);
        let needs = Needs::of(model);
        Self::new(
            &model.config,
            &needs,
            purpose,
            (capacity, positions),
            (gpu.max_binding(), gpu.family()),
            make,
        )
    }
}

/// Bytes of all buffers, and of the largest with its label, on a device with such a largest binding and kernels.
pub fn plan(
    config: &ModelConfig,
    needs: &Needs,
    purpose: (Purpose, Storage),
    capacity: (u32, u32),
    limits: (u64, Family),
) -> (u64, (&'static str, u64)) {
    let (mut total, mut largest) = (0, ("", 0));
    Activations::new(config, needs, purpose, capacity, limits, |label, len, storage| {
        let bytes = (len * storage.bytes()).next_multiple_of(16).max(16);
        total += bytes;
        if bytes > largest.1 {
            largest = (label, bytes);
        }
    });
    (total, largest)
}
