//! Flash attention, causal within segments, forward and backward.

use crate::gpu::{Family, Grid, Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::{ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q, ATTENTION_DELTA};
use wgpu_sft_shaders::{ATTENTION_BACKWARD_KV_TILED, ATTENTION_BACKWARD_Q_TILED, ATTENTION_TILED};

pub mod tiled;

const FORWARD: &str = "attention";
const BACKWARD_Q: &str = "attention_backward_q";
const BACKWARD_KV: &str = "attention_backward_kv";

/// Head counts and where queries, keys and values lie in their tensors' rows, in numbers.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Numbers in a head, a multiple of 8.
    pub head_dim: u32,
    /// Row stride and offset of the queries.
    pub q: (u32, u32),
    /// Row stride and offset of the keys.
    pub k: (u32, u32),
    /// Row stride and offset of the values.
    pub v: (u32, u32),
}

impl Shape {
    /// Queries, keys and values side by side in one row.
    pub fn fused(heads: u32, kv_heads: u32, head_dim: u32) -> Self {
        let stride = (heads + 2 * kv_heads) * head_dim;
        let k = heads * head_dim;
        Self {
            heads,
            kv_heads,
            head_dim,
            q: (stride, 0),
            k: (stride, k),
            v: (stride, k + kv_heads * head_dim),
        }
    }

    fn scale(&self) -> f32 {
        (1.0 / f64::from(self.head_dim).sqrt()) as f32
    }

    /// Rough floating-point operations of a forward pass over segments as long as the batch.
    fn work(&self, most: u32) -> u64 {
        2 * u64::from(most) * u64::from(most) * u64::from(self.heads * self.head_dim)
    }
}

params! {
    heads: u32, group: u32, q_stride: u32, q_offset: u32, k_stride: u32, k_offset: u32, v_stride: u32, v_offset: u32,
    d_stride: u32, dq_offset: u32, dk_offset: u32, dv_offset: u32, delta_offset: u32, scale: f32,
}

impl Params {
    /// `d` is where the gradients lie.
    fn new(s: &Shape, d: &Shape, delta_offset: u32) -> Self {
        Self {
            heads: s.heads,
            group: s.heads / s.kv_heads,
            q_stride: s.q.0 / 4,
            q_offset: s.q.1 / 4,
            k_stride: s.k.0 / 4,
            k_offset: s.k.1 / 4,
            v_stride: s.v.0 / 4,
            v_offset: s.v.1 / 4,
            d_stride: d.q.0 / 4,
            dq_offset: d.q.1 / 4,
            dk_offset: d.k.1 / 4,
            dv_offset: d.v.1 / 4,
            delta_offset,
            scale: s.scale(),
        }
    }
}

mod delta_params {
    crate::gpu::params! { width4: u32, offset: u32 }
    pub(super) fn new(head_dim: u32, offset: u32) -> impl crate::gpu::Params {
        Params {
            width4: head_dim / 4,
            offset,
        }
    }
}

/// A template of `shaders/` for a head size and a CPU adapter's family; see `shaders/src/attention.wgsl`.
pub fn kernel(label: &'static str, template: &'static str, head_dim: u32, family: Family) -> Kernel {
    let vectors = head_dim / 4;
    let lanes = width(family);
    let broadcast = matches!(family, Family::Subgroup(_));
    let mine = own_rows(label, head_dim);
    let loads = if broadcast { vectors.div_ceil(lanes) } else { 0 };
    let (lowest, highest) = if broadcast {
        ("subgroupMin", "subgroupMax")
    } else {
        ("", "")
    };
    let mut text = String::with_capacity(template.len() * 32);
    for line in template.lines().filter(|l| !l.starts_with("//")) {
        let line = line
            .replace("$V$", &vectors.to_string())
            .replace("$A$", &mine.to_string())
            .replace("$WIDTH$", &lanes.to_string())
            .replace("$LOWEST$", lowest)
            .replace("$HIGHEST$", highest);
        let mut lines = Vec::new();
        for line in repeat(vec![line], "$a", mine) {
            for (l, line) in repeat(vec![line], "$l", loads).into_iter().enumerate() {
                let loaded = format!("min({}u + lane, {}u)", l as u32 * lanes, vectors - 1);
                lines.push(line.replace("$LOADED$", &loaded));
            }
        }
        for line in repeat(lines, "$i", vectors) {
            text.push_str(&row_vectors(&line, broadcast.then_some(lanes)));
            text.push('\n');
        }
    }
    Kernel {
        label: format!("{label} {head_dim}"),
        source: text.into(),
        constants: vec![],
    }
}

/// Queries or keys of one invocation: each row that it loads serves all of them. A key has twice the sums of a query.
fn own_rows(label: &str, head_dim: u32) -> u32 {
    let most = if label == BACKWARD_KV { 2 } else { 4 };
    (256 / head_dim).clamp(1, most)
}

