// Gradients of a weighted sum of the soft Julia field: by each point, and by c, radius and smoothness. The latter are
// added up over the points of a workgroup here, and over the workgroups in `fold`, always in the same order.

@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> by_point: array<vec2<f32>>;
// By c, radius and smoothness; one for each workgroup.
@group(0) @binding(4) var<storage, read_write> partial: array<vec4<f32>>;

const WORKGROUP = 64u;
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

const TINY = 1e-18;
const MOST = 3.4028235e38;

// Derivatives of the survival or of its sum: of c by its real and imaginary part, radius, smoothness.
struct Change {
    by_point: vec2<f32>,
    by_shared: vec4<f32>,
}

// z conj(d), which is |z| times the gradient of |z|.
fn pulled(z: vec2<f32>, d: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(z.x * d.x + z.y * d.y, z.y * d.x - z.x * d.y);
}

fn product(z: vec2<f32>, d: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(z.x * d.x - z.y * d.y, z.x * d.y + z.y * d.x);
}

fn held(d: vec2<f32>) -> vec2<f32> {
    return clamp(d, vec2<f32>(-params.held), vec2<f32>(params.held));
}

fn gradient(point: vec2<f32>) -> Change {
    let most = bound() * bound();
    var z = point;
    var survival = 1.0;
    // S dz/dp and S dz/dc, with the S of the iterate before.
    var dp = vec2<f32>(1.0, 0.0);
    var dc = vec2<f32>(0.0);
    var change = Change(vec2<f32>(0.0), vec4<f32>(0.0));
    var sum = change;
    for (var k = 0u; k < params.max_iter; k++) {
        let square = dot(z, z);
        if !(square <= most) {
            break;
        }
        let modulus = max(sqrt(square), TINY);
        let odds = odds_at(modulus);
        let stay = 1.0 / (1.0 + odds);
        let hazard = odds * stay;
        let rate = hazard * params.smoothness;
        // An iterate whose square is no normal number still has a direction: it is that of a multiple.
        var scale = 1.0;
        if square < 0x1p-96f {
            scale = select(0x1p48f, 0x1p96f, largest(z) < 0x1p-96f);
        }
        let unit = z * scale;
        let pull = rate / max(length(unit), TINY);
        change.by_point -= pull * pulled(unit, dp);
        let toward = pull * pulled(unit, dc);
        change.by_shared -= vec4<f32>(toward, -survival * rate, survival * hazard * (modulus - params.radius));
        let growth = stay * (2.0 / scale);
        survival *= stay;
        dp = held(product(unit, dp) * growth);
        dc = held(product(unit, dc) * growth + vec2<f32>(survival, 0.0));
        change.by_point *= stay;
        change.by_shared *= stay;
        sum.by_point += change.by_point;
        sum.by_shared += change.by_shared;
        z = squared(z) + params.c;
    }
    return sum;
}

@compute @workgroup_size(WORKGROUP, 1, 1)
fn gradients(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) local: u32,
) {
    let number = params.first / WORKGROUP + group_number(group, groups);
    let i = number * WORKGROUP + local;
    var mine = vec4<f32>(0.0);
    if i < params.end {
        let weight = weights[i];
        let p = points[i];
        var own = vec2<f32>(0.0);
        // A weight of 0 adds nothing, even to a NaN.
        if weight != 0.0 || is_nan(weight) {
            if any_nan(p) {
                let nan = p.x + p.y;
                own = vec2<f32>(nan);
                mine = vec4<f32>(nan);
            } else {
                let d = gradient(p);
                own = weight * d.by_point;
                if !is_nan(weight) && !is_infinite(weight) {
                    own = clamp(own, vec2<f32>(-MOST), vec2<f32>(MOST));
                }
                mine = weight * d.by_shared;
            }
        }
        by_point[i] = own;
    }
    sums[local] = mine;
    for (var reach = WORKGROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            sums[local] += sums[local + reach];
        }
    }
    if local == 0u && number * WORKGROUP < params.end {
        partial[number] = sums[0];
    }
}
