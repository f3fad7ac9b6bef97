// attention_backward_q.wgsl for GPUs: the same formula, operands and result,
//   dq_i = scale * sum_j p_ij (do_i . v_j - delta_i) k_j
// with neither end of `range` decreasing from row to row. Writes dq.
// One workgroup: 32 queries of one head, against 32 keys at a time; see attention_tiled.wgsl, also for the template.
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

var<workgroup> stage: array<vec4<f32>, $STAGE$>;
var<workgroup> weights: array<vec4<f32>, 288>; // [32 queries, 8 vectors of keys and one of padding]

@compute @workgroup_size($LANES$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = p.first_head + tile.x;
    let i0 = tile.y * 32u;
    let mine = lane / 8u * $R$u;
    let column = lane % 8u;
    let q_at = p.q_offset + h * $V$u;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let first = range[i0].x;
    let last = range[min(i0 + 31u, rows - 1u)].y;
    let query$r = min(i0 + mine + $ru, rows - 1u);
    let keys$r = range[query$r];
    let l$r = lse_delta[query$r * p.heads + h];
    let delta$r = lse_delta[p.delta_offset + query$r * p.heads + h];
    var dq$r_$j = vec4<f32>(0.0);
    for (var j0 = first; j0 < last; j0 += 32u) {
        var s$r = vec4<f32>(0.0);
        var dp$r = vec4<f32>(0.0);
        for (var d0 = 0u; d0 < $V$u; d0 += $D$u) {
            workgroupBarrier();
            for (var x = lane; x < 32u * $D$u; x += $LANES$u) {
                let row = x / $D$u;
                let d = x % $D$u;
                var own = vec4<f32>(0.0);
                var own_d = vec4<f32>(0.0);
                var other = vec4<f32>(0.0);
                var other_d = vec4<f32>(0.0);
                if d0 + d < $V$u {
                    let i = min(i0 + row, rows - 1u);
                    let j = min(j0 + row, last - 1u);
                    own = q[i * p.q_stride + q_at + d0 + d];
                    own_d = d_o[(i * p.heads + h) * $V$u + d0 + d];
                    other = k[j * p.k_stride + k_at + d0 + d];
                    other_d = v[j * p.v_stride + v_at + d0 + d];
                }
                let place = row % 4u * 8u + row / 4u;
                stage[row * $PITCH$u + d] = own;
                stage[(32u + row) * $PITCH$u + d] = own_d;
                stage[(64u + place) * $PITCH$u + d] = other;
                stage[(96u + place) * $PITCH$u + d] = other_d;
            }
            workgroupBarrier();
            for (var d = 0u; d < $D$u; d++) {
                let other = (64u + column) * $PITCH$u + d;
                let k0 = stage[other];
                let k1 = stage[other + 8u * $PITCH$u];
                let k2 = stage[other + 16u * $PITCH$u];
                let k3 = stage[other + 24u * $PITCH$u];
                let v0 = stage[other + 32u * $PITCH$u];
                let v1 = stage[other + 40u * $PITCH$u];
                let v2 = stage[other + 48u * $PITCH$u];
                let v3 = stage[other + 56u * $PITCH$u];
                let q$r = stage[(mine + $ru) * $PITCH$u + d];
                let do$r = stage[(32u + mine + $ru) * $PITCH$u + d];
                s$r += vec4<f32>(dot(q$r, k0), dot(q$r, k1), dot(q$r, k2), dot(q$r, k3));
                dp$r += vec4<f32>(dot(do$r, v0), dot(do$r, v1), dot(do$r, v2), dot(do$r, v3));
            }
        }
        let at = vec4<u32>(j0 + column * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        let seen$r = (at >= vec4<u32>(keys$r.x)) & (at < vec4<u32>(keys$r.y));
        let ds$r = exp(s$r * p.scale - l$r) * (dp$r - delta$r) * p.scale;
        weights[(mine + $ru) * 9u + column] = select(vec4<f32>(0.0), ds$r, seen$r);
        for (var t0 = 0u; t0 < 32u; t0 += $KEYS$u) {
            workgroupBarrier();
            for (var x = lane; x < $KEYS$u * $V$u; x += $LANES$u) {
                stage[x] = k[min(j0 + t0 + x / $V$u, last - 1u) * p.k_stride + k_at + x % $V$u];
            }
            workgroupBarrier();
            for (var t = 0u; t < $KEYS$u; t += 4u) {
                let w$r = weights[(mine + $ru) * 9u + (t0 + t) / 4u];
                let x$j = t * $V$u + min(column + 8u * $ju, $V$u - 1u);
                dq$r_$j = fma(vec4<f32>(w$r.x), stage[x$j], dq$r_$j);
                dq$r_$j = fma(vec4<f32>(w$r.y), stage[x$j + $V$u], dq$r_$j);
                dq$r_$j = fma(vec4<f32>(w$r.z), stage[x$j + 2u * $V$u], dq$r_$j);
                dq$r_$j = fma(vec4<f32>(w$r.w), stage[x$j + 3u * $V$u], dq$r_$j);
            }
        }
    }
    let i = i0 + mine;
    let at = p.dq_offset + h * $V$u + column;
    if i + $ru < rows && column + 8u * $ju < $V$u { dq[(i + $ru) * p.d_stride + at + 8u * $ju] = dq$r_$j; }
}
