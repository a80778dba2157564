//! Index sets: which keys each query attends to. How they run is up to a plan.

mod algebra;
mod convert;
mod occupied;
mod reach;
mod runs;
mod set;

pub use convert::Csr;
pub use occupied::Occupied;
pub use reach::Reach;
pub use runs::{Blocks, Within};
pub use set::{Form, IndexSet, KeyRun, Row};
