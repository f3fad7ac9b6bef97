// C = alpha * sum_s P_s (+ bias[n]) (+ D)     P [slices, M, 4 columns], C [M, N]
// The second pass of a product whose contraction is cut into slices: their sums P are added in the order of the slices.
// Writes C or, where D is C itself, adds to it. One invocation: four columns of a row.
// A template: `$NAME$` is replaced by the generator in core/src/ops/matmul/generate.rs.
struct Params {
    m: u32,
    n: u32,
    columns: u32, // vectors in a row of P
    ldc: u32,
    c_offset: u32,
    slices: u32,
    slice_stride: u32, // vectors from one slice to the next
    alpha: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32;
@group(0) @binding(2) var<storage, read> sums: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> c: array<$C_WORD$>;
$EXTRA_BINDINGS$

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let item = (group.y * groups.x + group.x) * 64u + lane;
    let m = item / p.columns;
    if m >= $M$ {
        return;
    }
    var sum = vec4<f32>(0.0);
    for (var s = 0u; s < p.slices; s++) {
        sum += sums[s * p.slice_stride + item];
    }
    let n = item % p.columns * 4u;
    let y = p.alpha * sum;
    let at = m * p.ldc + p.c_offset + n;
    $STORE$
}
