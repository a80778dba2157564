// What the 8 invocations of a row find together, through the workgroup's memory. Each has a value of the row y and one of
// the row y + 8. The whole workgroup comes here.

var<workgroup> shares: array<f32, 128>;

fn share(x: u32, y: u32, values: vec2<f32>) {
    shares[y * 8u + x] = values.x;
    shares[(y + 8u) * 8u + x] = values.y;
    workgroupBarrier();
}

fn highest_of_rows(x: u32, y: u32, values: vec2<f32>) -> vec2<f32> {
    share(x, y, values);
    var highest = vec2<f32>(LOWEST);
    for (var i = 0u; i < 8u; i += 1u) {
        highest.x = higher(highest.x, shares[y * 8u + i]);
        highest.y = higher(highest.y, shares[(y + 8u) * 8u + i]);
    }
    return highest;
}

fn sums_of_rows(x: u32, y: u32, values: vec2<f32>) -> vec2<f32> {
    // The last highest values are read until here.
    workgroupBarrier();
    share(x, y, values);
    var sums = vec2<f32>(0.0);
    for (var i = 0u; i < 8u; i += 1u) {
        sums += vec2<f32>(shares[y * 8u + i], shares[(y + 8u) * 8u + i]);
    }
    return sums;
}
