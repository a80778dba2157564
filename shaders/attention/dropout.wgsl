// Dropout from a counter, the same draws as on the CPU. 64-bit numbers are two words, the lower one first.

fn multiplied(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    // The upper half of a.x * b.x by halves of words.
    let low = vec2<u32>(a.x & 0xffffu, b.x & 0xffffu);
    let high = vec2<u32>(a.x >> 16u, b.x >> 16u);
    let first = low.x * low.y;
    let second = high.x * low.y + (first >> 16u);
    let third = low.x * high.y + (second & 0xffffu);
    let upper = high.x * high.y + (second >> 16u) + (third >> 16u);
    return vec2<u32>(a.x * b.x, upper + a.x * b.y + a.y * b.x);
}

// x ^ (x >> by), of a shift below 32.
fn folded(x: vec2<u32>, by: u32) -> vec2<u32> {
    return x ^ vec2<u32>((x.x >> by) | (x.y << (32u - by)), x.y >> by);
}

// Finaliser of splitmix64.
fn mixed(x: vec2<u32>) -> vec2<u32> {
    let first = multiplied(folded(x, 30u), vec2<u32>(0x1ce4e5b9u, 0xbf58476du));
    let second = multiplied(folded(first, 27u), vec2<u32>(0x133111ebu, 0x94d049bbu));
    return folded(second, 31u);
}

// What the draws of a head begin with.
fn draw_of(batch: u32, head: u32) -> vec2<u32> {
    let number = mixed(vec2<u32>(head, batch));
    let low = number.x + 0x7f4a7c15u;
    let high = number.y + 0x9e3779b9u + select(0u, 1u, low < number.x);
    return mixed(params.seed ^ vec2<u32>(low, high));
}

// The factor on a weight: 0, or 1 / (1 - p).
fn drawn(draw: vec2<u32>, query: u32, key: u32) -> f32 {
    if params.kept == 0.0 {
        return 1.0;
    }
    let number = mixed(draw ^ mixed(vec2<u32>(key, query)));
    let below = number.y < params.threshold.y || (number.y == params.threshold.y && number.x < params.threshold.x);
    return select(params.kept, 0.0, below);
}
