// dx = r * (w * dy - x * r^2 * mean(x * w * dy)): the gradient of rmsnorm in its input.
// Rows as in rmsnorm.wgsl, x with its own stride and offset, dy and dx with the same. Adds to dx where ACCUMULATE
// (the residual stream), else writes it.
override LANES: u32 = 64;
override ROWS: u32 = 1;
override ACCUMULATE: bool = false;

struct Params {
    heads: u32,
    width4: u32,
    x_stride4: u32,
    x_offset4: u32,
    y_stride4: u32,
    y_offset4: u32,
    eps: f32, // of the forward pass
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * heads
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> w: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> rstd: array<f32>;
@group(0) @binding(5) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;

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
    var products = vec4<f32>(0.0);
    for (var c = id.x; c < p.width4; c += LANES) {
        products = fma(x[x_at + c], w[c] * dy[y_at + c], products);
    }
    let total = sum_lanes((products.x + products.y) + (products.z + products.w), id.x, id.y * LANES);
    if row >= rows {
        return;
    }
    let r = rstd[row];
    let mean = total / f32(4u * p.width4) * r * r;
    for (var c = id.x; c < p.width4; c += LANES) {
        let d = r * (w[c] * dy[y_at + c] - x[x_at + c] * mean);
        if ACCUMULATE {
            dx[y_at + c] += d;
        } else {
            dx[y_at + c] = d;
        }
    }
}
