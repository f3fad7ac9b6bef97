// attention.wgsl for GPUs: the same formula, operands and results,
//   s_ij = scale * q_i . k_j,  L_i = log sum_j exp s_ij,  o_i = sum_j exp(s_ij - L_i) v_j
// with neither end of `range` decreasing from row to row. Writes o and lse.
// One workgroup: 32 queries of one head, against 32 keys at a time, as two products. Eight lanes share $R$ queries: of the
// scores each lane computes those of four keys, of o it keeps every eighth vector, at most 16 vectors in all, so that
// registers suffice whatever the head size. Scores pass from one product to the other through workgroup memory, where q,
// k and v are staged in parts. A template: a line with `$r` or `$j` stands for one for each query or vector of a lane.
// Where queries have no keys in common (`Walk::Alone`), a workgroup has the query heads of one row that share a key head.
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
@group(0) @binding(6) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

var<workgroup> stage: array<vec4<f32>, $STAGE$>;
var<workgroup> weights: array<vec4<f32>, 288>; // [32 queries, 8 vectors of keys and one of padding]
var<workgroup> partial: array<f32, 256>; // [32 queries, 8 lanes]

@compute @workgroup_size($LANES$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    $PLACE$
    let mine = lane / 8u * $R$u;
    let column = lane % 8u;
    let q_at = p.q_offset + h * $V$u;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let first = range[i0].x;
    let last = range[min(i0 + $BELOW$, rows - 1u)].y;
    let keys$r = range[$KEYS_OF$];
    var peak$r = -1e30;
    var sum$r = 0.0;
    var o$r_$j = vec4<f32>(0.0);
    for (var j0 = first; j0 < last; j0 += 32u) {
        var s$r = vec4<f32>(0.0);
        for (var d0 = 0u; d0 < $V$u; d0 += $D$u) {
            workgroupBarrier();
            for (var x = lane; x < 32u * $D$u; x += $LANES$u) {
                let row = x / $D$u;
                let d = x % $D$u;
                var own = vec4<f32>(0.0);
                var other = vec4<f32>(0.0);
                if d0 + d < $V$u {
                    own = q[$QUERY$ + q_at + d0 + d];
                    other = k[min(j0 + row, last - 1u) * p.k_stride + k_at + d0 + d];
                }
                // The four keys of a lane are neighbours; staged eight apart, lanes side by side read rows side by side.
                stage[row * $PITCH$u + d] = own;
                stage[(32u + row % 4u * 8u + row / 4u) * $PITCH$u + d] = other;
            }
            workgroupBarrier();
            for (var d = 0u; d < $D$u; d++) {
                let other = (32u + column) * $PITCH$u + d;
                let k0 = stage[other];
                let k1 = stage[other + 8u * $PITCH$u];
                let k2 = stage[other + 16u * $PITCH$u];
                let k3 = stage[other + 24u * $PITCH$u];
                let q$r = stage[(mine + $ru) * $PITCH$u + d];
                s$r += vec4<f32>(dot(q$r, k0), dot(q$r, k1), dot(q$r, k2), dot(q$r, k3));
            }
        }
        let at = vec4<u32>(j0 + column * 4u) + vec4<u32>(0u, 1u, 2u, 3u);
        let seen$r = (at >= vec4<u32>(keys$r.x)) & (at < vec4<u32>(keys$r.y));
        s$r = select(vec4<f32>(-1e30), s$r * p.scale, seen$r);
        partial[(mine + $ru) * 8u + column] = max(max(s$r.x, s$r.y), max(s$r.z, s$r.w));
        workgroupBarrier();
        var top$r = peak$r;
        for (var c = 0u; c < 8u; c++) {
            top$r = max(top$r, partial[(mine + $ru) * 8u + c]);
        }
        let shrink$r = exp(peak$r - top$r);
        let weight$r = select(vec4<f32>(0.0), exp(s$r - top$r), seen$r);
        peak$r = top$r;
        sum$r = fma(sum$r, shrink$r, weight$r.x + weight$r.y + weight$r.z + weight$r.w);
        o$r_$j *= shrink$r;
        weights[(mine + $ru) * 9u + column] = weight$r;
        for (var t0 = 0u; t0 < 32u; t0 += $KEYS$u) {
            workgroupBarrier();
            for (var x = lane; x < $KEYS$u * $V$u; x += $LANES$u) {
                stage[x] = v[min(j0 + t0 + x / $V$u, last - 1u) * p.v_stride + v_at + x % $V$u];
            }
            workgroupBarrier();
            for (var t = 0u; t < $KEYS$u; t += 4u) {
                let w$r = weights[(mine + $ru) * 9u + (t0 + t) / 4u];
                let x$j = t * $V$u + min(column + 8u * $ju, $V$u - 1u);
                o$r_$j = fma(vec4<f32>(w$r.x), stage[x$j], o$r_$j);
                o$r_$j = fma(vec4<f32>(w$r.y), stage[x$j + $V$u], o$r_$j);
                o$r_$j = fma(vec4<f32>(w$r.z), stage[x$j + 2u * $V$u], o$r_$j);
                o$r_$j = fma(vec4<f32>(w$r.w), stage[x$j + 3u * $V$u], o$r_$j);
            }
        }
    }
    workgroupBarrier();
    partial[(mine + $ru) * 8u + column] = sum$r;
    workgroupBarrier();
    // The lanes of a query add their sums in one order.
    var total$r = 0.0;
    for (var c = 0u; c < 8u; c++) {
        total$r += partial[(mine + $ru) * 8u + c];
    }
    let inside$r = $INSIDE$;
    let at$r = $AT$;
    if inside$r && column + 8u * $ju < $V$u { o[at$r * $V$u + column + 8u * $ju] = o$r_$j / total$r; }
    if inside$r && column == 0u { lse[at$r] = peak$r + log(total$r); }
}
