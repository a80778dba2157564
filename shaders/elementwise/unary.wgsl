// Activations.

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> values: array<f32>;
@group(0) @binding(2) var<storage, read_write> result: array<f32>;

// Workgroups lie in rows, since one axis may not hold them all.
fn place(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.y * groups.x * 256u + id.x;
}

@compute @workgroup_size(256, 1, 1)
fn relu(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = place(id, groups);
    if i < params.n {
        let x = values[i];
        // Not `max`, which may lose a NaN.
        result[i] = select(x, 0.0, x < 0.0);
    }
}

// The complementary error function of z >= 0, to 7e-7 of its value: t exp(p(t) - z^2) with t = 1 / (1 + z/2). The
// polynomial is a Chebyshev fit, the same as in the twin.
fn erfc(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.5 * z);
    var p = -0.188451256;
    p = p * t + 0.75412425;
    p = p * t - 1.0049527;
    p = p * t + 0.352873231;
    p = p * t - 0.040865868;
    p = p * t + 0.39417261;
    p = p * t + 0.998576941;
    p = p * t - 1.26547794;
    return t * exp(p - z * z);
}

@compute @workgroup_size(256, 1, 1)
fn gelu(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = place(id, groups);
    if i < params.n {
        let x = values[i];
        let tail = erfc(abs(x) * 0.70710678);
        result[i] = 0.5 * x * select(2.0 - tail, tail, x < 0.0);
    }
}
