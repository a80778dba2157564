// Four values of a tensor as they are stored: 32 bits each.

alias Packed = vec4<f32>;

fn widen(x: Packed) -> vec4<f32> {
    return x;
}

fn narrow(x: vec4<f32>) -> Packed {
    return x;
}
