//! Named tensors on the device: several of the checkpoint's tensors may lie in one, and trained ones in flat buffers.

use crate::gpu::{Gpu, Storage, Tensor};
use crate::model::ModelConfig;

/// One tensor of the checkpoint inside a [`Weight`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its name in a Hugging Face checkpoint.
    pub name: String,
    /// Its first row.
    pub first: u32,
    /// Its rows; 1 for a vector.
    pub rows: u32,
}

/// What a weight is, before it exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightSpec {
    /// The checkpoint's tensors in it, one below the other (for vectors: one behind the other).
    pub parts: Vec<Part>,
    /// Numbers in a row; for a vector, in the whole of it.
    pub columns: u32,
    /// Whether it has two dimensions: only those are stored in 16 bits and, by default, decay.
    pub matrix: bool,
}

impl WeightSpec {
    fn matrix(columns: usize, parts: impl IntoIterator<Item = (String, usize)>) -> Self {
        let mut first = 0;
        let parts = parts
            .into_iter()
            .map(|(name, rows)| {
                let part = Part {
                    name,
                    first,
                    rows: rows as u32,
                };
                first += rows as u32;
                part
            })
            .collect();
        Self {
            parts,
            columns: columns as u32,
            matrix: true,
        }
    }

    fn vector(parts: impl IntoIterator<Item = (String, usize)>) -> Self {
        Self {
            matrix: false,
            ..Self::matrix(1, parts)
        }
    }

    /// Rows of all parts together.
    pub fn rows(&self) -> u32 {
        self.parts.iter().map(|p| p.rows).sum()
    }

    /// Numbers in it.
    pub fn numbers(&self) -> u64 {
        u64::from(self.rows()) * u64::from(self.columns)
    }
}

/// The weights of a linear layer: a matrix `[out, in]`, and a bias `[out]` where it has one.
#[derive(Debug, Clone)]
pub struct LinearSpec {
    /// The matrix.
    pub weight: WeightSpec,
    /// The bias.
    pub bias: Option<WeightSpec>,
}

/// The weights of a model, in the order of the forward pass.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// Token embedding `[V, C]`, which is also the head where `head` is none.
    pub embedding: WeightSpec,
    /// The blocks.
    pub blocks: Vec<BlockSpec>,
    /// Final norm `[C]`.
    pub norm: WeightSpec,
    /// LM head `[V, C]`.
    pub head: Option<WeightSpec>,
}

/// The weights of one block.
#[derive(Debug, Clone)]
pub struct BlockSpec {
    /// Norm before attention.
    pub attention_norm: WeightSpec,
    /// Queries, keys and values.
    pub qkv: LinearSpec,
    /// Norms of each query head and each key head.
    pub qk_norm: Option<[WeightSpec; 2]>,
    /// Attention's output.
    pub o: LinearSpec,
    /// Norm before the feed-forward layer.
    pub mlp_norm: WeightSpec,
    /// Gate and up.
    pub gate_up: LinearSpec,
    /// Down.
    pub down: LinearSpec,
}

impl ModelSpec {
    /// The weights that a configuration asks for.
    pub fn new(config: &ModelConfig) -> Self {
        let (c, f, q, kv) = (
            config.hidden_size,
            config.intermediate_size,
            config.q_size(),
            config.kv_size(),
        );
        let vector = |name: String, n: usize| WeightSpec::vector([(name, n)]);
        let block = |layer: usize| {
            let name = |rest: &str| format!("model.layers.{layer}.{rest}");
            let linear = |columns: usize, parts: &[(&str, usize)], bias: bool| {
                let parts = |suffix: &'static str| {
                    parts
                        .iter()
                        .map(move |(module, rows)| (format!("model.layers.{layer}.{module}.{suffix}"), *rows))
                };
                LinearSpec {
                    weight: WeightSpec::matrix(columns, parts("weight")),
                    bias: bias.then(|| WeightSpec::vector(parts("bias"))),
                }
            };
            let qkv = [
                ("self_attn.q_proj", q),
                ("self_attn.k_proj", kv),
                ("self_attn.v_proj", kv),
            ];
            BlockSpec {
                attention_norm: vector(name("input_layernorm.weight"), c),
                qkv: linear(c, &qkv, config.attention_bias),
                qk_norm: config
                    .qk_norm
                    .then(|| ["q", "k"].map(|x| vector(name(&format!("self_attn.{x}_norm.weight")), config.head_dim))),
                o: linear(q, &[("self_attn.o_proj", c)], config.attention_output_bias),
                mlp_norm: vector(name("post_attention_layernorm.weight"), c),
                gate_up: linear(c, &[("mlp.gate_proj", f), ("mlp.up_proj", f)], config.mlp_bias),
                down: linear(f, &[("mlp.down_proj", c)], config.mlp_bias),
            }
        };
        let table = |name: &str| WeightSpec::matrix(c, [(name.to_owned(), config.vocab_size)]);
        Self {
            embedding: table("model.embed_tokens.weight"),
            blocks: (0..config.num_hidden_layers).map(block).collect(),
            norm: vector("model.norm.weight".into(), c),
            head: (!config.tie_word_embeddings).then(|| table("lm_head.weight")),
        }
    }

    /// All of them, in the order of the forward pass.
    pub fn all(&self) -> Vec<&WeightSpec> {
        let mut all = vec![&self.embedding];
        for block in &self.blocks {
            all.push(&block.attention_norm);
            for linear in [&block.qkv, &block.o, &block.gate_up, &block.down] {
                all.push(&linear.weight);
                all.extend(&linear.bias);
            }
            all.extend(block.qk_norm.iter().flatten());
            all.push(&block.mlp_norm);
        }
        all.push(&self.norm);
        all.extend(&self.head);
        all
    }
}

