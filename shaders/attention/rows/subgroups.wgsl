// What the 8 invocations of a row find together, where they run in lockstep. Each has a value of the row y and one of the
// row y + 8. Exchanged in pairs, so that all of them add in one order and have the same bits.

fn highest_of_rows(x: u32, y: u32, values: vec2<f32>) -> vec2<f32> {
    var highest = values;
    for (var apart = 1u; apart < 8u; apart *= 2u) {
        let others = vec2<f32>(subgroupShuffleXor(highest.x, apart), subgroupShuffleXor(highest.y, apart));
        highest = vec2<f32>(higher(highest.x, others.x), higher(highest.y, others.y));
    }
    return highest;
}

fn sums_of_rows(x: u32, y: u32, values: vec2<f32>) -> vec2<f32> {
    var sums = values;
    for (var apart = 1u; apart < 8u; apart *= 2u) {
        sums += vec2<f32>(subgroupShuffleXor(sums.x, apart), subgroupShuffleXor(sums.y, apart));
    }
    return sums;
}
