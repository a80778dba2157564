// One level of the pyramid of occupied boxes: a box is occupied if one of its four parts is.

struct Params {
    // Shape of the cells that are halved.
    rows: u32,
    columns: u32,
    // The boxes of this dispatch.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cells: array<u32>;
@group(0) @binding(2) var<storage, read_write> boxes: array<u32>;

fn occupied(row: u32, column: u32) -> bool {
    return row < params.rows && column < params.columns && cells[row * params.columns + column] != 0u;
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
    let top = occupied(row, column) || occupied(row, column + 1u);
    let bottom = occupied(row + 1u, column) || occupied(row + 1u, column + 1u);
    boxes[i] = select(0u, 1u, top || bottom);
}
