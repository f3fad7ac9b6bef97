// norm = sqrt(sum of partial_sums), clip = min(1, max_norm / (norm + 1e-6)), or 1 where max_norm is 0 (as torch.nn.utils.
// clip_grad_norm_). metrics[2] = norm, metrics[3] = clip. Where the norm or the loss in metrics[0] is not finite and nothing
// is latched yet, metrics[4] = the step: from then on updates do nothing. partial_sums [rows]. Writes metrics[2]
// and metrics[3], and metrics[4] to latch. One workgroup.
struct Step {
    seed_low: u32,
    seed_high: u32,
    step: u32,
    loss_scale: f32,
    learning_rate: f32,
    weight_decay: f32,
    beta1: f32,
    beta2: f32,
    epsilon: f32,
    correction1: f32,
    correction2_root: f32,
    max_norm: f32,
}
@group(0) @binding(1) var<uniform> rows: u32;
@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<storage, read> partial_sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> metrics: array<f32>;

var<workgroup> lane_sums: array<f32, 64>;

// By its bits: a driver may assume that no float is infinite.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < rows; i += 64u) {
        sum += partial_sums[i];
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
        let norm = sqrt(lane_sums[0]);
        metrics[2] = norm;
        metrics[3] = select(1.0, min(1.0, step.max_norm / (norm + 1e-6)), step.max_norm > 0.0);
        let fine = finite(lane_sums[0]) && finite(metrics[0]);
        if !fine && metrics[4] == 0.0 {
            metrics[4] = f32(step.step);
        }
    }
}
