//! Tests that need a device, in one binary: linking the graphics API takes longer than they do.

mod attention;
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
mod naive;
mod results;
mod threads;

// Attention faces the inputs of the CPU's kernel.
#[path = "../../../kernels/tests/attention/inputs.rs"]
#[allow(clippy::pedantic)]
mod inputs;
#[path = "../../../kernels/tests/attention/runs.rs"]
#[allow(dead_code, clippy::pedantic)]
mod runs;
