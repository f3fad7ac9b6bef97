// d_table[id, :] += sum over the rows t that hold the token id of scale * dy[t, :], in the order of t, for the ids of one chunk of
// the vocabulary. The batch carries its distinct tokens: `distinct[u]` = (id, first place in `order`, one past the last),
// and `order` [R], the rows sorted by token. dy [R, C], d_table [count, C]. Adds to d_table.
// One invocation: four numbers of one token.
struct Params {
    first: u32,
    count: u32,
    width4: u32, // C / 4
    scale: f32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // distinct tokens * C / 4
@group(0) @binding(2) var<storage, read> distinct: array<u32>;
@group(0) @binding(3) var<storage, read> order: array<u32>;
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;
@group(0) @binding(5) var<storage, read_write> d_table: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let u = i / p.width4;
    let column = i % p.width4;
    let id = distinct[3u * u];
    if id < p.first || id - p.first >= p.count {
        return;
    }
    let at = (id - p.first) * p.width4 + column;
    var sum = d_table[at];
    for (var k = distinct[3u * u + 1u]; k < distinct[3u * u + 2u]; k++) {
        sum += p.scale * dy[order[k] * p.width4 + column];
    }
    d_table[at] = sum;
}
