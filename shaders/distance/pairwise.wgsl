// Distances between the points of two lists.

struct Params {
    // Coordinates of a point.
    dimension: u32,
    // Length of the right list, and where this stretch of it begins and how long it is.
    width: u32,
    column_first: u32,
    columns: u32,
    // The left points of this dispatch.
    first: u32,
    end: u32,
    // Root of minus the curvature.
    root: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> left: array<f32>;
@group(0) @binding(2) var<storage, read> right: array<f32>;
@group(0) @binding(3) var<storage, read_write> distances: array<f32>;

// Which points an invocation is for.
fn pair(number: u32) -> vec2<u32> {
    return vec2<u32>(params.first + number / params.columns, number % params.columns);
}

fn put(at: vec2<u32>, distance: f32) {
    distances[at.x * params.width + params.column_first + at.y] = distance;
}

@compute @workgroup_size(256, 1, 1)
fn euclidean(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = pair(group_number(group, groups) * 256u + local);
    if at.x >= params.end {
        return;
    }
    var square = 0.0;
    for (var j = 0u; j < params.dimension; j++) {
        let difference = left[at.x * params.dimension + j] - right[at.y * params.dimension + j];
        square += difference * difference;
    }
    put(at, sqrt(square));
}

// Of x >= 0, also where it is small: there by its series.
fn asinh_of(x: f32) -> f32 {
    if x < 0.125 {
        let s = x * x;
        return x * (1.0 + s * (-1.0 / 6.0 + s * (3.0 / 40.0 + s * (-15.0 / 336.0))));
    }
    return log(x + sqrt(x * x + 1.0));
}

// Points of the hyperboloid by their spatial part s, with sinh(r) = root |s| for the distance r / root from the origin:
// sinh^2(d / 2) = sinh^2((r1 - r2) / 2) + sinh(r1) sinh(r2) |u1 - u2|^2 / 4 with the unit vectors u. No term is negative.
@compute @workgroup_size(256, 1, 1)
fn hyperbolic(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let at = pair(group_number(group, groups) * 256u + local);
    if at.x >= params.end {
        return;
    }
    let left_at = at.x * params.dimension;
    let right_at = at.y * params.dimension;
    var left_square = 0.0;
    var right_square = 0.0;
    for (var j = 0u; j < params.dimension; j++) {
        left_square += left[left_at + j] * left[left_at + j];
        right_square += right[right_at + j] * right[right_at + j];
    }
    let left_norm = sqrt(left_square);
    let right_norm = sqrt(right_square);
    // The origin has no direction, and needs none: its sinh is 0.
    let left_unit = select(1.0 / left_norm, 0.0, left_norm == 0.0);
    let right_unit = select(1.0 / right_norm, 0.0, right_norm == 0.0);
    var chord = 0.0;
    for (var j = 0u; j < params.dimension; j++) {
        let difference = left[left_at + j] * left_unit - right[right_at + j] * right_unit;
        chord += difference * difference;
    }
    let a = params.root * left_norm;
    let b = params.root * right_norm;
    // sinh(r1 - r2) = (a^2 - b^2) / (a cosh(r2) + b cosh(r1)), and sinh^2(x / 2) = sinh^2(x) / (2 + 2 cosh(x)).
    let both = a * sqrt(1.0 + b * b) + b * sqrt(1.0 + a * a);
    let across = select((a - b) * ((a + b) / both), 0.0, both == 0.0);
    let radial = across * across / (2.0 + 2.0 * sqrt(1.0 + across * across));
    put(at, 2.0 / params.root * asinh_of(sqrt(radial + a * b * chord * 0.25)));
}
