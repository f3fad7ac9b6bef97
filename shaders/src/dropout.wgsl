// y = x * keep / (1 - probability), or y += that where ACCUMULATE (the backward pass). `keep` is drawn by Philox4x32-10
// (Salmon et al. 2011) from (seed, set apart from the host's streams; column / 4 and module, position, example, step): never from a place in a buffer.
// x, y [R, C]; position, example [R]. Writes y or adds to it. One invocation: four numbers.
override ACCUMULATE: bool = false;

struct Params {
    width4: u32, // C / 4
    site: u32,
    probability: f32,
}
struct Step {
    seed_low: u32,
    seed_high: u32,
    step: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * C / 4
@group(0) @binding(2) var<uniform> step: Step;
@group(0) @binding(3) var<storage, read> position: array<u32>;
@group(0) @binding(4) var<storage, read> example: array<u32>;
@group(0) @binding(5) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(6) var<storage, read_write> y: array<vec4<f32>>;

// High and low half of a * b.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let middle = a1 * b0 + ((a0 * b0) >> 16u);
    let carry = (middle & 0xffffu) + a0 * b1;
    return vec2<u32>(a1 * b1 + (middle >> 16u) + (carry >> 16u), a * b);
}

fn philox(counter: vec4<u32>, seed: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var key = seed;
    for (var round = 0u; round < 10u; round++) {
        let first = multiply(0xD2511F53u, c.x);
        let second = multiply(0xCD9E8D57u, c.z);
        c = vec4<u32>(second.x ^ c.y ^ key.x, second.y, first.x ^ c.w ^ key.y, first.y);
        key += vec2<u32>(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let t = i / p.width4;
    let counter = vec4<u32>((i % p.width4) | (p.site << 16u), position[t], example[t], step.step);
    let bits = philox(counter, vec2<u32>(step.seed_low, step.seed_high ^ 0x44524f50u));
    let draw = vec4<f32>(bits >> vec4<u32>(8u)) * 5.9604644775390625e-8; // 2^-24
    let kept = select(vec4<f32>(0.0), x[i] / (1.0 - p.probability), draw >= vec4<f32>(p.probability));
    if ACCUMULATE {
        y[i] += kept;
    } else {
        y[i] = kept;
    }
}
