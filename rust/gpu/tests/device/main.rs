//! Tests that need a device, in one binary: linking the graphics API takes longer than they do.

mod common;
mod drivers;
mod elementwise;
mod failures;
mod fork;
mod results;
mod threads;
