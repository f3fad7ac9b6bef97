// y[b, n] = sum over the rows t of block b of f(t, n), in the order of t: bias and norm-weight gradients, in two passes
// (blocks of rows, then the blocks). MODE 0: f = x[t, n]. MODE 1: f = x[t, n] * z[t, n] * scale[t] (rmsnorm's weight).
// Rows t = token * heads + head lie at token * stride + offset + head * width in x, likewise in z. y [blocks, width].
// Writes y, or adds to it where ACCUMULATE. One invocation: four columns of one block.
override MODE: u32 = 0;
override ACCUMULATE: bool = false;

struct Params {
    heads: u32,
    width4: u32,
    x_stride4: u32,
    x_offset4: u32,
    z_stride4: u32,
    z_offset4: u32,
    block: u32, // rows in a block
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * heads
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> z: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> scale: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = group.x * 64u + lane;
    let first = group.y * p.block;
    if column >= p.width4 || first >= rows {
        return;
    }
    var sum = vec4<f32>(0.0);
    for (var t = first; t < min(first + p.block, rows); t++) {
        let token = t / p.heads;
        let head = (t % p.heads) * p.width4 + column;
        let v = x[token * p.x_stride4 + p.x_offset4 + head];
        if MODE == 1u {
            sum += v * z[token * p.z_stride4 + p.z_offset4 + head] * scale[t];
        } else {
            sum += v;
        }
    }
    let at = group.y * p.width4 + column;
    if ACCUMULATE {
        y[at] += sum;
    } else {
        y[at] = sum;
    }
}
