// What attention has one number of for a query, a key or an edge: logarithms of sums, biases, and their gradients.

@group(0) @binding(2) var<storage, read_write> scalars: array<f32>;

const MINUS_INFINITY: u32 = 0xff800000u;

// A head among those of all batches, and its key head among those.
struct Head {
    batch: u32,
    query: u32,
    query_head: u32,
    key_head: u32,
    draw: vec2<u32>,
}

fn head_at(number: u32) -> Head {
    let batch = number / params.heads;
    let head = number % params.heads;
    let draw = draw_of(batch + params.draw_batch, head + params.draw_head);
    return Head(batch, head, number, number / params.group, draw);
}

// Where the bias of a head's keys begins, in its values and in its gradient.
fn key_bias_row(head: Head) -> u32 {
    return head.batch * params.key_bias_batch + head.query * params.key_bias_head;
}

// What is added to the score of an edge; -infinity hides it. The biases first to each other, so that large ones that
// cancel leave the score.
fn bias_of(head: Head, key: u32, tile: Tile, block: Block, lane: u32, i: u32) -> f32 {
    var bias = 0.0;
    if params.key_bias_at != NONE {
        bias = scalars[params.key_bias_at + key_bias_row(head) + key];
    }
    if params.edge_bias_at != NONE {
        let edge = edge_of(tile, block, lane, i);
        bias += scalars[params.edge_bias_at + head.query * params.edge_bias_head + edge];
    }
    return bias;
}

// By its bits: a compiler may take it that there are no infinities.
fn hides(bias: f32) -> bool {
    return bitcast<u32>(bias) == MINUS_INFINITY;
}
