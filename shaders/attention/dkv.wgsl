// Gradients of keys, of values and of the biases of keys: a workgroup takes a tile of 16 keys of one key head, and 128
// columns of both gradients. Rows are keys and columns are queries, of the plan of the transposed set. The query heads of
// the key head follow one another, so that every sum has one order.

@group(0) @binding(3) var<storage, read> q: array<Packed>;
@group(0) @binding(4) var<storage, read> k: array<Packed>;
@group(0) @binding(5) var<storage, read> v: array<Packed>;
@group(0) @binding(6) var<storage, read> dout: array<Packed>;
// Gradients of keys, and from a place of their own on those of values.
@group(0) @binding(7) var<storage, read_write> dkv: array<Packed>;

// Shares of a row's sum, 8 beside each other.
var<workgroup> shares: array<f32, 128>;

fn query_of(lane: u32, column: u32) -> u32 {
    return column;
}

fn key_of(lane: u32, column: u32) -> u32 {
    return items[lane];
}

// Zeros stand where nothing is.
fn query_vector(head: Head, query: u32, d: u32) -> vec4<f32> {
    if query == NONE || d >= params.d4 {
        return vec4<f32>(0.0);
    }
    return widen(q[(head.query_head * params.columns + query) * params.d4 + d]);
}

fn dout_vector(head: Head, query: u32, d: u32) -> vec4<f32> {
    if query == NONE || d >= params.dv4 {
        return vec4<f32>(0.0);
    }
    return widen(dout[(head.query_head * params.columns + query) * params.dv4 + d]);
}

fn key_vector(head: Head, key: u32, d: u32) -> vec4<f32> {
    if key == NONE || d >= params.d4 {
        return vec4<f32>(0.0);
    }
    return widen(k[(head.key_head * params.rows + key) * params.d4 + d]);
}

fn value_vector(head: Head, key: u32, d: u32) -> vec4<f32> {
    if key == NONE || d >= params.dv4 {
        return vec4<f32>(0.0);
    }
    return widen(v[(head.key_head * params.rows + key) * params.dv4 + d]);
}

// The dot products of a key with a query of its own row, and of its value with that query's output gradient.
fn dots(head: Head, lane: u32, query: u32) -> vec2<f32> {
    if items[lane] == NONE || query == NONE {
        return vec2<f32>(0.0);
    }
    var sum = vec2<f32>(0.0);
    for (var d = 0u; d < params.d4; d += 1u) {
        sum.x += dot(key_vector(head, items[lane], d), query_vector(head, query, d));
    }
    for (var d = 0u; d < params.dv4; d += 1u) {
        sum.y += dot(value_vector(head, items[lane], d), dout_vector(head, query, d));
    }
    return sum;
}

// Keys with queries, and values with output gradients.
struct Products {
    s: Pairs,
    dp: Pairs,
}

fn row_products(x: u32, y: u32, head: Head) -> Products {
    var s = Pairs(vec4<f32>(0.0), vec4<f32>(0.0));
    var dp = s;
    for (var j = 0u; j < 4u; j += 1u) {
        let i = x + 8u * j;
        let low = dots(head, y, columns[y * BLOCK + i]);
        let high = dots(head, y + 8u, columns[(y + 8u) * BLOCK + i]);
        s.low[j] = low.x;
        s.high[j] = high.x;
        dp.low[j] = low.y;
        dp.high[j] = high.y;
    }
    return Products(s, dp);
}

fn tile_products(local: u32, x: u32, y: u32, head: Head) -> Products {
    var s = Pairs(vec4<f32>(0.0), vec4<f32>(0.0));
    var dp = s;
    for (var first = 0u; first < params.d4; first += CHUNK) {
        workgroupBarrier();
        for (var at = local; at < TILE * CHUNK; at += 64u) {
            row_chunk[at / CHUNK * STEP + at % CHUNK] = key_vector(head, items[at / CHUNK], first + at % CHUNK);
        }
        for (var at = local; at < BLOCK * CHUNK; at += 64u) {
            column_chunk[at / CHUNK * STEP + at % CHUNK] = query_vector(head, columns[at / CHUNK], first + at % CHUNK);
        }
        workgroupBarrier();
        s = multiply_chunk(x, y, s);
    }
    for (var first = 0u; first < params.dv4; first += CHUNK) {
        workgroupBarrier();
        for (var at = local; at < TILE * CHUNK; at += 64u) {
            row_chunk[at / CHUNK * STEP + at % CHUNK] = value_vector(head, items[at / CHUNK], first + at % CHUNK);
        }
        for (var at = local; at < BLOCK * CHUNK; at += 64u) {
            column_chunk[at / CHUNK * STEP + at % CHUNK] = dout_vector(head, columns[at / CHUNK], first + at % CHUNK);
        }
        workgroupBarrier();
        dp = multiply_chunk(x, y, dp);
    }
    return Products(s, dp);
}

