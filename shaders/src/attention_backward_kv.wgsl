// Gradients of attention in its keys and values, over the queries i of the key's range and the query heads of its group:
//   dv_j = sum_i p_ij do_i,   dk_j = scale * sum_i p_ij (do_i . v_j - delta_i) q_i
// q, k, v, lse as in attention.wgsl; range [R] = (first, last) query of each key; do [R, H, S], delta [R, H];
// dk and dv in rows of one tensor. Writes dk and dv. One invocation: $A$ keys of one key head.
// A template as attention.wgsl, with keys in the place of queries, and queries in the place of keys.
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
@group(0) @binding(8) var<storage, read_write> dkv: array<vec4<f32>>;

@compute @workgroup_size($WIDTH$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = p.first_head + tile.x;
    let j$a = (tile.y * $A$u + $au) * $WIDTH$u + lane;
    let mine$a = min(j$a, rows - 1u);
    let queries$a = range[mine$a];
    let k$a_at = mine$a * p.k_stride + p.k_offset + h * $V$u;
    let v$a_at = mine$a * p.v_stride + p.v_offset + h * $V$u;
    let k$a_$i = k[k$a_at + $iu] * p.scale;
    let v$a_$i = v[v$a_at + $iu];
    var dk$a_$i = vec4<f32>(0.0);
    var dv$a_$i = vec4<f32>(0.0);
    var first = queries0.x;
    var last = queries0.y;
    first = min(first, queries$a.x);
    last = max(last, queries$a.y);
    first = $LOWEST$(first);
    last = $HIGHEST$(last);
    for (var g = 0u; g < p.group; g++) {
        let head = h * p.group + g;
        for (var i = first; i < last; i++) {
            let qi = i * p.q_stride + p.q_offset + head * $V$u;
            let oi = (i * p.heads + head) * $V$u;
            let q_$l = q[qi + $LOADED$];
            let d_o_$l = d_o[oi + $LOADED$];
            let l = lse_delta[i * p.heads + head];
            let delta = lse_delta[p.delta_offset + i * p.heads + head];
            var d$a = vec4<f32>(0.0);
            var e$a = vec4<f32>(0.0);
            d$a = fma(k$a_$i, $OF(q, $i), d$a);
            e$a = fma(v$a_$i, $OF(d_o, $i), e$a);
            let seen$a = i >= queries$a.x && i < queries$a.y;
            let s$a = select(-1e30, (d$a.x + d$a.y) + (d$a.z + d$a.w), seen$a);
            let dp$a = (e$a.x + e$a.y) + (e$a.z + e$a.w);
            let w$a = exp(s$a - l);
            let ds$a = w$a * (dp$a - delta) * p.scale;
            dv$a_$i = fma(vec4<f32>(w$a), $OF(d_o, $i), dv$a_$i);
            dk$a_$i = fma(vec4<f32>(ds$a), $OF(q, $i), dk$a_$i);
        }
    }
    if j$a < rows { dkv[j$a * p.d_stride + p.dk_offset + h * $V$u + $iu] = dk$a_$i; }
    if j$a < rows { dkv[j$a * p.d_stride + p.dv_offset + h * $V$u + $iu] = dv$a_$i; }
}
