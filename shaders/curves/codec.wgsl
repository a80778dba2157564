// Codes of points and points of codes, by what the curve does to the coordinates.

@compute @workgroup_size(256, 1, 1)
fn encode2(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let p = point2(i);
    if max(p.x, p.y) > low_bits(params.order) {
        put_code(i, vec2<u32>(NOWHERE));
    } else {
        put_code(i, interleave2(place2(p)));
    }
}

@compute @workgroup_size(256, 1, 1)
fn encode3(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let p = point3(i);
    if max(max(p.x, p.y), p.z) > low_bits(params.order) {
        put_code(i, vec2<u32>(NOWHERE));
    } else {
        put_code(i, interleave3(place3(p)));
    }
}

@compute @workgroup_size(256, 1, 1)
fn decode2(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let code = code_at(i);
    if fits(code, 2u * params.order) {
        put_point2(i, point_of_place2(deinterleave2(code)));
    } else {
        put_point2(i, vec2<u32>(NOWHERE));
    }
}

@compute @workgroup_size(256, 1, 1)
fn decode3(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let code = code_at(i);
    if fits(code, 3u * params.order) {
        put_point3(i, point_of_place3(deinterleave3(code)));
    } else {
        put_point3(i, vec3<u32>(NOWHERE));
    }
}
