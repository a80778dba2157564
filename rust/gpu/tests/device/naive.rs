//! The slow twins that shaders share with the CPU's kernels.

#[path = "../../../kernels/tests/naive/attention.rs"]
// The statistics of the weights are the CPU's alone.
#[allow(dead_code, unreachable_pub, clippy::pedantic)]
pub(crate) mod attention;
