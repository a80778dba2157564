// A plan: tiles of 16 rows, and for each its blocks of at most 32 columns. `rust/gpu/src/attention/tables.rs` lays it out.

const TILE: u32 = 16u;
const BLOCK: u32 = 32u;

// What a block is: consecutive columns of one mask, listed columns with a mask each, or the next columns of every row.
const RUN: u32 = 0u;
const LIST: u32 = 1u;
const ROWS: u32 = 2u;

@group(0) @binding(1) var<storage, read> tables: array<u32>;

struct Tile {
    // The position of its first row.
    first: u32,
    // What is added to its columns.
    base: u32,
    // Its blocks.
    block: u32,
    end: u32,
}

struct Block {
    // The first column, the first entry of the list, or the place within each row.
    first: u32,
    count: u32,
    kind: u32,
    // Which of the tile's rows use a run.
    mask: u32,
    // The number of its first column among those of all tiles.
    number: u32,
}

// Workgroups in the order of their heads, the longest tiles of a head first.
fn tile_of(group: u32) -> Tile {
    let at = group % params.tiles;
    if params.shifted == 1u {
        let blocks = params.block_ptr_at;
        return Tile(at * TILE, at * TILE, tables[blocks], tables[blocks + 1u]);
    }
    let tile = tables[params.tile_order_at + at];
    let blocks = params.block_ptr_at + tile;
    return Tile(tile * TILE, 0u, tables[blocks], tables[blocks + 1u]);
}

// The row at a position of the plan, NONE past the last one.
fn row_at(position: u32) -> u32 {
    if position >= params.rows {
        return NONE;
    }
    if params.order_at == NONE {
        return position;
    }
    return tables[params.order_at + position];
}

fn block_at(number: u32) -> Block {
    let at = params.blocks_at + 3u * number;
    let packed = tables[at + 1u];
    return Block(tables[at], packed & 0xffu, (packed >> 8u) & 0xffu, packed >> 16u, tables[at + 2u]);
}

// A column of a run or a list, and the tile's rows that use it.
fn listed_column(tile: Tile, block: Block, i: u32) -> vec2<u32> {
    if i >= block.count {
        return vec2<u32>(NONE, 0u);
    }
    var column = block.first + i;
    var mask = block.mask;
    if block.kind == LIST {
        let at = params.list_at + 2u * column;
        column = tables[at];
        mask = tables[at + 1u];
    }
    // What lies before the first column wraps around.
    column += tile.base;
    if column >= params.columns {
        return vec2<u32>(NONE, 0u);
    }
    return vec2<u32>(column, mask);
}

// Where the columns of a tile's row begin, and where they end.
fn row_span(tile: Tile, lane: u32) -> vec2<u32> {
    if tile.first + lane >= params.rows {
        return vec2<u32>(0u, 0u);
    }
    let at = params.row_ptr_at + lane + select(tile.first, 0u, params.shifted == 1u);
    return vec2<u32>(tables[at], tables[at + 1u]);
}

// The next column of a row, NONE where it has no more.
fn row_column(tile: Tile, block: Block, lane: u32, i: u32) -> u32 {
    let span = row_span(tile, lane);
    let at = span.x + block.first + i;
    if i >= block.count || at >= span.y {
        return NONE;
    }
    let column = tables[params.row_keys_at + at] + tile.base;
    return select(NONE, column, column < params.columns);
}

// The edge of a row and a column of a block, in the order of the index set's rows.
fn edge_of(tile: Tile, block: Block, lane: u32, i: u32) -> u32 {
    if block.kind == ROWS {
        return tables[params.row_edges_at + row_span(tile, lane).x + block.first + i];
    }
    return tables[params.tile_edges_at + (block.number + i) * TILE + lane];
}
