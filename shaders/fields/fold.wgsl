// Adds up vectors of four, by one workgroup in a fixed order.

struct Params {
    n: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> partial: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> total: array<vec4<f32>>;

const WORKGROUP = 256u;
var<workgroup> sums: array<vec4<f32>, WORKGROUP>;

@compute @workgroup_size(WORKGROUP, 1, 1)
fn fold(@builtin(local_invocation_index) local: u32) {
    var sum = vec4<f32>(0.0);
    for (var i = local; i < params.n; i += WORKGROUP) {
        sum += partial[i];
    }
    sums[local] = sum;
    for (var reach = WORKGROUP / 2u; reach > 0u; reach /= 2u) {
        workgroupBarrier();
        if local < reach {
            sums[local] += sums[local + reach];
        }
    }
    if local == 0u {
        total[0] += sums[0];
    }
}
