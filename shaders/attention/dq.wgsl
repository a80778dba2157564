// Gradients of queries, and of the biases of edges: a workgroup takes a tile of 16 queries of one head, and 128 columns of
// the gradient.

@group(0) @binding(3) var<storage, read> q: array<Packed>;
@group(0) @binding(4) var<storage, read> k: array<Packed>;
@group(0) @binding(5) var<storage, read> v: array<Packed>;
@group(0) @binding(6) var<storage, read> dout: array<Packed>;
@group(0) @binding(7) var<storage, read_write> dq: array<Packed>;

fn dout_vector(head: Head, query: u32, d: u32) -> vec4<f32> {
    if query == NONE || d >= params.dv4 {
        return vec4<f32>(0.0);
    }
    return widen(dout[(head.query_head * params.rows + query) * params.dv4 + d]);
}

fn dout_dot_value(head: Head, lane: u32, key: u32) -> f32 {
    if items[lane] == NONE || key == NONE {
        return 0.0;
    }
    var sum = 0.0;
    for (var d = 0u; d < params.dv4; d += 1u) {
        sum += dot(dout_vector(head, items[lane], d), value_vector(head, key, d));
    }
    return sum;
}

fn douts_times_values(local: u32, x: u32, y: u32, head: Head, block: Block) -> Pairs {
    var pairs = Pairs(vec4<f32>(0.0), vec4<f32>(0.0));
    if block.kind == ROWS {
        for (var j = 0u; j < 4u; j += 1u) {
            let i = x + 8u * j;
            pairs.low[j] = dout_dot_value(head, y, columns[y * BLOCK + i]);
            pairs.high[j] = dout_dot_value(head, y + 8u, columns[(y + 8u) * BLOCK + i]);
        }
        return pairs;
    }
    for (var first = 0u; first < params.dv4; first += CHUNK) {
        workgroupBarrier();
        for (var at = local; at < TILE * CHUNK; at += 64u) {
            row_chunk[at / CHUNK * STEP + at % CHUNK] = dout_vector(head, items[at / CHUNK], first + at % CHUNK);
        }
        for (var at = local; at < BLOCK * CHUNK; at += 64u) {
            column_chunk[at / CHUNK * STEP + at % CHUNK] = value_vector(head, columns[at / CHUNK], first + at % CHUNK);
        }
        workgroupBarrier();
        pairs = multiply_chunk(x, y, pairs);
    }
    return pairs;
}

// Adds the weighted keys that each row has for itself.
fn add_row_keys(x: u32, y: u32, head: Head, block: Block, first: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < block.count; i += 1u) {
        let a = columns[y * BLOCK + i];
        let low = weights[y * ACROSS + i];
        (*sums)[0] += low * key_vector(head, a, first);
        (*sums)[1] += low * key_vector(head, a, first + 8u);
        (*sums)[2] += low * key_vector(head, a, first + 16u);
        (*sums)[3] += low * key_vector(head, a, first + 24u);
        let b = columns[(y + 8u) * BLOCK + i];
        let high = weights[(y + 8u) * ACROSS + i];
        (*sums)[4] += high * key_vector(head, b, first);
        (*sums)[5] += high * key_vector(head, b, first + 8u);
        (*sums)[6] += high * key_vector(head, b, first + 16u);
        (*sums)[7] += high * key_vector(head, b, first + 24u);
    }
}

// What the forward pass found of a query.
struct Known {
    lse: f32,
    rest: f32,
    delta: f32,
}

fn known_of(head: Head, lane: u32) -> Known {
    if items[lane] == NONE {
        return Known(0.0, 0.0, 0.0);
    }
    let at = head.query_head * params.rows + items[lane];
    return Known(scalars[params.lse_at + at], scalars[params.rest_at + at], scalars[params.delta_at + at]);
}

