//! A host function for each shader: sizes are checked, memory is taken, and one list of work is submitted.

pub mod boxes;
mod checking;
pub mod curves;
mod dispatches;
pub mod distance;
pub mod elementwise;
pub mod fields;
pub mod linear;

use crate::checks::Family;

/// Everything that is checked on a device before its first use.
pub const FAMILIES: &[&Family] = &[
    &boxes::BOXES,
    &curves::HILBERT_CODEC,
    &curves::MORTON_CODEC,
    &distance::DENSITIES,
    &distance::DISTANCES,
    &elementwise::FAMILY,
    &fields::ESCAPES,
    &fields::SOFT,
    &linear::PRODUCTS,
    &linear::ROWS,
];
