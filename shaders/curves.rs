//! Codes of lattice points along space-filling curves.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Part, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`HILBERT`] and [`MORTON`].
    pub struct CodecParams {
        /// Bits of a coordinate.
        pub order: u32,
        /// First point of this dispatch.
        pub first: u32,
        /// Behind its last point.
        pub end: u32,
    }
}

const BINDINGS: &[Binding] = &[
    Binding { index: 0, kind: Kind::Uniform(CodecParams::LAYOUT), holds: "parameters" },
    Binding { index: 1, kind: Kind::ReadOnly, holds: "points (n, ndim), u32, or codes (n,), u64" },
    Binding { index: 2, kind: Kind::ReadWrite, holds: "codes (n,), u64, or points (n, ndim), u32" },
];

const WORKGROUP: [u32; 3] = [256, 1, 1];

const fn entry(name: &'static str, twin: &'static str) -> Entry {
    Entry { name, workgroup: WORKGROUP, twin, tolerance: Tolerance::Exact }
}

const INTERLEAVE: Part = part!("curves/interleave.wgsl");
const CODEC: Part = part!("curves/codec.wgsl");

/// The Hilbert curve of the plane and of space.
pub const HILBERT: Shader = Shader {
    name: "curves/hilbert",
    parts: &[part!("grid.wgsl"), INTERLEAVE, part!("curves/hilbert.wgsl"), CODEC],
    needs: &[],
    constants: &[],
    bindings: BINDINGS,
    entries: &[
        entry("encode2", twin!(fractal_kernels::curves::hilbert::encode)),
        entry("encode3", twin!(fractal_kernels::curves::hilbert::encode)),
        entry("decode2", twin!(fractal_kernels::curves::hilbert::decode)),
        entry("decode3", twin!(fractal_kernels::curves::hilbert::decode)),
    ],
};

/// The Morton curve of the plane and of space.
pub const MORTON: Shader = Shader {
    name: "curves/morton",
    parts: &[part!("grid.wgsl"), INTERLEAVE, part!("curves/morton.wgsl"), CODEC],
    needs: &[],
    constants: &[],
    bindings: BINDINGS,
    entries: &[
        entry("encode2", twin!(fractal_kernels::curves::morton::encode)),
        entry("encode3", twin!(fractal_kernels::curves::morton::encode)),
        entry("decode2", twin!(fractal_kernels::curves::morton::decode)),
        entry("decode3", twin!(fractal_kernels::curves::morton::decode)),
    ],
};
