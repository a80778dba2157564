//! Space-filling curves: Hilbert and Morton codes of points, orders of the cells of a box, the dragon curve.

mod block;
mod codec;
pub mod dragon;
pub mod hilbert;
pub mod hilbert_order;
mod interleave;
pub mod lattice;
pub mod morton;
mod plane;
mod plane_digits;
mod space;