// Weights as they multiply output gradients, and ds.
struct Weighed {
    p: vec4<f32>,
    ds: vec4<f32>,
}

fn weigh(head: Head, block: Block, lane: u32, x: u32, found: Scores, dp: vec4<f32>) -> Weighed {
    var p = vec4<f32>(0.0);
    var delta = vec4<f32>(0.0);
    for (var j = 0u; j < 4u; j += 1u) {
        let query = column_of(block, lane, x + 8u * j);
        if query == NONE {
            continue;
        }
        let at = head.query_head * params.columns + query;
        let lse = scalars[params.lse_at + at];
        // Not of a query without keys.
        if found.shown[j] && !hides(lse) {
            p[j] = exp((found.values[j] - lse) - scalars[params.rest_at + at]);
            delta[j] = scalars[params.delta_at + at];
        }
    }
    let factor = factors(head, block, lane, x, found.shown);
    let ds = p * (dp * factor - delta);
    return Weighed(p * factor, select(vec4<f32>(0.0), ds, found.shown));
}

// Adds the weighted rows of the queries that each key has for itself.
fn add_row_douts(x: u32, y: u32, head: Head, block: Block, first: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < block.count; i += 1u) {
        let a = columns[y * BLOCK + i];
        let low = weights[y * ACROSS + i];
        (*sums)[0] += low * dout_vector(head, a, first);
        (*sums)[1] += low * dout_vector(head, a, first + 8u);
        (*sums)[2] += low * dout_vector(head, a, first + 16u);
        (*sums)[3] += low * dout_vector(head, a, first + 24u);
        let b = columns[(y + 8u) * BLOCK + i];
        let high = weights[(y + 8u) * ACROSS + i];
        (*sums)[4] += high * dout_vector(head, b, first);
        (*sums)[5] += high * dout_vector(head, b, first + 8u);
        (*sums)[6] += high * dout_vector(head, b, first + 16u);
        (*sums)[7] += high * dout_vector(head, b, first + 24u);
    }
}

fn add_row_queries(x: u32, y: u32, head: Head, block: Block, first: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < block.count; i += 1u) {
        let a = columns[y * BLOCK + i];
        let low = weights[y * ACROSS + i];
        (*sums)[0] += low * query_vector(head, a, first);
        (*sums)[1] += low * query_vector(head, a, first + 8u);
        (*sums)[2] += low * query_vector(head, a, first + 16u);
        (*sums)[3] += low * query_vector(head, a, first + 24u);
        let b = columns[(y + 8u) * BLOCK + i];
        let high = weights[(y + 8u) * ACROSS + i];
        (*sums)[4] += high * query_vector(head, b, first);
        (*sums)[5] += high * query_vector(head, b, first + 8u);
        (*sums)[6] += high * query_vector(head, b, first + 16u);
        (*sums)[7] += high * query_vector(head, b, first + 24u);
    }
}

// Adds the shares of a row to the gradient of its key's bias.
fn add_to_bias(head: Head, lane: u32) {
    if items[lane] == NONE {
        return;
    }
    var sum = 0.0;
    for (var i = 0u; i < 8u; i += 1u) {
        sum += shares[lane * 8u + i];
    }
    scalars[params.key_bias_gradient_at + key_bias_row(head) + items[lane]] += sum;
}

fn write_key(key_head: u32, lane: u32, d: u32, value: vec4<f32>) {
    if items[lane] != NONE && d < params.d4 {
        dkv[(key_head * params.rows + items[lane]) * params.d4 + d] = narrow(value);
    }
}

fn write_value(key_head: u32, lane: u32, d: u32, value: vec4<f32>) {
    if items[lane] != NONE && d < params.dv4 {
        dkv[params.values_at + (key_head * params.rows + items[lane]) * params.dv4 + d] = narrow(value);
    }
}

