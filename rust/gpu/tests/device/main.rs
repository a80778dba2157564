//! Tests that need a device, in one binary: linking the graphics API takes longer than they do.

mod boxes;
mod common;
mod curves;
mod distance;
mod elementwise;
mod fields;
mod linear;
mod self_check;
