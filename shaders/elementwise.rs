//! One value in, or two, and one out.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`BINARY`] and [`UNARY`].
    pub struct ElementwiseParams {
        /// Number of values.
        pub n: u32,
    }
}

const PARAMETERS: Binding = Binding { index: 0, kind: Kind::Uniform(ElementwiseParams::LAYOUT), holds: "parameters" };
const WORKGROUP: [u32; 3] = [256, 1, 1];

/// Sum and product of two arrays.
pub const BINARY: Shader = Shader {
    name: "elementwise/binary",
    parts: &[part!("elementwise/binary.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        PARAMETERS,
        Binding { index: 1, kind: Kind::ReadOnly, holds: "left (n,), f32" },
        Binding { index: 2, kind: Kind::ReadOnly, holds: "right (n,), f32" },
        Binding { index: 3, kind: Kind::ReadWrite, holds: "result (n,), f32" },
    ],
    entries: &[
        Entry {
            name: "add",
            workgroup: WORKGROUP,
            twin: twin!(fractal_kernels::elementwise::add),
            tolerance: Tolerance::Exact,
        },
        Entry {
            name: "multiply",
            workgroup: WORKGROUP,
            twin: twin!(fractal_kernels::elementwise::multiply),
            tolerance: Tolerance::Exact,
        },
    ],
};

/// Activations.
pub const UNARY: Shader = Shader {
    name: "elementwise/unary",
    parts: &[part!("elementwise/unary.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        PARAMETERS,
        Binding { index: 1, kind: Kind::ReadOnly, holds: "values (n,), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "result (n,), f32" },
    ],
    entries: &[
        Entry {
            name: "relu",
            workgroup: WORKGROUP,
            twin: twin!(fractal_kernels::elementwise::relu),
            tolerance: Tolerance::Exact,
        },
        Entry {
            name: "gelu",
            workgroup: WORKGROUP,
            twin: twin!(fractal_kernels::elementwise::gelu),
            tolerance: Tolerance::Close { relative: 5e-6, absolute: 1e-6 },
        },
    ],
};
