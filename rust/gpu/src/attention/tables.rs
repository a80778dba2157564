//! A plan as the shaders read it: one array of words.
//!
//! The columns of a tile are cut into blocks of at most 32. A block is three words: the first column (of a run), the first
//! entry (of a list) or the place within each row; how many columns, what it is and the mask of a run; and the number of its
//! first column among those of all tiles. A run has consecutive columns of one mask; what is mixed is listed, a column and
//! its mask an entry. Then come the blocks of the rows, the next 32 columns of every row each. All of a tile's blocks share
//! one softmax.

use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::plan::arrays::TableArrays;
use fractal_kernels::plan::{TILE, Tables};

/// Columns of a block.
const BLOCK: usize = 32;

/// What a block is, as in `attention/plan.wgsl`.
#[derive(Clone, Copy)]
enum Kind {
    Run = 0,
    List = 1,
    Rows = 2,
}

/// No such part.
pub(super) const NONE: u32 = u32::MAX;

/// Where the parts of a plan's words begin, and its sizes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts {
    pub(super) rows: u32,
    pub(super) columns: u32,
    pub(super) tiles: u32,
    pub(super) shifted: bool,
    /// Blocks of an average tile.
    pub(super) blocks_per_tile: f64,
    pub(super) order: u32,
    pub(super) tile_order: u32,
    pub(super) block_ptr: u32,
    pub(super) blocks: u32,
    pub(super) list: u32,
    pub(super) row_ptr: u32,
    pub(super) row_keys: u32,
    pub(super) tile_edges: u32,
    pub(super) row_edges: u32,
}

/// The words of a plan.
pub(super) struct PlanWords {
    pub(super) words: Vec<u32>,
    pub(super) parts: Parts,
}

/// The blocks of all tiles.
#[derive(Default)]
struct KeyBlocks {
    /// Where each tile's begin.
    ptr: Vec<u32>,
    all: Vec<[u32; 3]>,
    list: Vec<[u32; 2]>,
    /// By column of a tile and lane, where edges have biases.
    edges: Option<Vec<u32>>,
    /// Columns of tiles so far.
    columns: usize,
    /// The block that is being filled.
    open: Vec<(u32, u16)>,
}

impl KeyBlocks {
    fn push(&mut self, column: u32, mask: u16, edges: &mut impl Iterator<Item = u32>) {
        self.open.push((column, mask));
        if let Some(of_lanes) = &mut self.edges {
            of_lanes.extend((0..TILE).map(|lane| if mask >> lane & 1 == 1 { edges.next().unwrap_or(0) } else { 0 }));
        }
        if self.open.len() == BLOCK {
            self.close();
        }
    }

    /// Ends a block.
    fn close(&mut self) {
        let Some(&(first, mask)) = self.open.first() else { return };
        let number = self.columns as u32;
        self.columns += self.open.len();
        let run = self.open.iter().zip(0..).all(|(&entry, i)| entry == (first.wrapping_add(i), mask));
        if run {
            self.block(first, self.open.len(), Kind::Run, mask, number);
        } else {
            self.block(self.list.len() as u32, self.open.len(), Kind::List, 0, number);
            self.list.extend(self.open.iter().map(|&(column, mask)| [column, u32::from(mask)]));
        }
        self.open.clear();
    }

    fn block(&mut self, first: u32, count: usize, kind: Kind, mask: u16, number: u32) {
        self.all.push([first, count as u32 | (kind as u32) << 8 | u32::from(mask) << 16, number]);
    }

    /// Ends a tile whose longest row has so many columns.
    fn end_tile(&mut self, longest: usize) {
        self.close();
        for at in (0..longest).step_by(BLOCK) {
            self.block(at as u32, (longest - at).min(BLOCK), Kind::Rows, 0, 0);
        }
        self.ptr.push(self.all.len() as u32);
    }

    /// The columns of a tile's entries, shifted; see the layout in [`fractal_kernels::plan::arrays`].
    fn entries(
        &mut self,
        keys: impl Iterator<Item = i64> + Clone,
        masks: &[u16],
        shift: i64,
        edges: &mut impl Iterator<Item = u32>,
    ) {
        let mut entries = keys.zip(masks.iter().copied());
        while let Some((key, mask)) = entries.next() {
            if mask == 0 {
                let (length, mask) = entries.next().unwrap_or_default();
                (key..key + length).for_each(|column| self.push((column + shift) as u32, mask, edges));
            } else {
                self.push((key + shift) as u32, mask, edges);
            }
        }
    }
}

