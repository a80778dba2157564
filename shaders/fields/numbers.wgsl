// Complex numbers, and tests for values that a compiler may take for granted are not there.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn is_infinite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) == 0x7f800000u;
}

fn any_nan(z: vec2<f32>) -> bool {
    return is_nan(z.x) || is_nan(z.y);
}

fn largest(z: vec2<f32>) -> f32 {
    return max(abs(z.x), abs(z.y));
}

fn squared(z: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(z.x * z.x - z.y * z.y, 2.0 * z.x * z.y);
}
