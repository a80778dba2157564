// The soft cap of scores, c * tanh(score / c), in pipelines that have one: those without pay nothing for it.

override CAPPED: bool = false;

// From here on tanh is 1 to the last bit. No larger number goes on, as infinities may not be there for a compiler and a
// driver's exp and tanh need not take them.
const SATURATED: f32 = 15.0;

// tanh to the last bits, as the CPU has it. WGSL's own may be off by 1e-7 near 0, which a large cap would make much of, and
// may overflow far from it. Comparisons and not `min`: a NaN stays one.
fn tanh_of(x: f32) -> f32 {
    let size = select(abs(x), SATURATED, abs(x) > SATURATED);
    // The continued fraction where it is exact, and (1 - e) / (1 + e) where little of it is lost.
    let s = size * size;
    let e = exp(-2.0 * size);
    let near = size < 0.5;
    let above = select(1.0 - e, size * (945.0 + s * (105.0 + s)), near);
    let below = select(1.0 + e, 945.0 + s * (420.0 + s * 15.0), near);
    let found = above / below;
    return select(found, -found, x < 0.0);
}

// A scaled product as it is capped, and the derivative of that.
fn capped(score: f32) -> vec2<f32> {
    if !CAPPED {
        return vec2<f32>(score, 1.0);
    }
    let share = tanh_of(score * params.soft_cap_inverse);
    return vec2<f32>(share * params.soft_cap, 1.0 - share * share);
}
