// One level of the pyramid of sums: that of a box is the sum of its four parts, the upper two first.

struct Params {
    // Shape of the cells that are halved.
    rows: u32,
    columns: u32,
    // The boxes of this dispatch.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cells: array<f32>;
@group(0) @binding(2) var<storage, read_write> boxes: array<f32>;

fn mass(row: u32, column: u32) -> f32 {
    if row < params.rows && column < params.columns {
        return cells[row * params.columns + column];
    }
    return 0.0;
}

@compute @workgroup_size(256, 1, 1)
fn halve(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let across = (params.columns + 1u) / 2u;
    let row = i / across * 2u;
    let column = i % across * 2u;
    let top = mass(row, column) + mass(row, column + 1u);
    let bottom = mass(row + 1u, column) + mass(row + 1u, column + 1u);
    boxes[i] = top + bottom;
}
