// Smooth escape count of the Julia set of c over a list of points; the CPU twin is `fractal_kernels::julia` with f32.

struct Params {
    c: vec2<f32>,
    radius: f32,
    max_iter: u32,
    n_points: u32,
    // 1: the smooth count; 0: the number of the first iterate outside.
    smooth_count: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> points: array<vec2<f32>>;
@group(0) @binding(2) var<storage, read_write> field: array<f32>;

@compute @workgroup_size(64, 1, 1)
fn main(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    // Rows of workgroups, since one axis may not hold them all.
    let i = id.y * groups.x * 64u + id.x;
    if i >= params.n_points {
        return;
    }
    var z = points[i];
    let bound = params.radius * params.radius;
    var k = 0u;
    // A NaN point is never inside, as on the CPU.
    while k < params.max_iter && dot(z, z) <= bound {
        z = vec2<f32>(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y) + params.c;
        k += 1u;
    }
    var value = f32(k);
    if params.smooth_count == 1u && k < params.max_iter {
        // log|z| by the larger part, so that far points do not overflow.
        let part = max(abs(z.x), abs(z.y));
        let unit = z / part;
        let log_modulus = log(part) + 0.5 * log(dot(unit, unit));
        value = f32(k) + 1.0 - log2(log_modulus / log(params.radius));
    }
    field[i] = value;
}
