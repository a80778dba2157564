// What the soft Julia field and its gradients share: the survival of an orbit drops by 1 - h at each iterate, where the
// hazard h = 1 / (1 + exp(smoothness (radius - |z|))).

struct Params {
    c: vec2<f32>,
    radius: f32,
    smoothness: f32,
    max_iter: u32,
    // The points of this dispatch.
    first: u32,
    end: u32,
    // What the derivatives of an orbit are held within, so that none becomes infinite.
    held: f32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> points: array<vec2<f32>>;

// Where the survival is nothing to the last bit, in units of 1 / smoothness beyond the radius.
const CUT = 24.0;

fn bound() -> f32 {
    return params.radius + CUT / params.smoothness;
}

fn odds_at(modulus: f32) -> f32 {
    return exp(min((modulus - params.radius) * params.smoothness, CUT + 1.0));
}
