// Hilbert curve in the transpose formulation of J. Skilling (2004), its axes turned by `order` places, so that the curve of
// one order is the beginning of the next one's.

// Below a level: inverts `a` where it has the level's bit.
fn invert(a: u32, level: u32) -> u32 {
    return a ^ (select(0u, 0xffffffffu, ((a >> level) & 1u) == 1u) & ((1u << level) - 1u));
}

// Below a level: inverts `a` where `b` has the level's bit, else exchanges the two.
fn turn(a: u32, b: u32, level: u32) -> vec2<u32> {
    let below = (1u << level) - 1u;
    if ((b >> level) & 1u) == 1u {
        return vec2<u32>(a ^ below, b);
    }
    let exchange = (a ^ b) & below;
    return vec2<u32>(a ^ exchange, b ^ exchange);
}

// Bit j is the parity of the bits above j.
fn parity_above(bits: u32) -> u32 {
    var parity = bits >> 1u;
    parity ^= parity >> 1u;
    parity ^= parity >> 2u;
    parity ^= parity >> 4u;
    parity ^= parity >> 8u;
    return parity ^ (parity >> 16u);
}

fn place2(p: vec2<u32>) -> vec2<u32> {
    var x = select(p, p.yx, params.order % 2u == 1u);
    for (var below = 1u; below < params.order; below++) {
        let level = params.order - below;
        x.x = invert(x.x, level);
        x = turn(x.x, x.y, level);
    }
    x.y ^= x.x;
    return x ^ vec2<u32>(parity_above(x.y));
}

fn point_of_place2(place: vec2<u32>) -> vec2<u32> {
    var x = vec2<u32>(place.x ^ (place.y >> 1u), place.y ^ place.x);
    for (var level = 1u; level < params.order; level++) {
        x = turn(x.x, x.y, level);
        x.x = invert(x.x, level);
    }
    return select(x, x.yx, params.order % 2u == 1u);
}

// Axes to the left by so many places.
fn turned(p: vec3<u32>, places: u32) -> vec3<u32> {
    switch places % 3u {
        case 0u: {
            return p;
        }
        case 1u: {
            return p.yzx;
        }
        default: {
            return p.zxy;
        }
    }
}

fn place3(p: vec3<u32>) -> vec3<u32> {
    var x = turned(p, params.order);
    for (var below = 1u; below < params.order; below++) {
        let level = params.order - below;
        x.x = invert(x.x, level);
        let second = turn(x.x, x.y, level);
        let third = turn(second.x, x.z, level);
        x = vec3<u32>(third.x, second.y, third.y);
    }
    x.y ^= x.x;
    x.z ^= x.y;
    return x ^ vec3<u32>(parity_above(x.z));
}

fn point_of_place3(place: vec3<u32>) -> vec3<u32> {
    var x = vec3<u32>(place.x ^ (place.z >> 1u), place.y ^ place.x, place.z ^ place.y);
    for (var level = 1u; level < params.order; level++) {
        let third = turn(x.x, x.z, level);
        let second = turn(third.x, x.y, level);
        x = vec3<u32>(invert(second.x, level), second.y, third.y);
    }
    return turned(x, 2u * params.order);
}
