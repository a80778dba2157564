//! Boxes over a plane of cells.

use crate::params::params;
use crate::{Binding, Entry, Kind, Params, Shader, Tolerance, part, twin};

params! {
    /// Parameters of [`OCCUPIED`] and [`SUMS`].
    pub struct HalveParams {
        /// Rows of cells.
        pub rows: u32,
        /// Columns of cells.
        pub columns: u32,
        /// First box of this dispatch.
        pub first: u32,
        /// Behind its last box.
        pub end: u32,
    }
}

params! {
    /// Parameters of [`COUNT`].
    pub struct CountParams {
        /// First cell of this dispatch.
        pub first: u32,
        /// Behind its last cell.
        pub end: u32,
        /// Which count it is added to.
        pub level: u32,
    }
}

const PARAMETERS: Binding = Binding { index: 0, kind: Kind::Uniform(HalveParams::LAYOUT), holds: "parameters" };
const WORKGROUP: [u32; 3] = [256, 1, 1];

/// One level of the pyramid of occupied boxes.
pub const OCCUPIED: Shader = Shader {
    name: "boxes/occupied",
    parts: &[part!("grid.wgsl"), part!("boxes/occupied.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        PARAMETERS,
        Binding { index: 1, kind: Kind::ReadOnly, holds: "cells (rows, columns), u32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "boxes (rows / 2, columns / 2), u32" },
    ],
    entries: &[Entry {
        name: "halve",
        workgroup: WORKGROUP,
        twin: twin!(fractal_kernels::boxes::occupied),
        tolerance: Tolerance::Exact,
    }],
};

/// One level of the pyramid of sums.
pub const SUMS: Shader = Shader {
    name: "boxes/sums",
    parts: &[part!("grid.wgsl"), part!("boxes/sums.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        PARAMETERS,
        Binding { index: 1, kind: Kind::ReadOnly, holds: "cells (rows, columns), f32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "boxes (rows / 2, columns / 2), f32" },
    ],
    entries: &[Entry {
        name: "halve",
        workgroup: WORKGROUP,
        twin: twin!(fractal_kernels::boxes::sums),
        tolerance: Tolerance::Close { relative: 1e-6, absolute: 1e-6 },
    }],
};

/// How many cells are occupied; an invocation looks at 16 of them.
pub const COUNT: Shader = Shader {
    name: "boxes/count",
    parts: &[part!("grid.wgsl"), part!("boxes/count.wgsl")],
    needs: &[],
    constants: &[],
    bindings: &[
        Binding { index: 0, kind: Kind::Uniform(CountParams::LAYOUT), holds: "parameters" },
        Binding { index: 1, kind: Kind::ReadOnly, holds: "cells (n,), u32" },
        Binding { index: 2, kind: Kind::ReadWrite, holds: "counts (levels,), u32" },
    ],
    entries: &[Entry {
        name: "count",
        workgroup: WORKGROUP,
        twin: twin!(fractal_kernels::boxes::count),
        tolerance: Tolerance::Exact,
    }],
};
