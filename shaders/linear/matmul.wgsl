// Product of two matrices, a tile of the result at a time.

struct Params {
    // Columns of the right matrix.
    columns: u32,
    // Columns of the left matrix, and which of them meet the rows of this stretch of the right one.
    stride: u32,
    inner_first: u32,
    inner: u32,
    // The rows of this dispatch.
    first: u32,
    end: u32,
    // 1: the product is added to what is there.
    accumulate: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> result: array<f32>;

// First row and column of a tile; tiles run along the rows.
fn corner(tile: u32, side: u32) -> vec2<u32> {
    let across = (params.columns + side - 1u) / side;
    return vec2<u32>(params.first + tile / across * side, tile % across * side);
}

fn left_at(row: u32, k: u32) -> f32 {
    if row < params.end && k < params.inner {
        return left[row * params.stride + params.inner_first + k];
    }
    return 0.0;
}

fn right_at(k: u32, column: u32) -> f32 {
    if k < params.inner && column < params.columns {
        return right[k * params.columns + column];
    }
    return 0.0;
}

fn put(row: u32, column: u32, sum: f32) {
    if row < params.end && column < params.columns {
        let i = row * params.columns + column;
        if params.accumulate == 1u {
            result[i] += sum;
        } else {
            result[i] = sum;
        }
    }
}

fn put4(row: u32, column: u32, sums: vec4<f32>) {
    put(row, column, sums.x);
    put(row, column + 1u, sums.y);
    put(row, column + 2u, sums.z);
    put(row, column + 3u, sums.w);
}

// Four rows and columns an invocation, from memory: no barriers, for adapters that compute on the CPU.
@compute @workgroup_size(8, 8, 1)
fn registers(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let at = corner(group_number(group, groups), 32u) + 4u * local.yx;
    if at.x >= params.end || at.y >= params.columns {
        return;
    }
    // Past the edge the last row and column stand in, whose sums go nowhere.
    let rows = min(vec4<u32>(at.x) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.end - 1u));
    let lefts = rows * params.stride + params.inner_first;
    let rights = min(vec4<u32>(at.y) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.columns - 1u));
    var row0 = vec4<f32>(0.0);
    var row1 = vec4<f32>(0.0);
    var row2 = vec4<f32>(0.0);
    var row3 = vec4<f32>(0.0);
    for (var k = 0u; k < params.inner; k++) {
        let i = k * params.columns + rights;
        let r = vec4<f32>(right[i.x], right[i.y], right[i.z], right[i.w]);
        row0 += left[lefts.x + k] * r;
        row1 += left[lefts.y + k] * r;
        row2 += left[lefts.z + k] * r;
        row3 += left[lefts.w + k] * r;
    }
    put4(at.x, at.y, row0);
    put4(at.x + 1u, at.y, row1);
    put4(at.x + 2u, at.y, row2);
    put4(at.x + 3u, at.y, row3);
}

const SIDE = 64u;
const DEPTH = 16u;
var<workgroup> left_tile: array<array<f32, SIDE>, DEPTH>;
var<workgroup> right_tile: array<array<f32, SIDE>, DEPTH>;

// Tiles of 64 by 64 through workgroup memory, 16 of the inner dimension at a time.
@compute @workgroup_size(16, 16, 1)
fn tiles(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let tile = corner(group_number(group, groups), SIDE);
    var row0 = vec4<f32>(0.0);
    var row1 = vec4<f32>(0.0);
    var row2 = vec4<f32>(0.0);
    var row3 = vec4<f32>(0.0);
    for (var start = 0u; start < params.inner; start += DEPTH) {
        for (var i = index; i < SIDE * DEPTH; i += 256u) {
            left_tile[i % DEPTH][i / DEPTH] = left_at(tile.x + i / DEPTH, start + i % DEPTH);
            right_tile[i / SIDE][i % SIDE] = right_at(start + i / SIDE, tile.y + i % SIDE);
        }
        workgroupBarrier();
        for (var k = 0u; k < DEPTH; k++) {
            let x = 4u * local.x;
            let y = 4u * local.y;
            let r = vec4<f32>(right_tile[k][x], right_tile[k][x + 1u], right_tile[k][x + 2u], right_tile[k][x + 3u]);
            row0 += left_tile[k][y] * r;
            row1 += left_tile[k][y + 1u] * r;
            row2 += left_tile[k][y + 2u] * r;
            row3 += left_tile[k][y + 3u] * r;
        }
        workgroupBarrier();
    }
    let at = tile + 4u * local.yx;
    put4(at.x, at.y, row0);
    put4(at.x + 1u, at.y, row1);
    put4(at.x + 2u, at.y, row2);
    put4(at.x + 3u, at.y, row3);
}
