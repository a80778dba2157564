//! Every shader on disk is listed, and is what its table says. Needs no GPU.

use fractal_shaders::{ALL, Kind, Layout, Need, Shader};
use naga::back::pipeline_constants::process_overrides;
use naga::back::{PipelineConstants, hlsl, msl, spv};
use naga::common::wgsl::TryToWgsl;
use naga::proc::Layouter;
use naga::valid::{Capabilities, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, Handle, Module, ShaderStage, StorageAccess, Type, TypeInner};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

// What WebGPU promises of every adapter.
const BINDINGS: usize = 8;
const INVOCATIONS: u32 = 256;
const WORKGROUP_BYTES: u32 = 16 << 10;

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "wgsl"))
        .collect()
}

#[test]
fn every_file_is_part_of_a_shader() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let on_disk: BTreeSet<String> =
        files(root).iter().map(|path| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/")).collect();
    let listed: BTreeSet<String> =
        ALL.iter().flat_map(|shader| shader.parts).map(|part| part.file.to_string()).collect();
    assert_eq!(on_disk, listed);
    let names: BTreeSet<_> = ALL.iter().map(|shader| shader.name).collect();
    assert_eq!(names.len(), ALL.len());
}

/// Parsed, and validated with nothing beyond WebGPU's defaults but what the shader says it needs.
fn validated(shader: &Shader) -> (Module, ModuleInfo) {
    // WebGPU has conversions from and to halves everywhere.
    let needs = shader.needs.iter().fold(Capabilities::SHADER_FLOAT16_IN_FLOAT32, |all, need| {
        all | match need {
            Need::Subgroups => Capabilities::SUBGROUP | Capabilities::SUBGROUP_BARRIER,
            Need::F16 => Capabilities::SHADER_FLOAT16,
        }
    });
    let source = shader.source();
    let options = naga::front::wgsl::Options { capabilities: needs, ..naga::front::wgsl::Options::new() };
    let module = naga::front::wgsl::Frontend::new_with_options(options)
        .parse(&source)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
    let info = Validator::new(ValidationFlags::all(), needs)
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}: {}", shader.name, e.emit_to_string(&source)));
    (module, info)
}

fn type_name(module: &Module, ty: Handle<Type>) -> String {
    let scalar = |scalar: naga::Scalar| scalar.to_wgsl_for_diagnostics();
    match module.types[ty].inner {
        TypeInner::Scalar(s) => scalar(s),
        TypeInner::Vector { size, scalar: s } => format!("vec{}<{}>", size as u8, scalar(s)),
        ref other => format!("{other:?}"),
    }
}

/// A struct of parameters has the host's fields at the host's places.
fn assert_layout(shader: &Shader, module: &Module, ty: Handle<Type>, layout: Layout) {
    let TypeInner::Struct { ref members, span } = module.types[ty].inner else {
        panic!("{}: parameters are a struct", shader.name)
    };
    let host: Vec<_> =
        layout.fields.iter().map(|field| (field.name, field.wgsl.to_string(), field.offset as u32)).collect();
    let wgsl: Vec<_> = members
        .iter()
        .map(|member| (member.name.as_deref().unwrap(), type_name(module, member.ty), member.offset))
        .collect();
    assert_eq!(wgsl, host, "{}", shader.name);
    assert_eq!(span as usize, layout.size, "{}", shader.name);
}

