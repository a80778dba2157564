// The products of a tile of 16 rows with a block of 32 columns, by 64 invocations. Invocation (x, y) of 8 x 8 has the rows
// y and y + 8, and the columns x, x + 8, x + 16 and x + 24.

// Vectors of a row that are read at a time, and how far apart rows lie, so that they begin in different banks.
const CHUNK: u32 = 8u;
const STEP: u32 = 9u;
// Between the weights of rows.
const ACROSS: u32 = 33u;
// Vectors of a slice of the result.
const SLICE: u32 = 32u;
// Vectors that a piece of a slice's columns has.
const PIECE: u32 = 256u;

// The rows' numbers, NONE where there is none.
var<workgroup> items: array<u32, 16>;
// The block's columns, 32 in all, or 32 of each row; NONE where there is none. For the former, their masks.
var<workgroup> columns: array<u32, 512>;
var<workgroup> masks: array<u32, 32>;
// A chunk of the rows and of the columns, or a piece of the columns.
var<workgroup> row_chunk: array<vec4<f32>, 144>;
var<workgroup> column_chunk: array<vec4<f32>, 288>;
var<workgroup> weights: array<f32, 528>;

// Of an invocation's 2 x 4 pairs, a row each.
struct Pairs {
    low: vec4<f32>,
    high: vec4<f32>,
}

fn choose_rows(local: u32, tile: Tile) {
    if local < TILE {
        items[local] = row_at(tile.first + local);
    }
}

fn choose_columns(local: u32, tile: Tile, block: Block) {
    if block.kind == ROWS {
        for (var at = local; at < TILE * BLOCK; at += 64u) {
            columns[at] = row_column(tile, block, at / BLOCK, at % BLOCK);
        }
    } else if local < BLOCK {
        let column = listed_column(tile, block, local);
        columns[local] = column.x;
        masks[local] = column.y;
    }
}

// The column of a row's place in the block, NONE where the row does not use it.
fn column_of(block: Block, lane: u32, i: u32) -> u32 {
    if items[lane] == NONE {
        return NONE;
    }
    if block.kind == ROWS {
        return columns[lane * BLOCK + i];
    }
    return select(NONE, columns[i], ((masks[i] >> lane) & 1u) == 1u);
}

fn multiply_chunk(x: u32, y: u32, pairs: Pairs) -> Pairs {
    var low = pairs.low;
    var high = pairs.high;
    for (var d = 0u; d < CHUNK; d += 1u) {
        let a = row_chunk[y * STEP + d];
        let b = row_chunk[(y + 8u) * STEP + d];
        let c0 = column_chunk[x * STEP + d];
        let c1 = column_chunk[(x + 8u) * STEP + d];
        let c2 = column_chunk[(x + 16u) * STEP + d];
        let c3 = column_chunk[(x + 24u) * STEP + d];
        low += vec4<f32>(dot(a, c0), dot(a, c1), dot(a, c2), dot(a, c3));
        high += vec4<f32>(dot(b, c0), dot(b, c1), dot(b, c2), dot(b, c3));
    }
    return Pairs(low, high);
}

// Vectors of a result that a slice has, a multiple of 8.
fn slice_width(slice: u32, vectors: u32) -> u32 {
    let first = slice * SLICE;
    if first >= vectors {
        return 0u;
    }
    return min(SLICE, (vectors - first + 7u) / 8u * 8u);
}

// Adds the columns of a piece, weighted. Invocation (x, y) has the vectors x, x + 8, x + 16 and x + 24 of the rows y, in
// the first half of its sums, and y + 8.
fn add_piece(x: u32, y: u32, first: u32, count: u32, width: u32, sums: ptr<function, array<vec4<f32>, 8>>) {
    for (var i = 0u; i < count; i += 1u) {
        let low = weights[y * ACROSS + first + i];
        let high = weights[(y + 8u) * ACROSS + first + i];
        let at = i * width + x;
        let c0 = column_chunk[at];
        (*sums)[0] += low * c0;
        (*sums)[4] += high * c0;
        if width > 8u {
            let c1 = column_chunk[at + 8u];
            (*sums)[1] += low * c1;
            (*sums)[5] += high * c1;
        }
        if width > 16u {
            let c2 = column_chunk[at + 16u];
            (*sums)[2] += low * c2;
            (*sums)[6] += high * c2;
        }
        if width > 24u {
            let c3 = column_chunk[at + 24u];
            (*sums)[3] += low * c3;
            (*sums)[7] += high * c3;
        }
    }
}

fn scale_sums(low: f32, high: f32, sums: ptr<function, array<vec4<f32>, 8>>) {
    (*sums)[0] *= low;
    (*sums)[1] *= low;
    (*sums)[2] *= low;
    (*sums)[3] *= low;
    (*sums)[4] *= high;
    (*sums)[5] *= high;
    (*sums)[6] *= high;
    (*sums)[7] *= high;
}
