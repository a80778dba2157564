//! Escape fields.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`JULIA`].
    pub struct JuliaParams {
        /// Real and imaginary part of c.
        pub c: [f32; 2],
        /// Escape radius.
        pub radius: f32,
        /// Most iterations.
        pub max_iter: u32,
        /// Number of points.
        pub n_points: u32,
        /// 1: the smooth count; 0: the number of the first iterate outside.
        pub smooth_count: u32,
    }
}

/// Smooth escape count of a Julia set over a list of points.
pub const JULIA: Shader = Shader {
    name: "fields/julia",
    parts: &[part!("fields/julia.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(JuliaParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "points (n, 2), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "field (n,), f32" },
    ],
    entries: &[Entry {
        name: "main",
        workgroup: [64, 1, 1],
        twin: twin!(fractal_kernels::fields::julia::julia),
        tolerance: Tolerance::Mostly { share: 1e-3, relative: 1e-4, absolute: 1e-4 },
    }],
};
