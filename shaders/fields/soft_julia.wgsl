// The soft Julia field: the sum of the survivals.

@group(0) @binding(2) var<storage, read_write> field: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn value(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 64u + local;
    if i >= params.end {
        return;
    }
    var z = points[i];
    if any_nan(z) {
        field[i] = z.x + z.y;
        return;
    }
    let most = bound() * bound();
    var survival = 1.0;
    var sum = 0.0;
    for (var k = 0u; k < params.max_iter; k++) {
        let square = dot(z, z);
        if !(square <= most) {
            break;
        }
        survival *= 1.0 / (1.0 + odds_at(sqrt(square)));
        if survival == 0.0 {
            break;
        }
        sum += survival;
        z = squared(z) + params.c;
    }
    field[i] = sum;
}