impl PlanWords {
    /// Lays out a plan, with the edges of its pairs where those have biases: of tiles by tile, column and row, then of
    /// rows.
    pub(super) fn new(plan: &Tables, edges: Option<&[u32]>) -> Result<Self> {
        let mut blocks = KeyBlocks { ptr: vec![0], edges: edges.map(|_| Vec::new()), ..KeyBlocks::default() };
        let mut pairs = edges.unwrap_or(&[]).iter().copied();
        let (row_ptr, row_keys, shifted) = match plan.arrays() {
            TableArrays::Listed { tile_ptr, tile_keys, tile_masks, row_ptr, row_keys } => {
                for tile in 0..plan.tiles() {
                    let span = tile_ptr[tile]..tile_ptr[tile + 1];
                    let entries = tile_keys[span.clone()].iter().map(|&key| i64::from(key));
                    blocks.entries(entries, &tile_masks[span], 0, &mut pairs);
                    blocks.end_tile(longest_row(row_ptr, tile));
                }
                (row_ptr, row_keys.to_vec(), false)
            }
            TableArrays::Shifted { q_offset, tile_keys, tile_masks, row_ptr, row_offsets, .. } => {
                blocks.entries(tile_keys.iter().map(|&key| i64::from(key)), tile_masks, q_offset, &mut pairs);
                blocks.end_tile(longest_row(row_ptr, 0));
                let of_lane = |lane: usize| {
                    let offsets = &row_offsets[row_ptr[lane]..row_ptr[lane + 1]];
                    offsets.iter().map(move |offset| (lane as i64 + q_offset - offset) as u32)
                };
                (&row_ptr[..], (0..TILE).flat_map(of_lane).collect(), true)
            }
        };
        let of_rows = edges.map(|edges| &edges[edges.len() - pairs.len()..]);
        let sizes = [plan.n_queries(), plan.n_keys()];
        Self::assembled(sizes, plan.order(), &blocks, row_ptr, &row_keys, of_rows, shifted)
    }

    /// Lays out rows alone, in which a column may be listed twice.
    pub(super) fn of_rows(columns: usize, row_ptr: &[usize], row_keys: &[u32]) -> Result<Self> {
        let rows = row_ptr.len() - 1;
        let mut blocks = KeyBlocks { ptr: vec![0], ..KeyBlocks::default() };
        (0..rows.div_ceil(TILE)).for_each(|tile| blocks.end_tile(longest_row(row_ptr, tile)));
        Self::assembled([rows, columns], None, &blocks, row_ptr, row_keys, None, false)
    }

    fn assembled(
        [rows, columns]: [usize; 2],
        order: Option<&[u32]>,
        blocks: &KeyBlocks,
        row_ptr: &[usize],
        row_keys: &[u32],
        row_edges: Option<&[u32]>,
        shifted: bool,
    ) -> Result<Self> {
        if rows.max(columns) > i32::MAX as usize - TILE {
            let given = format!("{rows} queries and {columns} keys");
            return Err(KernelError::value("index_set", given, "less than 2^31 of either on a GPU").into());
        }
        let mut words = Words::default();
        let tiles = rows.div_ceil(TILE);
        let row_ptr: Vec<u32> = row_ptr.iter().map(|&at| at as u32).collect();
        let parts = Parts {
            rows: rows as u32,
            columns: columns as u32,
            tiles: tiles as u32,
            shifted,
            blocks_per_tile: blocks.all.len() as f64 / if shifted { 1.0 } else { tiles.max(1) as f64 },
            order: order.map_or(NONE, |order| words.part(order)),
            tile_order: if shifted { NONE } else { words.part(&longest_first(&blocks.ptr)) },
            block_ptr: words.part(&blocks.ptr),
            blocks: words.part(blocks.all.as_flattened()),
            list: words.part(blocks.list.as_flattened()),
            row_ptr: words.part(&row_ptr),
            row_keys: words.part(row_keys),
            tile_edges: blocks.edges.as_ref().map_or(NONE, |edges| words.part(edges)),
            row_edges: row_edges.map_or(NONE, |edges| words.part(edges)),
        };
        if words.0.len() >= NONE as usize {
            let given = format!("{} words of its plan", words.0.len());
            return Err(KernelError::value("index_set", given, "less than 2^32 on a GPU").into());
        }
        Ok(Self { words: words.0, parts })
    }
}

/// Columns of the longest row of a tile.
fn longest_row(row_ptr: &[usize], tile: usize) -> usize {
    let rows = &row_ptr[tile * TILE..=(tile * TILE + TILE).min(row_ptr.len() - 1)];
    rows.windows(2).map(|ends| ends[1] - ends[0]).max().unwrap_or(0)
}

