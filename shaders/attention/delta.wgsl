// Of each query the dot product of output and its gradient, less the gradient of its log-sum-exp.

@group(0) @binding(1) var<storage, read_write> scalars: array<f32>;
@group(0) @binding(2) var<storage, read> out: array<Packed>;
@group(0) @binding(3) var<storage, read> dout: array<Packed>;

@compute @workgroup_size(64, 1, 1)
fn delta(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.groups {
        return;
    }
    let query = params.first_group + i;
    var sum = 0.0;
    for (var d = 0u; d < params.dv4; d += 1u) {
        sum += dot(widen(dout[query * params.dv4 + d]), widen(out[query * params.dv4 + d]));
    }
    if params.dlse_at != NONE {
        sum -= scalars[params.dlse_at + query];
    }
    scalars[params.delta_at + query] = sum;
}
