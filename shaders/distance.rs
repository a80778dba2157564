//! Distances of points, and densities of token sequences.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`PAIRWISE`].
    pub struct PairwiseParams {
        /// Coordinates of a point.
        pub dimension: u32,
        /// Length of the right list.
        pub width: u32,
        /// The first of its points that is used.
        pub column_first: u32,
        /// How many are.
        pub columns: u32,
        /// First left point of this dispatch.
        pub first: u32,
        /// Behind its last left point.
        pub end: u32,
        /// Root of minus the curvature; of no account in Euclidean space.
        pub root: f32,
    }
}

params! {
    /// Parameters of [`DENSITY`].
    pub struct DensityParams {
        /// Tokens of a sequence.
        pub length: u32,
        /// Positions on each side that are looked at.
        pub radius: u32,
        /// First position of this dispatch.
        pub first: u32,
        /// Behind its last position.
        pub end: u32,
    }
}

/// Distances between the points of two lists.
pub const PAIRWISE: Shader = Shader {
    name: "distance/pairwise",
    parts: &[part!("grid.wgsl"), part!("distance/pairwise.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(PairwiseParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "left (rows, dimension), f32" },
        Binding { index: 2, kind: Kind::ReadOnly, holds: "right (columns, dimension), f32" },
        Binding { index: 3, kind: Kind::ReadWrite, holds: "distances (rows, columns), f32" },
    ],
    entries: &[
        Entry {
            name: "euclidean",
            workgroup: [256, 1, 1],
            twin: twin!(fractal_kernels::distance::euclidean),
            tolerance: Tolerance::Close { relative: 5e-6, absolute: 1e-6 },
        },
        Entry {
            // Holds for points within 3 of the origin: in single precision the error grows with sinh of that distance.
            name: "hyperbolic",
            workgroup: [256, 1, 1],
            twin: twin!(fractal_kernels::distance::hyperbolic),
            tolerance: Tolerance::Close { relative: 2e-5, absolute: 5e-6 },
        },
    ],
};

/// Densities of token sequences.
pub const DENSITY: Shader = Shader {
    name: "distance/density",
    parts: &[part!("grid.wgsl"), part!("distance/density.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(DensityParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "tokens (batch, length), 32 bits" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "densities (batch, length), f32" },
    ],
    entries: &[Entry {
        name: "density",
        workgroup: [256, 1, 1],
        twin: twin!(fractal_kernels::density::density),
        tolerance: Tolerance::Close { relative: 1e-6, absolute: 0.0 },
    }],
};
