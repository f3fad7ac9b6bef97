// Flash attention (Dao et al. 2022), causal within segments: query i sees the keys first <= j < last of its range.
//   s_ij = scale * q_i . k_j,  L_i = log sum_j exp s_ij,  o_i = sum_j exp(s_ij - L_i) v_j
// q [R, H, S], k and v [*, K, S] inside rows with their own strides and offsets (in vectors of four), range [R] = (first,
// last), o [R, H, S], lse [R, H]. Query head h reads key head h / (H / K). Writes o and lse.
// One invocation: one query of one head.
// A template: a line with `$i` stands for S / 4 lines, one a vector; with `$j` for $J$ lines, one a key; with `$l` for as many
// lines as a lane loads vectors. `$OF(x, j, i)` is vector i of row j of x: broadcast by the lane that loaded it, where the family
// has subgroups, which then take their rows together (`lowest`, `highest`), else loaded by each lane.
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
    let i = min(tile.y * $WIDTH$u + lane, rows - 1u);
    let q_at = i * p.q_stride + p.q_offset + h * $V$u;
    let k_at = p.k_offset + h / p.group * $V$u;
    let v_at = p.v_offset + h / p.group * $V$u;
    let q$i = q[q_at + $iu] * p.scale;
    var o$i = vec4<f32>(0.0);
    var peak = -1e30;
    var sum = 0.0;
    let keys = range[i];
    let last = $HIGHEST$(keys.y);
    for (var j = $LOWEST$(keys.x); j < last; j += $J$u) {
        let key$j = min(j + $ju, last - 1u);
        let kj$j = key$j * p.k_stride + k_at;
        let vj$j = key$j * p.v_stride + v_at;
        let k_$j_$l = k[kj$j + $LOADED$];
        let v_$j_$l = v[vj$j + $LOADED$];
        var d$j = vec4<f32>(0.0);
        d$j = fma(q$i, $OF(k, $j, $i), d$j);
        let seen$j = j + $ju >= keys.x && j + $ju < keys.y;
        let s$j = select(-1e30, (d$j.x + d$j.y) + (d$j.z + d$j.w), seen$j);
        var top = peak;
        top = max(top, s$j);
        let shrink = exp(peak - top);
        peak = top;
        let w$j = select(0.0, exp(s$j - top), seen$j);
        sum *= shrink;
        sum += w$j;
        o$i *= shrink;
        o$i = fma(vec4<f32>(w$j), $OF(v, $j, $i), o$i);
    }
    if tile.y * $WIDTH$u + lane >= rows {
        return;
    }
    let at = (i * p.heads + h) * $V$u;
    o[at + $iu] = o$i / sum;
    lse[i * p.heads + h] = peak + log(sum);
}
