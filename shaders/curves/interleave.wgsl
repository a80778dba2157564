// Codes of lattice points in two and three dimensions, 64 bits as (low, high) words. The bits of the coordinates are
// interleaved, axis 0 first; what a curve does to them before and after is in the files that follow.

struct Params {
    // Bits of a coordinate.
    order: u32,
    // The points of this dispatch.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
// Points, a word a coordinate, or codes, two words each.
@group(0) @binding(1) var<storage, read> input: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;

// What stands for the code of a point outside of the box, and for each coordinate of a code that no point has.
const NOWHERE = 0xffffffffu;

// The bits of n bits, n <= 32.
fn low_bits(n: u32) -> u32 {
    return select((1u << (n & 31u)) - 1u, 0xffffffffu, n >= 32u);
}

// Bits 0 .. 16 to every second place.
fn spread2(part: u32) -> u32 {
    var x = part & 0xffffu;
    x = (x | (x << 8u)) & 0x00ff00ffu;
    x = (x | (x << 4u)) & 0x0f0f0f0fu;
    x = (x | (x << 2u)) & 0x33333333u;
    return (x | (x << 1u)) & 0x55555555u;
}

fn gather2(code: u32) -> u32 {
    var x = code & 0x55555555u;
    x = (x | (x >> 1u)) & 0x33333333u;
    x = (x | (x >> 2u)) & 0x0f0f0f0fu;
    x = (x | (x >> 4u)) & 0x00ff00ffu;
    return (x | (x >> 8u)) & 0xffffu;
}

// Bits 0 .. 7 to every third place.
fn spread3(part: u32) -> u32 {
    var x = part & 0x7fu;
    x = (x | (x << 8u)) & 0x0000700fu;
    x = (x | (x << 4u)) & 0x000430c3u;
    return (x | (x << 2u)) & 0x00049249u;
}

fn gather3(code: u32) -> u32 {
    var x = code & 0x00049249u;
    x = (x | (x >> 2u)) & 0x000430c3u;
    x = (x | (x >> 4u)) & 0x0000700fu;
    return (x | (x >> 8u)) & 0x7fu;
}

fn interleave2(p: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(
        (spread2(p.x) << 1u) | spread2(p.y),
        (spread2(p.x >> 16u) << 1u) | spread2(p.y >> 16u),
    );
}

fn deinterleave2(code: vec2<u32>) -> vec2<u32> {
    return vec2<u32>(
        gather2(code.x >> 1u) | (gather2(code.y >> 1u) << 16u),
        gather2(code.x) | (gather2(code.y) << 16u),
    );
}

// 21 bits of a code from 7 bits of each coordinate.
fn digits3(p: vec3<u32>) -> u32 {
    return (spread3(p.x) << 2u) | (spread3(p.y) << 1u) | spread3(p.z);
}

fn coordinates3(digits: u32) -> vec3<u32> {
    return vec3<u32>(gather3(digits >> 2u), gather3(digits >> 1u), gather3(digits));
}

fn interleave3(p: vec3<u32>) -> vec2<u32> {
    let low = digits3(p);
    let middle = digits3(p >> vec3<u32>(7u));
    let high = digits3(p >> vec3<u32>(14u));
    return vec2<u32>(low | (middle << 21u), (middle >> 11u) | (high << 10u));
}

fn deinterleave3(code: vec2<u32>) -> vec3<u32> {
    let low = coordinates3(code.x);
    let middle = coordinates3((code.x >> 21u) | (code.y << 11u));
    let high = coordinates3(code.y >> 10u);
    return low | (middle << vec3<u32>(7u)) | (high << vec3<u32>(14u));
}

// Whether a code has no bits above n, n <= 64.
fn fits(code: vec2<u32>, n: u32) -> bool {
    return code.y <= low_bits(max(n, 32u) - 32u) && code.x <= low_bits(min(n, 32u));
}

fn point2(i: u32) -> vec2<u32> {
    return vec2<u32>(input[2u * i], input[2u * i + 1u]);
}

fn point3(i: u32) -> vec3<u32> {
    return vec3<u32>(input[3u * i], input[3u * i + 1u], input[3u * i + 2u]);
}

fn code_at(i: u32) -> vec2<u32> {
    return vec2<u32>(input[2u * i], input[2u * i + 1u]);
}

fn put_code(i: u32, code: vec2<u32>) {
    output[2u * i] = code.x;
    output[2u * i + 1u] = code.y;
}

fn put_point2(i: u32, p: vec2<u32>) {
    output[2u * i] = p.x;
    output[2u * i + 1u] = p.y;
}

fn put_point3(i: u32, p: vec3<u32>) {
    output[3u * i] = p.x;
    output[3u * i + 1u] = p.y;
    output[3u * i + 2u] = p.z;
}
