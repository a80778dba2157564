//! The small problem of each family of shaders.

use crate::common::context;
use fractal_gpu::ops::self_check::SELF_CHECKS;
use fractal_shaders::ALL;
use std::collections::BTreeSet;

#[test]
fn a_device_that_computes_right_passes_every_check() {
    let Some(context) = context() else { return };
    for check in SELF_CHECKS {
        (check.run)(&context).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Families that are checked elsewhere.
const OTHERS: [&str; 2] = ["elementwise", "attention"];

#[test]
fn every_shader_is_in_one_check() {
    let checked: Vec<_> = SELF_CHECKS.iter().flat_map(|check| check.shaders).map(|shader| shader.name).collect();
    let set: BTreeSet<_> = checked.iter().copied().collect();
    assert_eq!(set.len(), checked.len());
    let all: BTreeSet<_> = ALL
        .iter()
        .map(|shader| shader.name)
        .filter(|name| !OTHERS.contains(&name.split('/').next().unwrap_or_default()))
        .collect();
    assert_eq!(set, all);
}
