// Four values of a tensor as they are stored: IEEE half precision, two in a word. No adapter needs `f16` for it.

alias Packed = vec2<u32>;

fn widen(x: Packed) -> vec4<f32> {
    return vec4<f32>(unpack2x16float(x.x), unpack2x16float(x.y));
}

fn narrow(x: vec4<f32>) -> Packed {
    return vec2<u32>(pack2x16float(x.xy), pack2x16float(x.zw));
}
