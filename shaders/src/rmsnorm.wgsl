// y = x * r * w with r = 1 / sqrt(mean(x^2) + eps), over each row (Zhang & Sennrich 2019).
// A row is one head of one token: row = token * heads + head, at token * stride + offset + head * width in x and in y.
// x, y [R, heads, width] inside wider rows, w [width], rstd [R * heads]. Writes y and rstd.
// LANES invocations share a row, a workgroup holds ROWS rows.
override LANES: u32 = 64;
override ROWS: u32 = 1;

struct Params {
    heads: u32,
    width4: u32,
    x_stride4: u32,
    x_offset4: u32,
    y_stride4: u32,
    y_offset4: u32,
    eps: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * heads
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> rstd: array<f32>;

var<workgroup> lane_sums: array<f32, 256>;

fn sum_lanes(value: f32, lane: u32, base: u32) -> f32 {
    if LANES == 1u {
        return value;
    }
    lane_sums[base + lane] = value;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if lane < half {
            lane_sums[base + lane] += lane_sums[base + lane + half];
        }
        workgroupBarrier();
    }
    return lane_sums[base];
}

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
    let row = (group.y * groups.x + group.x) * ROWS + id.y;
    let safe = min(row, rows - 1u);
    let token = safe / p.heads;
    let head = safe % p.heads;
    let x_at = token * p.x_stride4 + p.x_offset4 + head * p.width4;
    let y_at = token * p.y_stride4 + p.y_offset4 + head * p.width4;
    var squares = vec4<f32>(0.0);
    for (var c = id.x; c < p.width4; c += LANES) {
        let v = x[x_at + c];
        squares = fma(v, v, squares);
    }
    let total = sum_lanes((squares.x + squares.y) + (squares.z + squares.w), id.x, id.y * LANES);
    if row >= rows {
        return;
    }
    let r = 1.0 / sqrt(total / f32(4u * p.width4) + p.eps);
    for (var c = id.x; c < p.width4; c += LANES) {
        y[y_at + c] = x[x_at + c] * r * w[c];
    }
    if id.x == 0u {
        rstd[row] = r;
    }
}
