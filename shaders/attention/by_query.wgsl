// Rows are queries, columns are keys.

fn query_of(lane: u32, column: u32) -> u32 {
    return items[lane];
}

fn key_of(lane: u32, column: u32) -> u32 {
    return column;
}

// Zeros stand where nothing is.
fn query_vector(head: Head, query: u32, d: u32) -> vec4<f32> {
    if query == NONE || d >= params.d4 {
        return vec4<f32>(0.0);
    }
    return widen(q[(head.query_head * params.rows + query) * params.d4 + d]);
}

fn key_vector(head: Head, key: u32, d: u32) -> vec4<f32> {
    if key == NONE || d >= params.d4 {
        return vec4<f32>(0.0);
    }
    return widen(k[(head.key_head * params.columns + key) * params.d4 + d]);
}

fn value_vector(head: Head, key: u32, d: u32) -> vec4<f32> {
    if key == NONE || d >= params.dv4 {
        return vec4<f32>(0.0);
    }
    return widen(v[(head.key_head * params.columns + key) * params.dv4 + d]);
}

// The dot product of a query with a key of its own row.
fn query_dot_key(head: Head, lane: u32, key: u32) -> f32 {
    if items[lane] == NONE || key == NONE {
        return 0.0;
    }
    var sum = 0.0;
    for (var d = 0u; d < params.d4; d += 1u) {
        sum += dot(query_vector(head, items[lane], d), key_vector(head, key, d));
    }
    return sum;
}

fn queries_times_keys(local: u32, x: u32, y: u32, head: Head, block: Block) -> Pairs {
    var pairs = Pairs(vec4<f32>(0.0), vec4<f32>(0.0));
    if block.kind == ROWS {
        for (var j = 0u; j < 4u; j += 1u) {
            let i = x + 8u * j;
            pairs.low[j] = query_dot_key(head, y, columns[y * BLOCK + i]);
            pairs.high[j] = query_dot_key(head, y + 8u, columns[(y + 8u) * BLOCK + i]);
        }
        return pairs;
    }
    for (var first = 0u; first < params.d4; first += CHUNK) {
        workgroupBarrier();
        for (var at = local; at < TILE * CHUNK; at += 64u) {
            row_chunk[at / CHUNK * STEP + at % CHUNK] = query_vector(head, items[at / CHUNK], first + at % CHUNK);
        }
        for (var at = local; at < BLOCK * CHUNK; at += 64u) {
            column_chunk[at / CHUNK * STEP + at % CHUNK] = key_vector(head, columns[at / CHUNK], first + at % CHUNK);
        }
        workgroupBarrier();
        pairs = multiply_chunk(x, y, pairs);
    }
    return pairs;
}
