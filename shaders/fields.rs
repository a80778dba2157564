//! Escape fields.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`ESCAPE`].
    pub struct EscapeParams {
        /// Real part of c; of no account for the Mandelbrot set.
        pub c_re: f32,
        /// Imaginary part of c.
        pub c_im: f32,
        /// Escape radius.
        pub radius: f32,
        /// Most iterations.
        pub max_iter: u32,
        /// First point of this dispatch.
        pub first: u32,
        /// Behind its last point.
        pub end: u32,
        /// 1: the smooth count; 0: the number of the first iterate outside.
        pub smooth_count: u32,
    }
}

params! {
    /// Parameters of [`SOFT_JULIA`] and [`SOFT_JULIA_VJP`].
    pub struct SoftParams {
        /// Real and imaginary part of c.
        pub c: [f32; 2],
        /// Radius of the disc.
        pub radius: f32,
        /// Steepness of its edge.
        pub smoothness: f32,
        /// Most iterations.
        pub max_iter: u32,
        /// First point of this dispatch.
        pub first: u32,
        /// Behind its last point.
        pub end: u32,
        /// What the derivatives of an orbit are held within.
        pub held: f32,
    }
}

params! {
    /// Parameters of [`FOLD`].
    pub struct FoldParams {
        /// Number of vectors.
        pub n: u32,
    }
}

/// Roundings move the boundary of a set, and with it the counts of the points next to it.
const ESCAPES: Tolerance = Tolerance::Mostly { share: 1e-3, relative: 1e-4, absolute: 1e-4 };
const SMOOTH: Tolerance = Tolerance::Mostly { share: 1e-3, relative: 1e-4, absolute: 1e-4 };
/// A derivative along an orbit of the set doubles its error, or worse, at each step.
const GRADIENTS: Tolerance = Tolerance::Mostly { share: 2e-3, relative: 1e-3, absolute: 1e-3 };

/// Escape counts of Julia sets and the Mandelbrot set, over a list of points.
pub const ESCAPE: Shader = Shader {
    name: "fields/escape",
    parts: &[part!("grid.wgsl"), part!("fields/numbers.wgsl"), part!("fields/escape.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(EscapeParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "points (n, 2), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "field (n,), f32" },
    ],
    entries: &[
        Entry {
            name: "julia",
            workgroup: [64, 1, 1],
            twin: twin!(fractal_kernels::fields::julia::julia),
            tolerance: ESCAPES,
        },
        Entry {
            name: "mandelbrot",
            workgroup: [64, 1, 1],
            twin: twin!(fractal_kernels::fields::julia::mandelbrot),
            tolerance: ESCAPES,
        },
    ],
};

/// The soft Julia field.
pub const SOFT_JULIA: Shader = Shader {
    name: "fields/soft_julia",
    parts: &[
        part!("grid.wgsl"),
        part!("fields/numbers.wgsl"),
        part!("fields/soft.wgsl"),
        part!("fields/soft_julia.wgsl"),
    ],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(SoftParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "points (n, 2), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "field (n,), f32" },
    ],
    entries: &[Entry {
        name: "value",
        workgroup: [64, 1, 1],
        twin: twin!(fractal_kernels::fields::soft_julia::soft_julia),
        tolerance: SMOOTH,
    }],
};

/// Its gradients by each point, and by c, radius and smoothness as sums over workgroups.
pub const SOFT_JULIA_VJP: Shader = Shader {
    name: "fields/soft_julia_vjp",
    parts: &[
        part!("grid.wgsl"),
        part!("fields/numbers.wgsl"),
        part!("fields/soft.wgsl"),
        part!("fields/soft_julia_vjp.wgsl"),
    ],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(SoftParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "points (n, 2), f32" },
        Binding { index: 2, kind: Kind::ReadOnly, holds: "weights (n,), f32" },
        Binding { index: 3, kind: Kind::ReadWrite, holds: "gradients by point (n, 2), f32" },
        Binding { index: 4, kind: Kind::ReadWrite, holds: "partial gradients (n / 64, 4), f32" },
    ],
    entries: &[Entry {
        name: "gradients",
        workgroup: [64, 1, 1],
        twin: twin!(fractal_kernels::fields::soft_julia::soft_julia_vjp),
        tolerance: GRADIENTS,
    }],
};

/// The sum of the workgroups' gradients.
pub const FOLD: Shader = Shader {
    name: "fields/fold",
    parts: &[part!("fields/fold.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(FoldParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "partial gradients (n, 4), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "gradients by c, radius and smoothness (4,), f32" },
    ],
    entries: &[Entry {
        name: "fold",
        workgroup: [256, 1, 1],
        twin: twin!(fractal_kernels::fields::soft_julia::soft_julia_vjp),
        tolerance: Tolerance::Close { relative: 1e-3, absolute: 1e-3 },
    }],
};
