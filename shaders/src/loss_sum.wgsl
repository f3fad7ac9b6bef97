// metrics[0] += sum of loss, metrics[1] += sum of correct, each over the micro-batch's N targets in a fixed order.
// loss, correct [N], metrics [8]. Adds to metrics[0] and metrics[1]. One workgroup.
@group(0) @binding(1) var<uniform> rows: u32; // N
@group(0) @binding(2) var<storage, read> loss: array<f32>;
@group(0) @binding(3) var<storage, read> correct: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

var<workgroup> lane_sums: array<vec2<f32>, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = vec2<f32>(0.0);
    for (var i = lane; i < rows; i += 64u) {
        sum += vec2<f32>(loss[i], correct[i]);
    }
    lane_sums[lane] = sum;
    workgroupBarrier();
    for (var half = 32u; half > 0u; half >>= 1u) {
        if lane < half {
            lane_sums[lane] += lane_sums[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u {
        metrics[0] += lane_sums[0].x;
        metrics[1] += lane_sums[0].y;
    }
}
