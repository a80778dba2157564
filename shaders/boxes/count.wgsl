// How many cells are occupied. Counts are whole numbers: the order in which workgroups add theirs makes no difference.

struct Params {
    // The cells of this dispatch.
    first: u32,
    end: u32,
    // Where their count goes.
    level: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> cells: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;

const WORKGROUP = 256u;
const CELLS = 16u;
var<workgroup> sums: array<u32, WORKGROUP>;

@compute @workgroup_size(WORKGROUP, 1, 1)
fn count(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let start = params.first + group_number(group, groups) * WORKGROUP * CELLS + local;
    var sum = 0u;
    for (var cell = 0u; cell < CELLS; cell++) {
        let i = start + cell * WORKGROUP;
        if i < params.end {
            sum += select(0u, 1u, cells[i] != 0u);
        }
    }
    sums[local] = sum;
    for (var reach = WORKGROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            sums[local] += sums[local + reach];
        }
    }
    if local == 0u {
        atomicAdd(&counts[params.level], sums[0]);
    }
}
