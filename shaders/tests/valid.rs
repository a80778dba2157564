//! Every shader on disk is listed, parses, validates, and has the workgroup it is listed with. Needs no GPU.

use fractal_shaders::ALL;
use naga::valid::{Capabilities, ValidationFlags, Validator};
use std::collections::BTreeSet;

#[test]
fn every_file_is_listed_once() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let on_disk: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".wgsl").map(String::from))
        .collect();
    let listed: BTreeSet<String> = ALL.iter().map(|shader| shader.name.to_string()).collect();
    assert_eq!(on_disk, listed);
    assert_eq!(listed.len(), ALL.len());
}

#[test]
fn every_shader_parses_and_validates() {
    for shader in ALL {
        let module = naga::front::wgsl::parse_str(shader.source)
            .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(shader.source)));
        Validator::new(ValidationFlags::all(), Capabilities::empty())
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(shader.source)));
        let entries: Vec<_> =
            module.entry_points.iter().map(|e| (e.name.as_str(), e.stage, e.workgroup_size)).collect();
        assert_eq!(entries, [("main", naga::ShaderStage::Compute, shader.workgroup)], "{}", shader.name);
    }
}
