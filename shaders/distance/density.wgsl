// Information density of token sequences: the share of positions around each one whose token differs from the next. The
// last position has no next one and counts as unchanged.

struct Params {
    // Tokens of a sequence.
    length: u32,
    // Positions on each side that are looked at.
    radius: u32,
    // The positions of this dispatch.
    first: u32,
    end: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> tokens: array<u32>;
@group(0) @binding(2) var<storage, read_write> densities: array<f32>;

@compute @workgroup_size(256, 1, 1)
fn density(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let i = params.first + group_number(group, groups) * 256u + local;
    if i >= params.end {
        return;
    }
    let place = i % params.length;
    let start = i - place;
    let low = place - min(place, params.radius);
    let high = min(place + params.radius, params.length - 1u);
    var changes = 0u;
    for (var j = low; j <= high; j++) {
        if j + 1u < params.length && tokens[start + j] != tokens[start + j + 1u] {
            changes++;
        }
    }
    densities[i] = f32(changes) / f32(high - low + 1u);
}
