//! Each family of shaders against its twins: the small problem before its first use, and problems of many sizes.

use crate::common::{context, options};
use fractal_gpu::{Context, FAMILIES, Fault, GpuError, Trial};
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

#[test]
fn every_family_agrees_with_its_twins_at_every_size() {
    let Some(context) = context() else { return };
    // None, one, both sides of a workgroup, and sizes that divide nothing.
    let sizes = [0, 1, 2, 15, 16, 17, 63, 64, 65, 255, 256, 257, 511, 1000, 1021, 2311, 4099];
    for family in FAMILIES {
        for size in sizes {
            let found = (family.check)(&context, &Trial::new(size));
            found.unwrap_or_else(|error| panic!("{}, size {size}: {error}", family.name));
        }
    }
}
