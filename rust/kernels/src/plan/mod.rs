//! How an [`IndexSet`](crate::index_set::IndexSet) runs: tiles of 16 queries with the keys they share, and rows with
//! the rest.
//!
//! A key that [`THRESHOLD`] or more of a tile's queries use goes into the tile's key list with a 16-bit mask of those
//! queries; the others stay in the rows of the queries that use them. Both parts share one softmax, forward and
//! backward, so every pattern is one kernel. Offsets have one tile, shifted: index memory O(K).

pub mod arrays;
mod chunks;
mod edges;
mod listed;
mod made;
mod planned;
mod runs;
mod shifted;
mod tables;
mod tile;
mod transposed;

pub(crate) use chunks::Chunks;
pub use edges::{EdgeMap, EdgeRows};
pub use made::Plan;
pub use planned::{Planned, PlannedSet};
pub use tables::{PlanReport, Tables};
pub(crate) use tile::{Cursor, RowEdges, TileKeys};
pub use tile::{THRESHOLD, TILE};
pub(crate) use transposed::Transposed;
