// From products to scores: scaled, capped, biased, hidden.

// Below every score; not -infinity, which a compiler may take not to be there.
const LOWEST: f32 = -3.40282347e+38;

// A comparison and not `max`: a NaN stays out, and reaches the row through its weight.
fn higher(a: f32, b: f32) -> f32 {
    return select(a, b, b > a);
}

// The scores of a row and four columns, their derivatives by the scaled products, and which of them count.
struct Scores {
    values: vec4<f32>,
    slopes: vec4<f32>,
    shown: vec4<bool>,
}

struct Score {
    value: f32,
    slope: f32,
    shown: bool,
}

fn score(head: Head, tile: Tile, block: Block, lane: u32, i: u32, product: f32) -> Score {
    let column = column_of(block, lane, i);
    if column == NONE {
        return Score(LOWEST, 1.0, false);
    }
    let bias = bias_of(head, key_of(lane, column), tile, block, lane, i);
    if hides(bias) {
        return Score(LOWEST, 1.0, false);
    }
    let found = capped(product * params.scale);
    return Score(found.x + bias, found.y, true);
}

// Of the columns x, x + 8, x + 16 and x + 24.
fn scores(head: Head, tile: Tile, block: Block, lane: u32, x: u32, products: vec4<f32>) -> Scores {
    let a = score(head, tile, block, lane, x, products.x);
    let b = score(head, tile, block, lane, x + 8u, products.y);
    let c = score(head, tile, block, lane, x + 16u, products.z);
    let d = score(head, tile, block, lane, x + 24u, products.w);
    let shown = vec4<bool>(a.shown, b.shown, c.shown, d.shown);
    let slopes = vec4<f32>(a.slope, b.slope, c.slope, d.slope);
    return Scores(vec4<f32>(a.value, b.value, c.value, d.value), slopes, shown);
}

// Gradients of products, from those of scores.
fn of_products(ds: vec4<f32>, found: Scores) -> vec4<f32> {
    if CAPPED {
        return ds * found.slopes * params.scale;
    }
    return ds * params.scale;
}

// The factors that dropout gives their weights.
fn factors(head: Head, block: Block, lane: u32, x: u32, shown: vec4<bool>) -> vec4<f32> {
    var all = vec4<f32>(1.0);
    if params.kept == 0.0 {
        return all;
    }
    for (var j = 0u; j < 4u; j += 1u) {
        let column = column_of(block, lane, x + 8u * j);
        if column != NONE {
            all[j] = drawn(head.draw, query_of(lane, column), key_of(lane, column));
        }
    }
    return select(vec4<f32>(0.0), all, shown);
}

fn keep_weights(x: u32, lane: u32, values: vec4<f32>) {
    let at = lane * ACROSS + x;
    weights[at] = values.x;
    weights[at + 8u] = values.y;
    weights[at + 16u] = values.z;
    weights[at + 24u] = values.w;
}

fn total(values: vec4<f32>) -> f32 {
    return (values.x + values.y) + (values.z + values.w);
}
