//! Tests that need a device, in one binary: linking the graphics API takes longer than they do.

<<<<<<< HEAD
mod boxes;
=======
mod attention;
>>>>>>> 29b3a39
mod common;
mod curves;
mod distance;
mod drivers;
mod elementwise;
mod failures;
mod families;
mod fields;
mod fork;
<<<<<<< HEAD
mod linear;
=======
mod naive;
>>>>>>> 29b3a39
mod results;
mod threads;

// Attention faces the inputs of the CPU's kernel.
#[path = "../../../kernels/tests/attention/inputs.rs"]
#[allow(clippy::pedantic)]
mod inputs;
#[path = "../../../kernels/tests/attention/runs.rs"]
#[allow(dead_code, clippy::pedantic)]
mod runs;
