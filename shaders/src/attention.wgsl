// Flash attention (Dao et al. 2022), causal within segments: query i sees the keys first <= j < last of its range.
//   s_ij = scale * q_i . k_j,  L_i = log sum_j exp s_ij,  o_i = sum_j exp(s_ij - L_i) v_j
// q [R, H, S], k and v [*, K, S] inside rows with their own strides and offsets (in vectors of four), range [R] = (first,
// last), o [R, H, S], lse [R, H]. Query head h reads key head h / (H / K). Writes o and lse.
// One invocation: $A$ queries of one head. A template: a line with `$a` stands for one line a query, with `$j` for one a key of
// those that are loaded together, with `$i` for one a vector of a head, with `$l` for one a vector that a lane loads.
// `$OF(x, j, i)` is vector i of row j of x: from the lane that loaded it where the family has subgroups, whose lanes then walk all
// their rows together; else each lane loads it.
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
@group(0) @binding(6) var<storage, read_write> o: array<vec4<f32>>;
@group(0) @binding(7) var<storage, read_write> lse: array<f32>;

@compute @workgroup_size($WIDTH$)
fn main(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let h = tile.x;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let i$a = (tile.y * $A$u + $au) * $WIDTH$u + lane;
    let mine$a = min(i$a, rows - 1u);
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
    for (var j = $LOWEST$(first); j < last; j += $J$u) {
        let key$j = min(j + $ju, last - 1u);
        let kj$j = key$j * p.k_stride + k_at;
        let vj$j = key$j * p.v_stride + v_at;
        let k_$j_$l = k[kj$j + $LOADED$];
        let v_$j_$l = v[vj$j + $LOADED$];
        var d$a_$j = vec4<f32>(0.0);
        d$a_$j = fma(q$a_$i, $OF(k, $j, $i), d$a_$j);
        let seen$a_$j = j + $ju >= keys$a.x && j + $ju < keys$a.y;
        let s$a_$j = select(-1e30, (d$a_$j.x + d$a_$j.y) + (d$a_$j.z + d$a_$j.w), seen$a_$j);
        var top$a = peak$a;
        top$a = max(top$a, s$a_$j);
        let shrink$a = exp(peak$a - top$a);
        peak$a = top$a;
        let w$a_$j = select(0.0, exp(s$a_$j - top$a), seen$a_$j);
        sum$a *= shrink$a;
        sum$a += w$a_$j;
        o$a_$i *= shrink$a;
        o$a_$i = fma(vec4<f32>(w$a_$j), $OF(v, $j, $i), o$a_$i);
    }
    if i$a < rows { o[(i$a * p.heads + h) * $V$u + $iu] = o$a_$i / sum$a; }
    if i$a < rows { lse[i$a * p.heads + h] = peak$a + log(sum$a); }
}
