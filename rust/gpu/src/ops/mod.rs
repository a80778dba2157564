//! A host function for each shader: sizes are checked, memory is taken, and one list of work is submitted.

pub mod boxes;
mod checking;
pub mod curves;
mod dispatches;
pub mod distance;
pub mod elementwise;
pub mod fields;
pub mod linear;
