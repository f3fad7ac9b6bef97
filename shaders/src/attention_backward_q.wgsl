// Gradient of attention in its queries, with p_ij = exp(s_ij - L_i) recomputed:
//   dq_i = scale * sum_j p_ij (do_i . v_j - delta_i) k_j
// q, k, v, range, lse as in attention.wgsl; do [R, H, S], delta [R, H]; dq in rows like q's. Writes dq.
// One invocation: one query of one head. A template as attention.wgsl.
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
@group(0) @binding(8) var<storage, read_write> dq: array<vec4<f32>>;

@compute @workgroup_size($WIDTH$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = tile.x;
    let i = min(tile.y * $WIDTH$u + lane, rows - 1u);
    let q_at = i * p.q_stride + p.q_offset + h * $V$u;
    let o_at = (i * p.heads + h) * $V$u;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let q$i = q[q_at + $iu] * p.scale;
    let do$i = d_o[o_at + $iu];
    var dq$i = vec4<f32>(0.0);
    let l = lse_delta[i * p.heads + h];
    let delta = lse_delta[p.delta_offset + i * p.heads + h];
    let keys = range[i];
    let last = $HIGHEST$(keys.y);
    for (var j = $LOWEST$(keys.x); j < last; j += $J$u) {
        let key$j = min(j + $ju, last - 1u);
        let kj$j = key$j * p.k_stride + k_at;
        let vj$j = key$j * p.v_stride + v_at;
        let k_$j_$l = k[kj$j + $LOADED$];
        let v_$j_$l = v[vj$j + $LOADED$];
        var d$j = vec4<f32>(0.0);
        var e$j = vec4<f32>(0.0);
        d$j = fma(q$i, $OF(k, $j, $i), d$j);
        e$j = fma(do$i, $OF(v, $j, $i), e$j);
        let s$j = (d$j.x + d$j.y) + (d$j.z + d$j.w);
        let dp$j = (e$j.x + e$j.y) + (e$j.z + e$j.w);
        let seen$j = j + $ju >= keys.x && j + $ju < keys.y;
        let ds$j = select(0.0, exp(min(s$j - l, 0.0)) * (dp$j - delta) * p.scale, seen$j);
        dq$i = fma(vec4<f32>(ds$j), $OF(k, $j, $i), dq$i);
    }
    if tile.y * $WIDTH$u + lane >= rows {
        return;
    }
    let at = i * p.d_stride + p.dq_offset + h * $V$u;
    dq[at + $iu] = dq$i;
}