@compute @workgroup_size(64, 1, 1)
fn keys(
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
    let key_head = params.first_head + group / params.slices / params.tiles;
    let x = local % 8u;
    let y = local / 8u;
    let key_width = slice_width(slice, params.d4);
    let value_width = slice_width(slice, params.dv4);
    choose_rows(local, tile);
    workgroupBarrier();

    var dk = array<vec4<f32>, 8>();
    var dv = array<vec4<f32>, 8>();
    for (var member = 0u; member < params.group; member += 1u) {
        let head = head_at(key_head * params.group + member);
        var bias_low = 0.0;
        var bias_high = 0.0;
        for (var next = tile.block; next < tile.end; next += 1u) {
            let block = block_at(next);
            workgroupBarrier();
            choose_columns(local, tile, block);
            workgroupBarrier();
            var products: Products;
            if block.kind == ROWS {
                products = row_products(x, y, head);
            } else {
                products = tile_products(local, x, y, head);
            }
            let scores_low = scores(head, tile, block, y, x, products.s.low);
            let scores_high = scores(head, tile, block, y + 8u, x, products.s.high);
            let low = weigh(head, block, y, x, scores_low, products.dp.low);
            let high = weigh(head, block, y + 8u, x, scores_high, products.dp.high);
            bias_low += total(low.ds);
            bias_high += total(high.ds);
            keep_weights(x, y, low.p);
            keep_weights(x, y + 8u, high.p);
            if block.kind == ROWS {
                workgroupBarrier();
                add_row_douts(x, y, head, block, slice * SLICE + x, &dv);
            } else if value_width > 0u {
                let piece = PIECE / value_width;
                for (var first = 0u; first < block.count; first += piece) {
                    workgroupBarrier();
                    for (var at = local; at < piece * value_width; at += 64u) {
                        let i = min(first + at / value_width, BLOCK - 1u);
                        column_chunk[at] = dout_vector(head, columns[i], slice * SLICE + at % value_width);
                    }
                    workgroupBarrier();
                    add_piece(x, y, first, min(piece, block.count - first), value_width, &dv);
                }
            }
            workgroupBarrier();
            keep_weights(x, y, of_products(low.ds, scores_low));
            keep_weights(x, y + 8u, of_products(high.ds, scores_high));
            if block.kind == ROWS {
                workgroupBarrier();
                add_row_queries(x, y, head, block, slice * SLICE + x, &dk);
            } else if key_width > 0u {
                let piece = PIECE / key_width;
                for (var first = 0u; first < block.count; first += piece) {
                    workgroupBarrier();
                    for (var at = local; at < piece * key_width; at += 64u) {
                        let i = min(first + at / key_width, BLOCK - 1u);
                        column_chunk[at] = query_vector(head, columns[i], slice * SLICE + at % key_width);
                    }
                    workgroupBarrier();
                    add_piece(x, y, first, min(piece, block.count - first), key_width, &dk);
                }
            }
        }
        if params.key_bias_gradient_at != NONE && slice == 0u {
            workgroupBarrier();
            shares[y * 8u + x] = bias_low;
            shares[(y + 8u) * 8u + x] = bias_high;
            workgroupBarrier();
            if x == 0u {
                add_to_bias(head, y);
                add_to_bias(head, y + 8u);
            }
        }
    }

    let d = slice * SLICE + x;
    write_key(key_head, y, d, dk[0]);
    write_key(key_head, y, d + 8u, dk[1]);
    write_key(key_head, y, d + 16u, dk[2]);
    write_key(key_head, y, d + 24u, dk[3]);
    write_key(key_head, y + 8u, d, dk[4]);
    write_key(key_head, y + 8u, d + 8u, dk[5]);
    write_key(key_head, y + 8u, d + 16u, dk[6]);
    write_key(key_head, y + 8u, d + 24u, dk[7]);
    write_value(key_head, y, d, dv[0]);
    write_value(key_head, y, d + 8u, dv[1]);
    write_value(key_head, y, d + 16u, dv[2]);
    write_value(key_head, y, d + 24u, dv[3]);
    write_value(key_head, y + 8u, d, dv[4]);
    write_value(key_head, y + 8u, d + 8u, dv[5]);
    write_value(key_head, y + 8u, d + 16u, dv[6]);
    write_value(key_head, y + 8u, d + 24u, dv[7]);
}
