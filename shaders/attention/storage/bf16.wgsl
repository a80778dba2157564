// Four values of a tensor as they are stored: the upper halves of 32-bit floats, two in a word.

alias Packed = vec2<u32>;

fn widen(x: Packed) -> vec4<f32> {
    return bitcast<vec4<f32>>(vec4<u32>(x.x << 16u, x.x & 0xffff0000u, x.y << 16u, x.y & 0xffff0000u));
}

// The upper half of a float, rounded to the nearest, ties to even; a NaN stays one.
fn upper(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let rounded = (bits + 0x7fffu + ((bits >> 16u) & 1u)) >> 16u;
    return select(rounded, (bits >> 16u) | 0x40u, (bits & 0x7fffffffu) > 0x7f800000u);
}

fn narrow(x: vec4<f32>) -> Packed {
    return vec2<u32>(upper(x.x) | (upper(x.y) << 16u), upper(x.z) | (upper(x.w) << 16u));
}
