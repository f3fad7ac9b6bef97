//! The forms of attention for GPUs: operands staged in workgroup memory.

use super::{Walk, repeat};
use crate::gpu::Kernel;

/// Queries, or keys in the gradients of keys and values, of a workgroup.
pub(super) const ROWS: u32 = 32;

/// Vectors of four that a lane may keep for its rows of the result: 64 registers.
const KEPT: u32 = 16;

/// Vectors of a head staged at a time in the forward pass, of two operands, and in the backward passes, of four.
const DEPTH: [u32; 2] = [8, 4];

/// Query heads of a workgroup where each walks its own keys: one for eight lanes.
pub(super) const ALONE: u32 = 8;

/// What the forward pass's queries are: the text of each placeholder.
fn places(walk: Walk) -> [(&'static str, &'static str); 6] {
    match walk {
        Walk::Together => [
            ("PLACE", "let h = p.first_head + tile.x; let i0 = tile.y * 32u;"),
            ("BELOW", "31u"),
            ("KEYS_OF", "min(i0 + mine + $ru, rows - 1u)"),
            ("QUERY", "min(i0 + row, rows - 1u) * p.q_stride"),
            ("INSIDE", "i0 + mine + $ru < rows"),
            ("AT", "(i0 + mine + $ru) * p.heads + h"),
        ],
        Walk::Alone => [
            (
                "PLACE",
                "let parts = (p.group + 7u) / 8u; let part = tile.x % parts * 8u; \
                 let h = tile.x / parts * p.group + part; let count = min(8u, p.group - part); let i0 = tile.y;",
            ),
            ("BELOW", "0u"),
            ("KEYS_OF", "i0"),
            ("QUERY", "i0 * p.q_stride + min(row, count - 1u) * $V$u"),
            ("INSIDE", "mine + $ru < count"),
            ("AT", "i0 * p.heads + h + mine + $ru"),
        ],
    }
}

/// A `_tiled` template of `shaders/` for a head size.
pub fn kernel(label: &'static str, template: &'static str, head_dim: u32, walk: Walk) -> Kernel {
    let vectors = head_dim / 4;
    // Every eighth vector, of o, of dq, or of dk and dv.
    let each = vectors.div_ceil(8);
    let results = if template.contains("dkv") { 2 } else { 1 };
    let most = if walk == Walk::Alone { 1 } else { 4 };
    let rows = [4, 2, 1]
        .into_iter()
        .find(|&rows| rows <= most && rows * each * results <= KEPT)
        .unwrap_or(1);
    let queries = if walk == Walk::Alone { ALONE } else { ROWS };
    let operands = if template.contains("d_o") { 4 } else { 2 };
    let depth = DEPTH[usize::from(operands == 4)];
    // Parts of the head as equal as can be, each row of the stage padded by one vector.
    let depth = vectors.div_ceil(vectors.div_ceil(depth));
    let pitch = depth + 1;
    let room = (DEPTH[0] + 1) * 2 * ROWS;
    let keys = [32, 16, 8, 4]
        .into_iter()
        .find(|keys| keys * vectors <= room)
        .unwrap_or(4);
    let stage = (operands * ROWS * pitch).max(keys * vectors);
    let mut text = template.to_owned();
    for (name, value) in places(walk) {
        text = text.replace(&format!("${name}$"), value);
    }
    for (name, value) in [
        ("V", vectors),
        ("R", rows),
        ("LANES", 8 * queries / rows),
        ("D", depth),
        ("PITCH", pitch),
        ("KEYS", keys),
        ("STAGE", stage),
    ] {
        text = text.replace(&format!("${name}$"), &value.to_string());
    }
    let lines = text.lines().filter(|l| !l.starts_with("//")).map(str::to_owned);
    let source = repeat(repeat(lines.collect(), "$r", rows), "$j", each).join("\n");
    Kernel {
        label: format!("{label} {head_dim}{}", walk.suffix()),
        source: source.into(),
        constants: vec![],
    }
}
