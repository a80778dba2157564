//! A host function for each shader: sizes are checked, memory is taken, and one list of work is submitted.

pub mod elementwise;
