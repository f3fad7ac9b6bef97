// Gradients of attention in its keys and values, over the queries i of the key's range and the query heads of its group:
//   dv_j = sum_i p_ij do_i,   dk_j = scale * sum_i p_ij (do_i . v_j - delta_i) q_i
// q, k, v, lse as in attention.wgsl; range [R] = (first, last) query of each key; do [R, H, S], delta [R, H];
// dk and dv in rows of one tensor. Writes dk and dv. One invocation: one key of one key head.
// A template as attention.wgsl, its rows being queries.
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
    let h = tile.x;
    let j = min(tile.y * $WIDTH$u + lane, rows - 1u);
    let k_at = j * p.k_stride + p.k_offset + h * $V$u;
    let v_at = j * p.v_stride + p.v_offset + h * $V$u;
    let k$i = k[k_at + $iu] * p.scale;
    let v$i = v[v_at + $iu];
    var dk$i = vec4<f32>(0.0);
    var dv$i = vec4<f32>(0.0);
    let queries = range[j];
    let first = $LOWEST$(queries.x);
    let last = $HIGHEST$(queries.y);
    for (var g = 0u; g < p.group; g++) {
        let head = h * p.group + g;
        for (var i = first; i < last; i += $J$u) {
            let query$j = min(i + $ju, last - 1u);
            let qi$j = query$j * p.q_stride + p.q_offset + head * $V$u;
            let oi$j = (query$j * p.heads + head) * $V$u;
            let q_$j_$l = q[qi$j + $LOADED$];
            let d_o_$j_$l = d_o[oi$j + $LOADED$];
            var d$j = vec4<f32>(0.0);
            var e$j = vec4<f32>(0.0);
            d$j = fma(k$i, $OF(q, $j, $i), d$j);
            e$j = fma(v$i, $OF(d_o, $j, $i), e$j);
            let s$j = (d$j.x + d$j.y) + (d$j.z + d$j.w);
            let dp$j = (e$j.x + e$j.y) + (e$j.z + e$j.w);
            let seen$j = i + $ju >= queries.x && i + $ju < queries.y;
            let l$j = lse_delta[query$j * p.heads + head];
            let delta$j = lse_delta[p.delta_offset + query$j * p.heads + head];
            let w$j = select(0.0, exp(min(s$j - l$j, 0.0)), seen$j);
            let ds$j = w$j * (dp$j - delta$j) * p.scale;
            dv$i = fma(vec4<f32>(w$j), $OF(d_o, $j, $i), dv$i);
            dk$i = fma(vec4<f32>(ds$j), $OF(q, $j, $i), dk$i);
        }
    }
    if tile.y * $WIDTH$u + lane >= rows {
        return;
    }
    let at = j * p.d_stride + h * $V$u;
    dkv[at + p.dk_offset + $iu] = dk$i;
    dkv[at + p.dv_offset + $iu] = dv$i;
}
