//! Softmax of rows and products of matrices, each in two shapes: one through workgroup memory, for GPUs, and one without
//! barriers, for adapters that compute on the CPU.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`SOFTMAX`].
    pub struct SoftmaxParams {
        /// Values of a row.
        pub columns: u32,
        /// First row of this dispatch.
        pub first: u32,
        /// Behind its last row.
        pub end: u32,
    }
}

params! {
    /// Parameters of [`MATMUL`].
    pub struct MatmulParams {
        /// Columns of the right matrix.
        pub columns: u32,
        /// Columns of the left matrix.
        pub stride: u32,
        /// The first of them that is used.
        pub inner_first: u32,
        /// How many are, one for each row of the right matrix.
        pub inner: u32,
        /// First row of this dispatch.
        pub first: u32,
        /// Behind its last row.
        pub end: u32,
        /// 1: the product is added to what is there.
        pub accumulate: u32,
    }
}

/// Vulkan allows `exp` an error that grows with its argument.
const SOFTMAX_TOLERANCE: Tolerance = Tolerance::Close { relative: 2e-5, absolute: 1e-6 };

/// Softmax of rows.
pub const SOFTMAX: Shader = Shader {
    name: "linear/softmax",
    parts: &[part!("grid.wgsl"), part!("linear/softmax.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(SoftmaxParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "values (rows, columns), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "weights (rows, columns), f32" },
    ],
    entries: &[
        Entry {
            name: "by_invocation",
            workgroup: [64, 1, 1],
            twin: twin!(fractal_kernels::linear::softmax),
            tolerance: SOFTMAX_TOLERANCE,
        },
        Entry {
            name: "by_workgroup",
            workgroup: [256, 1, 1],
            twin: twin!(fractal_kernels::linear::softmax),
            tolerance: SOFTMAX_TOLERANCE,
        },
    ],
};

/// What sums of products of values of size 1 in single precision are off by, at most.
const MATMUL_TOLERANCE: Tolerance = Tolerance::Close { relative: 1e-5, absolute: 1e-4 };

/// Products of matrices.
pub const MATMUL: Shader = Shader {
    name: "linear/matmul",
    parts: &[part!("grid.wgsl"), part!("linear/matmul.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(MatmulParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "left (rows, inner), f32" },
        Binding { index: 2, kind: Kind::ReadOnly, holds: "right (inner, columns), f32" },
        Binding { index: 3, kind: Kind::ReadWrite, holds: "result (rows, columns), f32" },
    ],
    entries: &[
        Entry {
            name: "registers",
            workgroup: [8, 8, 1],
            twin: twin!(fractal_kernels::linear::matmul),
            tolerance: MATMUL_TOLERANCE,
        },
        Entry {
            name: "tiles",
            workgroup: [16, 16, 1],
            twin: twin!(fractal_kernels::linear::matmul),
            tolerance: MATMUL_TOLERANCE,
        },
    ],
};
