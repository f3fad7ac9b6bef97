// Rows moved by index. Gather: y[i, :] = x[index[i], :], zero where index[i] is 0xffffffff. Scatter: y[index[i], :] = x[i, :].
// Each side with its own stride and column offset, `width` numbers a row. Writes y. One invocation: four numbers.
override SCATTER: bool = false;

struct Params {
    width4: u32,
    x_stride4: u32,
    x_offset4: u32,
    y_stride4: u32,
    y_offset4: u32,
    first: u32, // place in `index` of the first row moved
}
@group(0) @binding(0) var<uniform> p: Params;
@group(0) @binding(1) var<uniform> rows: u32; // rows moved * width / 4
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let i = (group.y * groups.x + group.x) * 64u + lane;
    if i >= rows {
        return;
    }
    let row = i / p.width4;
    let column = i % p.width4;
    let other = index[p.first + row];
    if SCATTER {
        y[other * p.y_stride4 + p.y_offset4 + column] = x[row * p.x_stride4 + p.x_offset4 + column];
    } else if other == 0xffffffffu {
        y[row * p.y_stride4 + p.y_offset4 + column] = vec4<f32>(0.0);
    } else {
        y[row * p.y_stride4 + p.y_offset4 + column] = x[other * p.x_stride4 + p.x_offset4 + column];
    }
}
