// attention_backward_kv.wgsl for GPUs: the same formula, operands and results,
//   dv_j = sum_i p_ij do_i,   dk_j = scale * sum_i p_ij (do_i . v_j - delta_i) q_i
// with neither end of `range` decreasing from row to row. Writes dk and dv.
// One workgroup: 32 keys of one key head, against 32 queries of one of its query heads at a time; see
// attention_tiled.wgsl, also for the template.
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

var<workgroup> stage: array<vec4<f32>, $STAGE$>;
var<workgroup> weights: array<vec4<f32>, 288>; // [32 keys, 8 vectors of queries and one of padding]

@compute @workgroup_size($LANES$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = p.first_head + tile.x;
    let j0 = tile.y * 32u;
    let mine = lane / 8u * $R$u;
    let column = lane % 8u;
    let k_at = p.k_offset + h * $V$u;
    let v_at = p.v_offset + h * $V$u;
    let first = range[j0].x;
    let last = range[min(j0 + 31u, rows - 1u)].y;
    let queries$r = range[min(j0 + mine + $ru, rows - 1u)];
    var dk$r_$j = vec4<f32>(0.0);
    var dv$r_$j = vec4<f32>(0.0);
    for (var g = 0u; g < p.group; g++) {
        let head = h * p.group + g;
        let q_at = p.q_offset + head * $V$u;
        for (var i0 = first; i0 < last; i0 += 32u) {
            var s$r = vec4<f32>(0.0);
            var dp$r = vec4<f32>(0.0);
            for (var d0 = 0u; d0 < $V$u; d0 += $D$u) {
                workgroupBarrier();
                for (var x = lane; x < 32u * $D$u; x += $LANES$u) {
                    let row = x / $D$u;
                    let d = x % $D$u;
                    var own = vec4<f32>(0.0);
                    var own_v = vec4<f32>(0.0);
                    var other = vec4<f32>(0.0);
                    var other_d = vec4<f32>(0.0);
                    if d0 + d < $V$u {
                        let i = min(i0 + row, last - 1u);
                        let j = min(j0 + row, rows - 1u);
                        own = k[j * p.k_stride + k_at + d0 + d];
                        own_v = v[j * p.v_stride + v_at + d0 + d];
                        other = q[i * p.q_stride + q_at + d0 + d];
                        other_d = d_o[(i * p.heads + head) * $V$u + d0 + d];
                    }
                    let place = row % 4u * 8u + row / 4u;
                    stage[row * $PITCH$u + d] = own;
                    stage[(32u + row) * $PITCH$u + d] = own_v;
                    stage[(64u + place) * $PITCH$u + d] = other;
                    stage[(96u + place) * $PITCH$u + d] = other_d;
                }
                workgroupBarrier();
                for (var d = 0u; d < $D$u; d++) {
                    let other = (64u + column) * $PITCH$u + d;
                    let q0 = stage[other];
                    let q1 = stage[other + 8u * $PITCH$u];
                    let q2 = stage[other + 16u * $PITCH$u];
                    let q3 = stage[other + 24u * $PITCH$u];
                    let do0 = stage[other + 32u * $PITCH$u];
                    let do1 = stage[other + 40u * $PITCH$u];
                    let do2 = stage[other + 48u * $PITCH$u];
                    let do3 = stage[other + 56u * $PITCH$u];
                    let k$r = stage[(mine + $ru) * $PITCH$u + d];
                    let v$r = stage[(32u + mine + $ru) * $PITCH$u + d];
                    s$r += vec4<f32>(dot(k$r, q0), dot(k$r, q1), dot(k$r, q2), dot(k$r, q3));
                    dp$r += vec4<f32>(dot(v$r, do0), dot(v$r, do1), dot(v$r, do2), dot(v$r, do3));
                }
            }
            let at = vec4<u32>(i0 + column * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
            let i = min(at, vec4<u32>(last - 1u)) * p.heads + head;
            let l = vec4<f32>(lse_delta[i.x], lse_delta[i.y], lse_delta[i.z], lse_delta[i.w]);
            let n = i + p.delta_offset;
            let delta = vec4<f32>(lse_delta[n.x], lse_delta[n.y], lse_delta[n.z], lse_delta[n.w]);
            let seen$r = (at >= vec4<u32>(queries$r.x)) & (at < vec4<u32>(queries$r.y));
            let p$r = select(vec4<f32>(0.0), exp(s$r * p.scale - l), seen$r);
            weights[(mine + $ru) * 9u + column] = p$r;
            for (var t0 = 0u; t0 < 32u; t0 += $KEYS$u) {
                workgroupBarrier();
                for (var x = lane; x < $KEYS$u * $V$u; x += $LANES$u) {
                    let i = min(i0 + t0 + x / $V$u, last - 1u);
                    stage[x] = d_o[(i * p.heads + head) * $V$u + x % $V$u];
                }
                workgroupBarrier();
                for (var t = 0u; t < $KEYS$u; t += 4u) {
                    let w$r = weights[(mine + $ru) * 9u + (t0 + t) / 4u];
                    let x$j = t * $V$u + min(column + 8u * $ju, $V$u - 1u);
                    dv$r_$j = fma(vec4<f32>(w$r.x), stage[x$j], dv$r_$j);
                    dv$r_$j = fma(vec4<f32>(w$r.y), stage[x$j + $V$u], dv$r_$j);
                    dv$r_$j = fma(vec4<f32>(w$r.z), stage[x$j + 2u * $V$u], dv$r_$j);
                    dv$r_$j = fma(vec4<f32>(w$r.w), stage[x$j + 3u * $V$u], dv$r_$j);
                }
            }
            workgroupBarrier();
            weights[(mine + $ru) * 9u + column] = p$r * (dp$r - delta) * p.scale;
            for (var t0 = 0u; t0 < 32u; t0 += $KEYS$u) {
                workgroupBarrier();
                for (var x = lane; x < $KEYS$u * $V$u; x += $LANES$u) {
                    let i = min(i0 + t0 + x / $V$u, last - 1u);
                    stage[x] = q[i * p.q_stride + q_at + x % $V$u];
                }
                workgroupBarrier();
                for (var t = 0u; t < $KEYS$u; t += 4u) {
                    let w$r = weights[(mine + $ru) * 9u + (t0 + t) / 4u];
                    let x$j = t * $V$u + min(column + 8u * $ju, $V$u - 1u);
                    dk$r_$j = fma(vec4<f32>(w$r.x), stage[x$j], dk$r_$j);
                    dk$r_$j = fma(vec4<f32>(w$r.y), stage[x$j + $V$u], dk$r_$j);
                    dk$r_$j = fma(vec4<f32>(w$r.z), stage[x$j + 2u * $V$u], dk$r_$j);
                    dk$r_$j = fma(vec4<f32>(w$r.w), stage[x$j + 3u * $V$u], dk$r_$j);
                }
            }
        }
    }
    let j = j0 + mine;
    let at = h * $V$u + column;
    if j + $ru < rows && column + 8u * $ju < $V$u { dkv[(j + $ru) * p.d_stride + p.dk_offset + at + 8u * $ju] = dk$r_$j; }
    if j + $ru < rows && column + 8u * $ju < $V$u { dkv[(j + $ru) * p.d_stride + p.dv_offset + at + 8u * $ju] = dv$r_$j; }
}
