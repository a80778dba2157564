//! The WGSL compute shaders of `fractal_core`, as data: a leaf crate with no GPU API in it.
//!
//! A shader is one or more files, its bindings, and its entry points, each with the CPU function that it agrees with (its
//! *twin*) and how closely. Host code is made from these tables, and a test holds the tables to the WGSL: what is bound
//! where, workgroup sizes, the layout of parameters. One file a subject beside the folder of its WGSL files.
#![forbid(unsafe_code)]

mod params;
mod tolerance;

pub mod attention;
pub mod boxes;
pub mod curves;
pub mod distance;
pub mod elementwise;
pub mod fields;
pub mod linear;

pub use params::{Field, Layout, Params, Word};
pub use tolerance::{Disagreement, Tolerance};

/// One compute shader.
#[derive(Debug)]
pub struct Shader {
    /// Unique name: subject and shader, such as `fields/julia`.
    pub name: &'static str,
    /// The files whose texts make its source, in this order.
    pub parts: &'static [Part],
    /// What an adapter must offer beyond WebGPU's defaults.
    pub needs: &'static [Need],
    /// Its pipeline constants (WGSL's `override`) and the values that they are used with.
    pub constants: &'static [Constant],
    /// Its bindings in group 0. Every entry point uses all of them.
    pub bindings: &'static [Binding],
    /// Its entry points.
    pub entries: &'static [Entry],
}

/// One WGSL file.
#[derive(Debug)]
pub struct Part {
    /// Path relative to this crate.
    pub file: &'static str,
    /// What it says.
    pub text: &'static str,
}

/// A capability that not every adapter has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Operations across the invocations that run in lockstep.
    Subgroups,
    /// `f16` in storage and arithmetic; the source says `enable f16;`.
    F16,
}

/// A pipeline constant.
#[derive(Debug)]
pub struct Constant {
    /// Its name in WGSL.
    pub name: &'static str,
    /// Every value that it is used with, the default first. Each costs a compilation on first use.
    pub choices: &'static [f64],
}

/// One buffer that a shader reads or writes.
#[derive(Debug)]
pub struct Binding {
    /// Its `@binding`, which is its place in the table.
    pub index: u32,
    /// How it is used.
    pub kind: Kind,
    /// What is in it, with its shape.
    pub holds: &'static str,
}

/// How a buffer is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The call's parameters, of this layout; always binding 0.
    Uniform(Layout),
    /// An array to read.
    ReadOnly,
    /// An array to write, or to read and write.
    ReadWrite,
}

/// One entry point.
#[derive(Debug)]
pub struct Entry {
    /// Its name in WGSL.
    pub name: &'static str,
    /// Invocations per workgroup along x, y and z.
    pub workgroup: [u32; 3],
    /// Path of the CPU function that it agrees with.
    pub twin: &'static str,
    /// How closely.
    pub tolerance: Tolerance,
}

impl Shader {
    /// Complete WGSL source.
    pub fn source(&self) -> String {
        self.parts.iter().map(|part| part.text).collect()
    }

    /// An entry point by name.
    pub fn entry(&self, name: &str) -> Option<&'static Entry> {
        self.entries.iter().find(|entry| entry.name == name)
    }

    /// The layout of its parameters, if it has any.
    pub fn params(&self) -> Option<Layout> {
        self.bindings.iter().find_map(|binding| match binding.kind {
            Kind::Uniform(layout) => Some(layout),
            Kind::ReadOnly | Kind::ReadWrite => None,
        })
    }

    /// Its arrays in the order of their bindings: every binding but the parameters.
    pub fn arrays(&self) -> impl Iterator<Item = &'static Binding> {
        self.bindings.iter().filter(|binding| !matches!(binding.kind, Kind::Uniform(_)))
    }
}

/// Every shader of this crate.
pub const ALL: &[&Shader] = &[
    &boxes::COUNT,
    &boxes::OCCUPIED,
    &boxes::SUMS,
    &curves::HILBERT,
    &curves::MORTON,
    &distance::DENSITY,
    &distance::PAIRWISE,
    &elementwise::BINARY,
    &elementwise::UNARY,
    &fields::ESCAPE,
    &fields::FOLD,
    &fields::SOFT_JULIA,
    &fields::SOFT_JULIA_VJP,
    &linear::MATMUL,
    &linear::SOFTMAX,
    &attention::F32.forward,
    &attention::F32.forward_in_subgroups,
    &attention::F32.delta,
    &attention::F32.queries,
    &attention::F32.keys,
    &attention::F16.forward,
    &attention::F16.forward_in_subgroups,
    &attention::F16.delta,
    &attention::F16.queries,
    &attention::F16.keys,
    &attention::BF16.forward,
    &attention::BF16.forward_in_subgroups,
    &attention::BF16.delta,
    &attention::BF16.queries,
    &attention::BF16.keys,
];

/// A file of this crate as part of a shader.
macro_rules! part {
    ($file:literal) => {
        $crate::Part { file: $file, text: include_str!($file) }
    };
}
use part;

/// The path of a CPU function, which must exist when this crate's tests are compiled.
macro_rules! twin {
    ($path:path) => {{
        #[cfg(test)]
        #[allow(unused_imports, reason = "named so that the compiler finds it")]
        use $path as _;
        stringify!($path)
    }};
}
use twin;
