//! The slow twins that shaders share with the CPU's kernels.

#[path = "../../../kernels/tests/naive/attention.rs"]
#[allow(unreachable_pub, clippy::pedantic)]
pub(crate) mod attention;
