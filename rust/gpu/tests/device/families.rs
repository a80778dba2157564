//! The small problem of each family of shaders.

use crate::common::{context, options};
use fractal_gpu::FAMILIES;
use fractal_gpu::{Context, Fault, GpuError};
use std::collections::BTreeSet;

#[test]
fn a_device_is_trusted_for_what_it_computes_right() {
    if context().is_none() {
        return;
    }
    let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(names.len(), FAMILIES.len());
    let context = Context::open(&options()).unwrap();
    for (i, family) in FAMILIES.iter().enumerate() {
        let wrong = i % 2 == 1;
        if wrong {
            context.inject(Fault::WrongResult);
        }
        let found = context.trust(family);
        assert_eq!(matches!(found, Err(GpuError::Wrong { .. })), wrong, "{}: {found:?}", family.name);
        assert_eq!(found.is_ok(), !wrong, "{}: {found:?}", family.name);
    }
}
