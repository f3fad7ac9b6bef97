// delta[t, h] = sum over the head of do * o. o, do [R, H, S]; delta [R * H], from `offset` on in the tensor that begins with
// lse. Writes delta. One invocation: one head of one token.
struct Params {
    width4: u32, // S / 4
    offset: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * H
@group(0) @binding(2) var<storage, read> o: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> d_o: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> lse_delta: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    var sum = 0.0;
    for (var c = 0u; c < p.width4; c++) {
        sum += dot(o[i * p.width4 + c], d_o[i * p.width4 + c]);
    }
    lse_delta[p.offset + i] = sum;
}
