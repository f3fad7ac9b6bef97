// Rotary positions (Su et al. 2021) in the half-split layout of Hugging Face's models, in place, over `heads` heads:
//   x[i] , x[i + S/2]  <-  x[i] cos - x[i + S/2] sin , x[i + S/2] cos + x[i] sin      angle = position * frequency[i]
// x [R, heads, S] inside rows of `stride`, position [R], table [positions, 2, S/2] = cosines, then sines. `sign` is 1, or
// -1 for the backward pass. One invocation: four pairs of one head.
struct Params {
    heads: u32,
    eighth: u32, // S / 8
    stride4: u32,
    offset4: u32,
    sign: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * heads * S / 8
@group(0) @binding(2) var<storage, read> position: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> x: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let pair = i % p.eighth;
    let head = i / p.eighth % p.heads;
    let token = i / p.eighth / p.heads;
    let angle = position[token] * 2u * p.eighth + pair;
    let cosine = table[angle];
    let sine = table[angle + p.eighth] * p.sign;
    let at = token * p.stride4 + p.offset4 + head * 2u * p.eighth + pair;
    let low = x[at];
    let high = x[at + p.eighth];
    x[at] = low * cosine - high * sine;
    x[at + p.eighth] = high * cosine + low * sine;
}
