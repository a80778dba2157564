//! Every family of kernels.

use crate::attention::family;
use crate::checks::KernelFamily;
use crate::ops::{boxes, curves, distance, elementwise, fields, linear};

/// Everything that is checked on a device before its first use.
pub const FAMILIES: &[&KernelFamily] = &[
    &family::<f32>(false),
    &family::<f32>(true),
    &family::<half::f16>(false),
    &family::<half::f16>(true),
    &family::<half::bf16>(false),
    &family::<half::bf16>(true),
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
