// partial_sums[first + workgroup] = sum of squares of one block of gradients: the first pass of the gradient norm.
// gradient [4 * rows]. Writes partial_sums. A workgroup of LANES invocations takes 4096 vectors of four.
override LANES: u32 = 64;

struct Params {
    first: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // gradients / 4
@group(0) @binding(2) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> partial_sums: array<f32>;

var<workgroup> lane_sums: array<f32, 64>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let block = group.y * groups.x + group.x;
    var sum = vec4<f32>(0.0);
    let end = min(block * 4096u + 4096u, rows);
    for (var i = block * 4096u + lane; i < end; i += LANES) {
        let g = gradient[i];
        sum = fma(g, g, sum);
    }
    lane_sums[lane] = sum.x + sum.y + sum.z + sum.w;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if lane < half {
            lane_sums[lane] += lane_sums[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u && block * 4096u < rows {
        partial_sums[p.first + block] = lane_sums[0];
    }
}