#[test]
fn bindings_are_those_of_the_table() {
    for shader in ALL {
        let (module, info) = validated(shader);
        let name = shader.name;
        let mut bound: Vec<_> =
            module.global_variables.iter().filter_map(|(at, var)| Some((var.binding?, at, var))).collect();
        bound.sort_by_key(|(binding, ..)| *binding);
        assert!(bound.len() <= BINDINGS, "{name}");
        assert_eq!(bound.len(), shader.bindings.len(), "{name}");
        for (place, ((binding, at, var), listed)) in bound.iter().zip(shader.bindings).enumerate() {
            assert_eq!((binding.group, binding.binding, place), (0, listed.index, listed.index as usize), "{name}");
            match (listed.kind, var.space) {
                (Kind::Uniform(layout), AddressSpace::Uniform) => {
                    assert_eq!(place, 0, "{name}: parameters are binding 0");
                    assert_layout(shader, &module, var.ty, layout);
                }
                (Kind::ReadOnly, AddressSpace::Storage { access }) => assert_eq!(access, StorageAccess::LOAD, "{name}"),
                (Kind::ReadWrite, AddressSpace::Storage { access }) => {
                    assert_eq!(access, StorageAccess::LOAD | StorageAccess::STORE, "{name}");
                }
                (kind, space) => panic!("{name}: binding {place} is {kind:?} in the table, {space:?} in WGSL"),
            }
            for (index, entry) in module.entry_points.iter().enumerate() {
                assert!(!info.get_entry_point(index)[*at].is_empty(), "{name}: {} leaves {listed:?} out", entry.name);
            }
        }
    }
}

#[test]
fn entry_points_are_those_of_the_table() {
    for shader in ALL {
        let (module, _) = validated(shader);
        let wgsl: Vec<_> = module
            .entry_points
            .iter()
            .map(|e| (e.name.as_str(), e.stage, e.workgroup_size, e.workgroup_size_overrides.is_some()))
            .collect();
        let listed: Vec<_> =
            shader.entries.iter().map(|e| (e.name, ShaderStage::Compute, e.workgroup, false)).collect();
        assert_eq!(wgsl, listed, "{}", shader.name);
        for entry in shader.entries {
            assert!(entry.workgroup.iter().product::<u32>() <= INVOCATIONS, "{}: {}", shader.name, entry.name);
        }
    }
}

/// Every combination of the values that the pipeline constants are used with.
fn combinations(shader: &Shader) -> Vec<PipelineConstants> {
    let mut all = vec![PipelineConstants::default()];
    for constant in shader.constants {
        let with = |some: &PipelineConstants, value: f64| {
            let mut more = some.clone();
            more.insert(constant.name.to_string(), value);
            more
        };
        all = constant.choices.iter().flat_map(|&value| all.iter().map(move |some| with(some, value))).collect();
    }
    all
}

/// With every choice of its constants a shader keeps to the limits, and the languages of all three systems can say it.
#[test]
fn every_choice_of_constants_fits_and_translates() {
    for shader in ALL {
        let (module, info) = validated(shader);
        let names: BTreeSet<_> = module.overrides.iter().filter_map(|(_, var)| var.name.clone()).collect();
        assert_eq!(names, shader.constants.iter().map(|c| c.name.to_string()).collect(), "{}", shader.name);
        for (constants, entry) in
            combinations(shader).iter().flat_map(|constants| shader.entries.iter().map(move |entry| (constants, entry)))
        {
            let about = format!("{}: {} with {constants:?}", shader.name, entry.name);
            let at = Some((ShaderStage::Compute, entry.name));
            let (module, info) =
                process_overrides(&module, &info, at, constants).unwrap_or_else(|e| panic!("{about}: {e}"));
            let mut layouter = Layouter::default();
            layouter.update(module.to_ctx()).unwrap();
            let index = module.entry_points.iter().position(|e| e.name == entry.name).unwrap();
            let used = info.get_entry_point(index);
            let bytes: u32 = module
                .global_variables
                .iter()
                .filter(|(at, var)| var.space == AddressSpace::WorkGroup && !used[*at].is_empty())
                .map(|(_, var)| layouter[var.ty].size)
                .sum();
            assert!(bytes <= WORKGROUP_BYTES, "{about}: {bytes} bytes of workgroup memory");

            let options = spv::Options { lang_version: (1, 3), ..Default::default() };
            spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("{about}: SPIR-V: {e}"));
            let options = msl::Options { lang_version: (2, 4), fake_missing_bindings: true, ..Default::default() };
            msl::write_string(&module, &info, &options, &msl::PipelineOptions::default())
                .unwrap_or_else(|e| panic!("{about}: Metal: {e}"));
            let options = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
            hlsl::Writer::new(&mut String::new(), &options, &hlsl::PipelineOptions::default())
                .write(&module, &info, None)
                .unwrap_or_else(|e| panic!("{about}: HLSL: {e}"));
        }
    }
}
