//! A host function for each shader: sizes are checked, memory is taken, and one list of work is submitted.

pub mod elementwise;

use crate::checks::Family;

/// Every family of kernels.
pub const FAMILIES: &[&Family] = &[&elementwise::FAMILY];