/// A weight on the device.
#[derive(Debug, Clone)]
pub struct Weight {
    /// Its numbers.
    pub tensor: Tensor,
    /// What it holds.
    pub spec: WeightSpec,
    /// Its place in [`Flat`], where it is trained.
    pub slot: Option<usize>,
}

impl Weight {
    /// A part's numbers within the tensor: `(first, len)`.
    pub fn range(&self, part: &Part) -> (u64, u64) {
        let columns = u64::from(self.spec.columns);
        (u64::from(part.first) * columns, u64::from(part.rows) * columns)
    }
}

/// Where a trained weight lies in the flat buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which buffer.
    pub buffer: usize,
    /// First number, a multiple of 64.
    pub first: u64,
    /// Numbers, without padding.
    pub len: u64,
    /// Whether it is a matrix.
    pub matrix: bool,
}

/// A stretch of one of the buffers of [`Flat`], whose numbers are updated together.
#[derive(Debug, Clone, Copy)]
pub struct Run {
    buffer: usize,
    first: u64,
    pub len: u64,
    /// Whether it is of matrices, not of vectors.
    pub matrix: bool,
}

impl Run {
    /// Its part of buffers of [`Flat`]'s layout.
    pub fn of(&self, buffers: &[Tensor]) -> Tensor {
        buffers[self.buffer].slice(self.first, self.len)
    }
}

/// Trained weights in few large buffers, matrices before vectors, each beginning on 256 bytes, padding zero.
#[derive(Debug, Clone)]
pub struct Flat {
    /// The places, in the order the specs were given.
    pub spans: Vec<Span>,
    /// Numbers in each buffer.
    pub lens: Vec<u64>,
    /// The weights themselves.
    pub buffers: Vec<Tensor>,
}

impl Flat {
    /// Lay out tensors of `(len, matrix)` in buffers of at most `max_bytes` and allocate those.
    pub fn new(gpu: &Gpu, tensors: &[(u64, bool)], max_bytes: u64) -> Self {
        let (spans, lens) = Self::layout(tensors, max_bytes);
        let buffers = lens
            .iter()
            .map(|&len| gpu.tensor("trained weights", len, Storage::F32))
            .collect();
        Self { spans, lens, buffers }
    }

    /// The spans, and the length of each buffer.
    pub fn layout(tensors: &[(u64, bool)], max_bytes: u64) -> (Vec<Span>, Vec<u64>) {
        let blank = Span {
            buffer: 0,
            first: 0,
            len: 0,
            matrix: false,
        };
        let (mut spans, mut lens) = (vec![blank; tensors.len()], Vec::<u64>::new());
        let matrices = (0..tensors.len()).filter(|&i| tensors[i].1);
        let vectors = (0..tensors.len()).filter(|&i| !tensors[i].1);
        for i in matrices.chain(vectors) {
            let (len, matrix) = tensors[i];
            let padded = len.next_multiple_of(64);
            if lens
                .last()
                .is_none_or(|used| (used + padded).saturating_mul(4) > max_bytes)
            {
                lens.push(0);
            }
            let buffer = lens.len() - 1;
            spans[i] = Span {
                buffer,
                first: lens[buffer],
                len,
                matrix,
            };
            lens[buffer] += padded;
        }
        (spans, lens)
    }

    /// The tensor at a slot of buffers laid out like these.
    pub fn at(&self, buffers: &[Tensor], slot: usize) -> Tensor {
        let span = self.spans[slot];
        buffers[span.buffer].slice(span.first, span.len)
    }

    /// The tensor of a trained weight in buffers laid out like these.
    pub fn of(&self, buffers: &[Tensor], weight: &Weight) -> Tensor {
        self.at(buffers, weight.slot.expect("a trained weight has a slot"))
    }

    /// More buffers of the same layout, zeros.
    pub fn like(&self, gpu: &Gpu, label: &str) -> Vec<Tensor> {
        self.lens
            .iter()
            .map(|&len| gpu.tensor(label, len, Storage::F32))
            .collect()
    }

    /// Runs of numbers to update together, none longer than `max_bytes`.
    pub fn runs(&self, max_bytes: u64) -> Vec<Run> {
        let most = max_bytes / 256 * 64;
        let mut runs = Vec::new();
        for (buffer, &len) in self.lens.iter().enumerate() {
            let matrices = self
                .spans
                .iter()
                .filter(|s| s.buffer == buffer && s.matrix)
                .map(|s| s.first + s.len.next_multiple_of(64))
                .max()
                .unwrap_or(0);
            for (from, to, matrix) in [(0, matrices, true), (matrices, len, false)] {
                let mut first = from;
                while first < to {
                    let len = (to - first).min(most);
                    runs.push(Run {
                        buffer,
                        first,
                        len,
                        matrix,
                    });
                    first += len;
                }
            }
        }
        runs
    }
}

/// How a model's weights are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Read only. Matrices in this storage or, where none is given, as the source stores them (quantised ones in f32).
    Frozen(Option<Storage>),
    /// Trained: f32, in flat buffers.
    Trained,
}
