// For each row of x:  y = the place of its largest number, the first of equals.
// x [rows, width] in rows of `stride` (a multiple of 4), y [rows]. Writes y. LANES invocations share a row, a workgroup holds
// ROWS rows.
override LANES: u32 = 64;
override ROWS: u32 = 1;

struct Params {
    width: u32,
    stride4: u32,
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32;
@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

const LOWEST = -3.0e38;
var<workgroup> largest: array<f32, 256>;
var<workgroup> place: array<u32, 256>;

@compute @workgroup_size(LANES, ROWS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_id) id: vec3<u32>) {
    let row = (group.y * groups.x + group.x) * ROWS + id.y;
    let at = min(row, rows - 1u) * p.stride4;
    let mine = id.y * LANES + id.x;

    // Of each of the four columns of a vector the first of its largest.
    var top = vec4<f32>(LOWEST);
    var top_at = vec4<u32>(0u);
    for (var c = id.x; 4u * c < p.width; c += LANES) {
        let column = vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u);
        let v = select(vec4<f32>(LOWEST), x[at + c], column < vec4<u32>(p.width));
        top_at = select(top_at, column, v > top);
        top = max(top, v);
    }
    largest[mine] = top.x;
    place[mine] = top_at.x;
    for (var k = 1u; k < 4u; k++) {
        if top[k] > largest[mine] || (top[k] == largest[mine] && top_at[k] < place[mine]) {
            largest[mine] = top[k];
            place[mine] = top_at[k];
        }
    }
    workgroupBarrier();
    for (var half = LANES / 2u; half > 0u; half >>= 1u) {
        if id.x < half {
            let other = mine + half;
            if largest[other] > largest[mine] || (largest[other] == largest[mine] && place[other] < place[mine]) {
                largest[mine] = largest[other];
                place[mine] = place[other];
            }
        }
        workgroupBarrier();
    }
    if id.x == 0u && row < rows {
        y[row] = place[mine];
    }
}