fn differentiated(
    known: Known,
    head: Head,
    block: Block,
    lane: u32,
    x: u32,
    found: Scores,
    dp: vec4<f32>,
) -> vec4<f32> {
    // A query without keys.
    if hides(known.lse) {
        return vec4<f32>(0.0);
    }
    let p = exp((found.values - known.lse) - known.rest);
    let ds = p * (dp * factors(head, block, lane, x, found.shown) - known.delta);
    return select(vec4<f32>(0.0), ds, found.shown);
}

fn add_to_edges(head: Head, tile: Tile, block: Block, lane: u32, x: u32, ds: vec4<f32>) {
    for (var j = 0u; j < 4u; j += 1u) {
        let i = x + 8u * j;
        if column_of(block, lane, i) != NONE {
            let edge = edge_of(tile, block, lane, i);
            scalars[params.edge_bias_gradient_at + head.query * params.edge_bias_head + edge] += ds[j];
        }
    }
}

fn write(head: Head, lane: u32, d: u32, value: vec4<f32>) {
    if items[lane] != NONE && d < params.d4 {
        dq[(head.query_head * params.rows + items[lane]) * params.d4 + d] = narrow(value);
    }
}

@compute @workgroup_size(64, 1, 1)
fn queries(
    @builtin(local_invocation_index) local: u32,
    @builtin(workgroup_id) id: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
) {
    let number = id.y * count.x + id.x;
    if number >= params.groups {
        return;
    }
    let group = params.first_group + number;
    let slice = group % params.slices;
    let tile = tile_of(group / params.slices);
    let head = head_at(params.first_head + group / params.slices / params.tiles);
    let x = local % 8u;
    let y = local / 8u;
    let width = slice_width(slice, params.d4);
    choose_rows(local, tile);
    workgroupBarrier();
    let known_low = known_of(head, y);
    let known_high = known_of(head, y + 8u);

    var sums = array<vec4<f32>, 8>();
    for (var next = tile.block; next < tile.end; next += 1u) {
        let block = block_at(next);
        workgroupBarrier();
        choose_columns(local, tile, block);
        workgroupBarrier();
        let products = queries_times_keys(local, x, y, head, block);
        let dp = douts_times_values(local, x, y, head, block);
        let low = scores(head, tile, block, y, x, products.low);
        let high = scores(head, tile, block, y + 8u, x, products.high);
        let ds_low = differentiated(known_low, head, block, y, x, low, dp.low);
        let ds_high = differentiated(known_high, head, block, y + 8u, x, high, dp.high);
        if params.edge_bias_gradient_at != NONE && slice == 0u {
            add_to_edges(head, tile, block, y, x, ds_low);
            add_to_edges(head, tile, block, y + 8u, x, ds_high);
        }
        keep_weights(x, y, of_products(ds_low, low));
        keep_weights(x, y + 8u, of_products(ds_high, high));
        if block.kind == ROWS {
            workgroupBarrier();
            add_row_keys(x, y, head, block, slice * SLICE + x, &sums);
            continue;
        }
        let piece = PIECE / width;
        for (var first = 0u; first < block.count; first += piece) {
            workgroupBarrier();
            for (var at = local; at < piece * width; at += 64u) {
                let i = min(first + at / width, BLOCK - 1u);
                column_chunk[at] = key_vector(head, columns[i], slice * SLICE + at % width);
            }
            workgroupBarrier();
            add_piece(x, y, first, min(piece, block.count - first), width, &sums);
        }
    }

    let d = slice * SLICE + x;
    write(head, y, d, sums[0]);
    write(head, y, d + 8u, sums[1]);
    write(head, y, d + 16u, sums[2]);
    write(head, y, d + 24u, sums[3]);
    write(head, y + 8u, d, sums[4]);
    write(head, y + 8u, d + 8u, sums[5]);
    write(head, y + 8u, d + 16u, sums[6]);
    write(head, y + 8u, d + 24u, sums[7]);
}
