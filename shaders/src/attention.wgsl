// Flash attention (Dao et al. 2022), causal within segments: query i sees the keys first <= j < last of its range.
//   s_ij = scale * q_i . k_j,  L_i = log sum_j exp s_ij,  o_i = sum_j exp(s_ij - L_i) v_j
// q [R, H, S], k and v [*, K, S] inside rows with their own strides and offsets (in vectors of four), range [R] = (first,
// last), o [R, H, S], lse [R, H]. Query head h reads key head h / (H / K). Writes o and lse.
// One invocation: $A$ queries of one head. A template: a line with `$a` stands for one line a query, with `$i` for one a vector
// of a head, with `$l` for one a vector that a lane loads. `$OF(x, i)` is vector i of the loop's row of x: from the lane that
// loaded it where the family has subgroups, whose lanes then walk all their rows together; else each lane loads it.
// Where queries have no keys in common (`Walk::Alone`), an item is one head of a query, and each lane walks its own.
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

@compute @workgroup_size($WIDTH$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let item$a = (tile.y * $A$u + $au) * $WIDTH$u + lane;
    let inside$a = item$a < rows;
    let mine$a = min(item$a, rows - 1u)$ROW$;
    let h = $HEAD$;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let keys$a = range[mine$a];
    let q$a_at = mine$a * p.q_stride + p.q_offset + h * $V$u;
    let q$a_$i = q[q$a_at + $iu] * p.scale;
    var o$a_$i = vec4<f32>(0.0);
    var peak$a = -1e30;
    var sum$a = 0.0;
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
        d$a = fma(q$a_$i, $OF(k, $i), d$a);
        let seen$a = j >= keys$a.x && j < keys$a.y;
        let s$a = select(-1e30, (d$a.x + d$a.y) + (d$a.z + d$a.w), seen$a);
        let top$a = max(peak$a, s$a);
        let shrink$a = exp(peak$a - top$a);
        peak$a = top$a;
        let w$a = select(0.0, exp(s$a - top$a), seen$a);
        sum$a *= shrink$a;
        sum$a += w$a;
        o$a_$i *= shrink$a;
        o$a_$i = fma(vec4<f32>(w$a), $OF(v, $i), o$a_$i);
    }
    if inside$a { o[(mine$a * p.heads + h) * $V$u + $iu] = o$a_$i / sum$a; }
    if inside$a { lse[mine$a * p.heads + h] = peak$a + log(sum$a); }
}
