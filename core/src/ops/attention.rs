//! Flash attention, causal within segments, forward and backward.

use crate::gpu::{Family, Grid, Kernel, PlanBuilder, Rows, Tensor, params};
use wgpu_sft_shaders::{ATTENTION, ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_Q, ATTENTION_DELTA};
use wgpu_sft_shaders::{ATTENTION_BACKWARD_KV_TILED, ATTENTION_BACKWARD_Q_TILED, ATTENTION_TILED};

pub mod tiled;

const FORWARD: &str = "attention";
const BACKWARD_Q: &str = "attention_backward_q";
const BACKWARD_KV: &str = "attention_backward_kv";

/// Which keys queries side by side have: it changes no bit of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Walk {
    /// Mostly the same ones, which are then loaded once for all of them.
    Together,
    /// Others each, far apart: those of sequences in a cache.
    Alone,
}

impl Walk {
    fn suffix(self) -> &'static str {
        match self {
            Self::Together => "",
            Self::Alone => " alone",
        }
    }
}

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
    /// What products of queries and keys are multiplied by.
    pub scale: f32,
}

impl Shape {
    /// Queries, keys and values side by side in one row; the scale is `1 / sqrt(head_dim)`.
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
            scale: (1.0 / f64::from(head_dim).sqrt()) as f32,
        }
    }

    /// Rough floating-point operations of a forward pass over segments as long as the batch.
    fn work(&self, most: u32) -> u64 {
        2 * u64::from(most) * u64::from(most) * u64::from(self.heads * self.head_dim)
    }
}

params! {
    heads: u32, group: u32, q_stride: u32, q_offset: u32, k_stride: u32, k_offset: u32, v_stride: u32, v_offset: u32,
    d_stride: u32, dq_offset: u32, dk_offset: u32, dv_offset: u32, delta_offset: u32, scale: f32, first_head: u32,
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
            scale: s.scale,
            first_head: 0,
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
pub fn kernel(label: &'static str, template: &'static str, head_dim: u32, family: Family, walk: Walk) -> Kernel {
    let vectors = head_dim / 4;
    let lanes = width(family);
    let alone = walk == Walk::Alone;
    let broadcast = matches!(family, Family::Subgroup(_)) && !alone;
    let mine = if alone { 1 } else { own_rows(label, head_dim) };
    let [row, head] = match walk {
        Walk::Together => ["", "p.first_head + tile.x"],
        Walk::Alone => [" / p.heads", "min(item0, rows - 1u) % p.heads"],
    };
    let loads = if broadcast { vectors.div_ceil(lanes) } else { 0 };
    let (lowest, highest) = if broadcast {
        ("subgroupMin", "subgroupMax")
    } else {
        ("", "")
    };
    let mut text = String::with_capacity(template.len() * 32);
    for line in template.lines().filter(|l| !l.starts_with("//")) {
        let line = line
            .replace("$ROW$", row)
            .replace("$HEAD$", head)
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
        label: format!("{label} {head_dim}{}", walk.suffix()),
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

/// Record a pass by its texts for CPU adapters and for GPUs, over this many heads at once or, where that were too much work for one
/// dispatch, a few heads at a time.
fn record(
    plan: &mut PlanBuilder,
    (label, texts): (&'static str, [&'static str; 2]),
    (shape, heads, work): (&Shape, u32, u64),
    params: Params,
    tokens: Rows,
    tensors: &[&Tensor],
) {
    let (family, [plain, staged]) = (plan.gpu().family(), texts);
    let (kernel, rows) = if family.is_cpu() {
        let rows = own_rows(label, shape.head_dim) * width(family);
        (kernel(label, plain, shape.head_dim, family, Walk::Together), rows)
    } else {
        (
            tiled::kernel(label, staged, shape.head_dim, Walk::Together),
            tiled::ROWS,
        )
    };
    let a_head = work / u64::from(heads);
    let at_once = plan.gpu().work_per_dispatch() / a_head.max(1);
    let at_once = at_once.clamp(1, u64::from(heads)) as u32;
    for first_head in (0..heads).step_by(at_once as usize) {
        let x = at_once.min(heads - first_head);
        let grid = Grid::Tiles { x, rows, z: 1 };
        let params = Params { first_head, ..params };
        plan.dispatch(&kernel, &params, tokens, grid, tensors, u64::from(x) * a_head);
    }
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
    let texts = [ATTENTION, ATTENTION_TILED];
    let work = (shape, shape.heads, shape.work(most));
    let params = Params::new(shape, shape, 0);
    record(plan, (FORWARD, texts), work, params, tokens, &[q, k, v, range, o, lse]);
}

/// [`forward`] for queries with keys of their own, at most `keys` each, in any order: the same bits, if those of [`forward`] share
/// their first key.
pub fn forward_alone(
    plan: &mut PlanBuilder,
    tokens: Rows,
    shape: &Shape,
    (q, k, v): (&Tensor, &Tensor, &Tensor),
    range: &Tensor,
    (o, lse): (&Tensor, &Tensor),
    (most, keys): (u32, u32),
) {
    let family = plan.gpu().family();
    let (kernel, rows, grid) = if family.is_cpu() {
        let grid = Grid::Tiles {
            x: 1,
            rows: width(family),
            z: 1,
        };
        let kernel = kernel(FORWARD, ATTENTION, shape.head_dim, family, Walk::Alone);
        (kernel, tokens.times(shape.heads), grid)
    } else {
        let parts = (shape.heads / shape.kv_heads).div_ceil(tiled::ALONE);
        let grid = Grid::Tiles {
            x: shape.kv_heads * parts,
            rows: 1,
            z: 1,
        };
        let kernel = tiled::kernel(FORWARD, ATTENTION_TILED, shape.head_dim, Walk::Alone);
        (kernel, tokens, grid)
    };
    let work = 4 * u64::from(most) * u64::from(keys) * u64::from(shape.heads * shape.head_dim);
    let params = Params::new(shape, shape, 0);
    plan.dispatch(&kernel, &params, rows, grid, &[q, k, v, range, o, lse], work);
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

    let work = 2 * shape.work(most);
    let params = Params::new(shape, d_shape, saved.delta_offset);
    let texts = [ATTENTION_BACKWARD_Q, ATTENTION_BACKWARD_Q_TILED];
    let operands = [q, k, v, saved.keys, saved.lse, d_o, d];
    let size = (shape, shape.heads, work);
    record(plan, (BACKWARD_Q, texts), size, params, tokens, &operands);

    let texts = [ATTENTION_BACKWARD_KV, ATTENTION_BACKWARD_KV_TILED];
    let operands = [q, k, v, saved.queries, saved.lse, d_o, d];
    let size = (shape, shape.kv_heads, work);
    record(plan, (BACKWARD_KV, texts), size, params, tokens, &operands);
}
