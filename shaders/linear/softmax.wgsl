// Softmax of rows. A value of minus infinity has weight 0, and so has every value of a row that has no other; NaN and
// plus infinity make their row NaN.

struct Params {
    columns: u32,
    // The rows of this dispatch.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;

// What is taken from all values of a row: its largest one, unless that is minus infinity.
fn shift_of(largest: f32) -> f32 {
    return select(largest, 0.0, bitcast<u32>(largest) == 0xff800000u);
}

fn scale_of(sum: f32) -> f32 {
    return select(1.0 / sum, 0.0, sum == 0.0);
}

// An invocation a row, without barriers, for adapters that compute on the CPU.
@compute @workgroup_size(64, 1, 1)
fn by_invocation(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let row = params.first + group_number(group, groups) * 64u + local;
    if row >= params.end {
        return;
    }
    let at = row * params.columns;
    var largest = values[at];
    for (var j = 1u; j < params.columns; j++) {
        largest = max(largest, values[at + j]);
    }
    let shift = shift_of(largest);
    var sum = 0.0;
    for (var j = 0u; j < params.columns; j++) {
        let weight = exp(values[at + j] - shift);
        weights[at + j] = weight;
        sum += weight;
    }
    let scale = scale_of(sum);
    for (var j = 0u; j < params.columns; j++) {
        weights[at + j] *= scale;
    }
}

const WORKGROUP = 256u;
var<workgroup> shared_values: array<f32, WORKGROUP>;

// A workgroup a row.
@compute @workgroup_size(WORKGROUP, 1, 1)
fn by_workgroup(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    // Groups past the last row go along with it up to the last barrier.
    let number = params.first + group_number(group, groups);
    let at = min(number, params.end - 1u) * params.columns;
    var largest = values[at];
    for (var j = local; j < params.columns; j += WORKGROUP) {
        largest = max(largest, values[at + j]);
    }
    shared_values[local] = largest;
    for (var reach = WORKGROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            shared_values[local] = max(shared_values[local], shared_values[local + reach]);
        }
    }
    workgroupBarrier();
    let shift = shift_of(shared_values[0]);
    workgroupBarrier();
    var sum = 0.0;
    for (var j = local; j < params.columns; j += WORKGROUP) {
        sum += exp(values[at + j] - shift);
    }
    shared_values[local] = sum;
    for (var reach = WORKGROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            shared_values[local] += shared_values[local + reach];
        }
    }
    workgroupBarrier();
    let scale = scale_of(shared_values[0]);
    if number < params.end {
        for (var j = local; j < params.columns; j += WORKGROUP) {
            weights[at + j] = exp(values[at + j] - shift) * scale;
        }
    }
}
