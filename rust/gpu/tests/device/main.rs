//! Tests that need a device, in one binary: linking the graphics API takes longer than they do.

mod boxes;
mod common;
mod curves;
mod distance;
mod drivers;
mod elementwise;
mod failures;
mod families;
mod fields;
mod fork;
mod linear;
mod results;
mod threads;
