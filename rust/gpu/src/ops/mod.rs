//! A host function for each shader: sizes are checked, memory is taken, and one list of work is submitted.

pub mod boxes;
pub mod curves;
pub mod distance;
pub mod elementwise;
pub mod fields;
pub mod linear;
mod pieces;
pub mod self_check;
