// AdamW (Loshchilov & Hutter 2019), in the order of torch.optim.AdamW, with g the clipped gradient:
//   w <- w (1 - lr * decay)      (where DECAY)
//   m <- m + (1 - b1) (g - m),   v <- b2 v + (1 - b2) g^2
//   w <- w - lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
// w, g, m, v [4 * rows]; metrics[3] = clip factor; nothing is done once metrics[4] is latched. Changes w, m and v in place.
// A workgroup takes 8 * LANES vectors of four.
override LANES: u32 = 64;
override DECAY: bool = true;

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
@group(0) @binding(1) var<uniform> rows: u32; // parameters / 4
@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<storage, read> metrics: array<f32>;
@group(0) @binding(4) var<storage, read> gradient: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> weight: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> first_moment: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> second_moment: array<vec4<f32>>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    if metrics[4] != 0.0 {
        return;
    }
    let clip = metrics[3];
    let kept = select(1.0, 1.0 - step.learning_rate * step.weight_decay, DECAY);
    let rate = step.learning_rate / step.correction1;
    let first = (group.y * groups.x + group.x) * 8u * LANES;
    let end = min(first + 8u * LANES, rows);
    for (var i = first + lane; i < end; i += LANES) {
        let g = gradient[i] * clip;
        let m = first_moment[i] + (1.0 - step.beta1) * (g - first_moment[i]);
        let v = step.beta2 * second_moment[i] + (1.0 - step.beta2) * g * g;
        first_moment[i] = m;
        second_moment[i] = v;
        weight[i] = weight[i] * kept - rate * m / (sqrt(v) / step.correction2_root + step.epsilon);
    }
}
