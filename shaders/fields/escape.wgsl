// Escape counts of z -> z^2 + c: smooth ones, or the number of the first iterate outside of a disc.

struct Params {
    c_re: f32,
    c_im: f32,
    radius: f32,
    max_iter: u32,
    // The points of this dispatch.
    first: u32,
    end: u32,
    smooth_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> points: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> field: array<f32>;

// log_R |z|, also where the square of |z| overflows.
fn log_modulus(z: vec2<f32>) -> f32 {
    let scale = largest(z);
    if is_infinite(scale) {
        return scale;
    }
    let unit = z / scale;
    return (log2(scale) + 0.5 * log2(dot(unit, unit))) / log2(params.radius);
}

fn escape_count(start: vec2<f32>, c: vec2<f32>) -> f32 {
    let bound = params.radius * params.radius;
    var z = start;
    var k = 0u;
    while k < params.max_iter && dot(z, z) <= bound {
        z = squared(z) + c;
        k += 1u;
    }
    if params.smooth_count == 0u || k == params.max_iter {
        return f32(k);
    }
    // Just outside of the disc roundings must not make the logarithm smaller than 1.
    return f32(k) + 1.0 - log2(max(log_modulus(z), 1.0));
}

@compute @workgroup_size(64, 1, 1)
fn julia(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 64u + local;
    if i >= params.end {
        return;
    }
    let p = points[i];
    if any_nan(p) {
        field[i] = p.x + p.y;
    } else {
        field[i] = escape_count(p, vec2<f32>(params.c_re, params.c_im));
    }
}

@compute @workgroup_size(64, 1, 1)
fn mandelbrot(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 64u + local;
    if i >= params.end {
        return;
    }
    let p = points[i];
    if any_nan(p) {
        field[i] = p.x + p.y;
    } else {
        field[i] = escape_count(vec2<f32>(0.0), p);
    }
}
