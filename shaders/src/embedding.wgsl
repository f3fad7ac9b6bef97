// y[t, :] = scale * table[token[t], :] for the tokens of one chunk of the vocabulary: first <= token < first + count.
// token [R], table [count, C], y [R, C]. One invocation: four numbers of one row. Writes y.
struct Params {
    first: u32,
    count: u32,
    width4: u32, // C / 4
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * C / 4
@group(0) @binding(2) var<storage, read> token: array<u32>;
@group(0) @binding(3) var<storage, read> table: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let id = token[i / p.width4];
    if id >= p.first && id - p.first < p.count {
        y[i] = p.scale * table[(id - p.first) * p.width4 + i % p.width4];
    }
}