/// Each line that has the mark, once for each number below `count`.
fn repeat(lines: Vec<String>, mark: &str, count: u32) -> Vec<String> {
    let each = |line: String| {
        let times = if line.contains(mark) { count } else { 1 };
        (0..times).map(move |n| line.replace(mark, &n.to_string()))
    };
    lines.into_iter().flat_map(each).collect()
}

/// `$OF(x, i)`: vector `i` of a row of `x`, from the lane that has loaded it or from memory.
fn row_vectors(line: &str, lanes: Option<u32>) -> String {
    let Some((before, rest)) = line.split_once("$OF(") else {
        return line.to_owned();
    };
    let (arguments, after) = rest.split_once(')').expect("a closing parenthesis");
    let (name, vector) = arguments.split_once(", ").expect("two arguments");
    let Some(lanes) = lanes else {
        let row = match name {
            "d_o" => "oi",
            "q" => "qi",
            "k" => "kj",
            _ => "vj",
        };
        return format!("{before}{name}[{row} + {vector}u]{after}");
    };
    let vector: u32 = vector.parse().expect("a number");
    format!(
        "{before}subgroupBroadcast({name}_{}, {}u){after}",
        vector / lanes,
        vector % lanes
    )
}

/// Invocations in a workgroup.
fn width(family: Family) -> u32 {
    match family {
        Family::Subgroup(lanes) => lanes,
        _ => 8,
    }
}

/// A pass's kernel, of its texts for CPU adapters and for GPUs, and its grid.
fn form(
    plan: &PlanBuilder,
    label: &'static str,
    texts: [&'static str; 2],
    shape: &Shape,
    heads: u32,
) -> (Kernel, Grid) {
    let (family, [plain, staged]) = (plan.gpu().family(), texts);
    if !family.is_cpu() {
        return (tiled::kernel(label, staged, shape.head_dim), tiled::grid(heads));
    }
    let rows = own_rows(label, shape.head_dim) * width(family);
    (
        kernel(label, plain, shape.head_dim, family),
        Grid::Tiles { x: heads, rows },
    )
}

/// Writes `o [R, H·S]` and the first `R·H` numbers of `lse`. Query `i` sees keys `range[i].0 .. range[i].1` of `k` and `v`.
pub fn forward(
    plan: &mut PlanBuilder,
    tokens: Rows,
    shape: &Shape,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    range: &Tensor,
    (o, lse): (&Tensor, &Tensor),
    most: u32,
) {
    let (kernel, grid) = form(plan, FORWARD, [ATTENTION, ATTENTION_TILED], shape, shape.heads);
    plan.dispatch(
        &kernel,
        &Params::new(shape, shape, 0),
        tokens,
        grid,
        &[q, k, v, range, o, lse],
        shape.work(most),
    );
}

/// What the backward pass reads besides queries, keys and values.
pub struct Saved<'a> {
    /// `(first, last)` key of each query.
    pub keys: &'a Tensor,
    /// `(first, last)` query of each key.
    pub queries: &'a Tensor,
    /// The output, `[R, H·S]`.
    pub o: &'a Tensor,
    /// Log-sum-exp in its first `delta_offset` numbers; the rest is scratch.
    pub lse: &'a Tensor,
    /// Half the length of `lse`.
    pub delta_offset: u32,
}

/// Writes the gradients of queries, keys and values to `d`, in which they lie as `d_shape` says.
pub fn backward(
    plan: &mut PlanBuilder,
    tokens: Rows,
    shape: &Shape,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    saved: &Saved,
    d_o: &Tensor,
    (d, d_shape): (&Tensor, &Shape),
    most: u32,
) {
    let delta = Kernel::new("attention_delta", ATTENTION_DELTA, &[]);
    let params = delta_params::new(shape.head_dim, saved.delta_offset);
    plan.dispatch(
        &delta,
        &params,
        tokens.times(shape.heads),
        super::ITEMS,
        &[saved.o, d_o, saved.lse],
        0,
    );

    let texts = [ATTENTION_BACKWARD_Q, ATTENTION_BACKWARD_Q_TILED];
    let (queries, grid) = form(plan, BACKWARD_Q, texts, shape, shape.heads);
    let params = Params::new(shape, d_shape, saved.delta_offset);
    let operands = [q, k, v, saved.keys, saved.lse, d_o, d];
    plan.dispatch(&queries, &params, tokens, grid, &operands, 2 * shape.work(most));

    let texts = [ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_KV_TILED];
    let (keys, grid) = form(plan, BACKWARD_KV, texts, shape, shape.kv_heads);
    let operands = [q, k, v, saved.queries, saved.lse, d_o, d];
    plan.dispatch(&keys, &params, tokens, grid, &operands, 2 * shape.work(most));
}
