// Gradient of attention in its queries, with p_ij = exp(s_ij - L_i) recomputed:
//   dq_i = scale * sum_j p_ij (do_i . v_j - delta_i) k_j
// q, k, v, range, lse as in attention.wgsl; do [R, H, S], delta [R, H]; dq in rows like q's. Writes dq.
// One invocation: $A$ queries of one head. A template as attention.wgsl.
struct Params {
    heads: u32,
    group: u32, // H / K
    q_stride: u32,
    q_offset: u32,
    k_stride: u32,
    k_offset: u32,
    v_stride: u32,
    v_offset: u32,
    d_stride: u32, // of the gradients of q, k and v
    dq_offset: u32,
    dk_offset: u32,
    dv_offset: u32,
    delta_offset: u32,
    scale: f32,
    first_head: u32, // of this dispatch
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // R
@group(0) @binding(2) var<storage, read> q: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read> range: array<vec2<u32>>;
@group(0) @binding(6) var<storage, read> lse_delta: array<f32>; // lse, then delta from p.delta_offset on
@group(0) @binding(7) var<storage, read> d_o: array<vec4<f32>>;
@group(0) @binding(8) var<storage, read_write> dq: array<vec4<f32>>;

@compute @workgroup_size($WIDTH$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = p.first_head + tile.x;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let i$a = (tile.y * $A$u + $au) * $WIDTH$u + lane;
    let mine$a = min(i$a, rows - 1u);
    let keys$a = range[mine$a];
    let q$a_at = mine$a * p.q_stride + p.q_offset + h * $V$u;
    let o$a_at = (mine$a * p.heads + h) * $V$u;
    let q$a_$i = q[q$a_at + $iu] * p.scale;
    let do$a_$i = d_o[o$a_at + $iu];
    var dq$a_$i = vec4<f32>(0.0);
    let l$a = lse_delta[mine$a * p.heads + h];
    let delta$a = lse_delta[p.delta_offset + mine$a * p.heads + h];
    var first = keys0.x;
    var last = keys0.y;
    first = min(first, keys$a.x);
    last = max(last, keys$a.y);
    last = $HIGHEST$(last);
    for (var j = $LOWEST$(first); j < last; j++) {
        let kj = j * p.k_stride + k_at;
        let vj = j * p.v_stride + v_at;
        let k_$l = k[kj + $LOADED$];
        let v_$l = v[vj + $LOADED$];
        var d$a = vec4<f32>(0.0);
        var e$a = vec4<f32>(0.0);
        d$a = fma(q$a_$i, $OF(k, $i), d$a);
        e$a = fma(do$a_$i, $OF(v, $i), e$a);
        let seen$a = j >= keys$a.x && j < keys$a.y;
        let s$a = select(-1e30, (d$a.x + d$a.y) + (d$a.z + d$a.w), seen$a);
        let dp$a = (e$a.x + e$a.y) + (e$a.z + e$a.w);
        let ds$a = exp(s$a - l$a) * (dp$a - delta$a) * p.scale;
        dq$a_$i = fma(vec4<f32>(ds$a), $OF(k, $i), dq$a_$i);
    }
    if i$a < rows { dq[i$a * p.d_stride + p.dq_offset + h * $V$u + $iu] = dq$a_$i; }
}
