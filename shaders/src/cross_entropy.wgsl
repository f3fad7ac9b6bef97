// For each row of logits z and its target y:  loss = log(sum exp z) - z[y],  correct = (argmax z == y, the first of equals),
// and, where BACKWARD, in place  z <- (softmax(z) - onehot(y)) * loss_scale.
// logits [rows, V] in rows of `stride` (a multiple of 4; the tail is written zero), target [N], loss, correct [N];
// row i of this chunk is number first + i of the micro-batch. LANES invocations share a row, a workgroup holds ROWS rows.
override LANES: u32 = 64;
override ROWS: u32 = 1;
override BACKWARD: bool = true;

struct Params {
    vocabulary: u32,
    stride4: u32,
    first: u32,
}
struct Step {
    seed_low: u32,
    seed_high: u32,
    step: u32,
    loss_scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32;
@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<storage, read> target_id: array<u32>;
@group(0) @binding(4) var<storage, read_write> logits: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> loss: array<f32>;
@group(0) @binding(6) var<storage, read_write> correct: array<f32>;

const LOWEST = -3.0e38;
var<workgroup> largest: array<f32, 256>;
var<workgroup> place: array<u32, 256>;
var<workgroup> total: array<f32, 256>;

fn load(at: u32, column4: u32) -> vec4<f32> {
    let v = logits[at + column4];
    let column = vec4<u32>(4u * column4) + vec4<u32>(0u, 1u, 2u, 3u);
    return select(vec4<f32>(LOWEST), v, column < vec4<u32>(p.vocabulary));
}

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
    let row = (group.y * groups.x + group.x) * ROWS + id.y;
    let at = min(row, rows - 1u) * p.stride4;
    let base = id.y * LANES;

    var top = vec4<f32>(LOWEST);
    var top_at = vec4<u32>(0u);
    for (var c = id.x; c < p.stride4; c += LANES) {
        let v = load(at, c);
        top_at = select(top_at, vec4<u32>(c), v > top);
        top = max(top, v);
    }
    var best = top.x;
    var best_at = 4u * top_at.x;
    for (var k = 1u; k < 4u; k++) {
        let other = 4u * top_at[k] + k;
        if top[k] > best || (top[k] == best && other < best_at) {
            best = top[k];
            best_at = other;
        }
    }
    largest[base + id.x] = best;
    place[base + id.x] = best_at;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if id.x < half {
            let mine = base + id.x;
            let theirs = mine + half;
            if largest[theirs] > largest[mine] || (largest[theirs] == largest[mine] && place[theirs] < place[mine]) {
                largest[mine] = largest[theirs];
                place[mine] = place[theirs];
            }
        }
        workgroupBarrier();
    }
    let peak = largest[base];

    var sums = vec4<f32>(0.0);
    for (var c = id.x; c < p.stride4; c += LANES) {
        sums += exp(load(at, c) - peak);
    }
    total[base + id.x] = sums.x + sums.y + sums.z + sums.w;
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if id.x < half {
            total[base + id.x] += total[base + id.x + half];
        }
        workgroupBarrier();
    }
    if row >= rows {
        return;
    }
    let sum = total[base];
    let wanted = target_id[p.first + row];
    if id.x == wanted / 4u % LANES {
        // The lane that owns the target reads it before it overwrites it.
        loss[p.first + row] = log(sum) - (logits[at + wanted / 4u][wanted % 4u] - peak);
        correct[p.first + row] = select(0.0, 1.0, place[base] == wanted);
    }
    if BACKWARD {
        for (var c = id.x; c < p.stride4; c += LANES) {
            let column = vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u);
            let onehot = select(vec4<f32>(0.0), vec4<f32>(1.0), column == vec4<u32>(wanted));
            let softmax = exp(load(at, c) - peak) / sum;
            logits[at + c] = select(vec4<f32>(0.0), (softmax - onehot) * step.loss_scale, column < vec4<u32>(p.vocabulary));
        }
    }
}
