// What a call of attention is told. Rows and columns are queries and keys, but in the gradients of keys and values, which
// run the plan of the transposed set, they are keys and queries.

struct Params {
    // Dropout: which draw, below what 64-bit number a weight is dropped, and the factor on the others (0: no dropout).
    seed: vec2<u32>,
    threshold: vec2<u32>,
    kept: f32,
    scale: f32,
    // The cap of scores and its inverse, of pipelines that have one.
    soft_cap: f32,
    soft_cap_inverse: f32,
    // The host says it, as WGSL has no such constant.
    minus_infinity: f32,
    rows: u32,
    columns: u32,
    // Query heads of a batch, and of a key head.
    heads: u32,
    group: u32,
    // Vectors of four that a key and a value have.
    d4: u32,
    dv4: u32,
    // The workgroups of this dispatch: so many tiles of so many heads from the first one on, and which of them it begins with.
    tiles: u32,
    first_head: u32,
    first_group: u32,
    groups: u32,
    // Where the gradients of values begin, in vectors.
    values_at: u32,
    // Slices of 32 vectors that the widest result has.
    slices: u32,
    // One tile serves all, shifted.
    shifted: u32,
    // Where the parts of `tables` begin; NONE: there is no such part.
    order_at: u32,
    tile_order_at: u32,
    block_ptr_at: u32,
    blocks_at: u32,
    list_at: u32,
    row_ptr_at: u32,
    row_keys_at: u32,
    tile_edges_at: u32,
    row_edges_at: u32,
    // Where the parts of `scalars` begin; NONE: there is no such part.
    lse_at: u32,
    rest_at: u32,
    delta_at: u32,
    dlse_at: u32,
    key_bias_at: u32,
    edge_bias_at: u32,
    key_bias_gradient_at: u32,
    edge_bias_gradient_at: u32,
    // Steps of the biases of keys by batch and by head, and of edges by head.
    key_bias_batch: u32,
    key_bias_head: u32,
    edge_bias_head: u32,
    // Which batch and head the first ones are, for dropout: a large call comes in parts.
    draw_batch: u32,
    draw_head: u32,
}

const NONE: u32 = 0xffffffffu;

@group(0) @binding(0) var<uniform> params: Params;
