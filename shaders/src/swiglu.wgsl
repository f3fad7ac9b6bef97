// h = silu(g) * u, silu(g) = g / (1 + exp(-g)) (Shazeer 2020). gu [R, 2F]: g, then u; h [R, F]. Writes h.
// One invocation: four numbers.
struct Params {
    width4: u32, // F / 4
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R * F / 4
@group(0) @binding(2) var<storage, read> gu: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> h: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let at = i / p.width4 * 2u * p.width4 + i % p.width4;
    let g = gu[at];
    h[i] = g / (1.0 + exp(-g)) * gu[at + p.width4];
}