/// Words, part after part.
#[derive(Default)]
struct Words(Vec<u32>);

impl Words {
    /// Appends a part; returns where it begins.
    fn part(&mut self, words: &[u32]) -> u32 {
        let start = self.0.len();
        self.0.extend_from_slice(words);
        start as u32
    }
}

/// Tiles by their numbers of blocks, the most first: what begins late must not end late.
fn longest_first(block_ptr: &[u32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..block_ptr.len() as u32 - 1).collect();
    let length = |&tile: &u32| block_ptr[tile as usize + 1] - block_ptr[tile as usize];
    order.sort_by_key(|tile| std::cmp::Reverse(length(tile)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use fractal_kernels::executor::Serial;
    use fractal_kernels::index_set::IndexSet;

    /// Every (row, column) pair that the words say, read as the shader reads them.
    fn pairs(plan: &PlanWords) -> Vec<(u32, u32)> {
        let (p, words) = (plan.parts, &plan.words);
        let word = |at: u32| words[at as usize];
        let mut found = Vec::new();
        for at in 0..p.tiles {
            let tile = if p.shifted { at } else { word(p.tile_order + at) };
            let (base, ptr) = if p.shifted { (16 * at, 0) } else { (0, tile) };
            for block in word(p.block_ptr + ptr)..word(p.block_ptr + ptr + 1) {
                let first = word(p.blocks + 3 * block);
                let packed = word(p.blocks + 3 * block + 1);
                let (count, kind, mask) = (packed & 0xff, packed >> 8 & 0xff, packed >> 16);
                assert!(count <= 32);
                for lane in (0..16).filter(|lane| 16 * tile + lane < p.rows) {
                    let position = 16 * tile + lane;
                    let row = if p.order == NONE { position } else { word(p.order + position) };
                    let ptr = p.row_ptr + if p.shifted { lane } else { position };
                    for i in 0..count {
                        let column = match kind {
                            0 if mask >> lane & 1 == 1 => first.wrapping_add(i),
                            1 if word(p.list + 2 * (first + i) + 1) >> lane & 1 == 1 => word(p.list + 2 * (first + i)),
                            2 if word(ptr) + first + i < word(ptr + 1) => word(p.row_keys + word(ptr) + first + i),
                            _ => continue,
                        };
                        let column = column.wrapping_add(base);
                        if column < p.columns {
                            found.push((row, column));
                        }
                    }
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn the_words_say_the_pairs_of_the_set() {
        let random = |n: usize, m: usize| {
            let row = |i: usize| {
                let near = (0..m).filter(move |j| j.abs_diff(i) < 40 || (j * 7 + i * 13).is_multiple_of(29));
                near.map(|j| j as i32).collect::<Vec<_>>()
            };
            let rows: Vec<_> = (0..n).map(row).collect();
            let indptr = rows.iter().scan(0, |sum, row| {
                *sum += row.len() as i64;
                Some(*sum)
            });
            IndexSet::from_csr([0].into_iter().chain(indptr).collect(), rows.concat(), m).unwrap()
        };
        let offsets = |o: Vec<i64>, n, m, at| IndexSet::from_offsets(o, n, m, at).unwrap();
        for set in [
            offsets((-9..=9).collect(), 70, 70, 0),
            offsets((-3..70).chain([100, 200]).collect(), 50, 400, 350),
            offsets(vec![0, 40, 97], 130, 130, 0),
            offsets(vec![5], 1, 9, 8),
            random(100, 90),
            random(33, 200).with_order((0..33).rev().collect()).unwrap(),
        ] {
            let plan = Tables::new(&set, &Serial).unwrap();
            let mut wanted: Vec<_> =
                (0..set.n_queries()).flat_map(|i| set.row(i).map(move |j| (i as u32, j))).collect();
            wanted.sort_unstable();
            assert_eq!(pairs(&PlanWords::new(&plan, None).unwrap()), wanted);
        }
    }

    #[test]
    fn a_window_stays_runs() {
        let set = IndexSet::from_offsets((-64..=64).collect(), 4096, 4096, 0).unwrap();
        let plan = PlanWords::new(&Tables::new(&set, &Serial).unwrap(), None).unwrap();
        // 144 columns are five blocks, of which three are runs.
        assert!((plan.parts.blocks_per_tile - 5.0).abs() < 1e-9);
        assert!(plan.words.len() < 200, "{}", plan.words.len());
    }

    #[test]
    fn the_longest_tiles_come_first() {
        assert_eq!(longest_first(&[0, 1, 4, 4, 7]), [1, 3, 0, 2]);
    }
}
