//! The WGSL compute shaders of `fractal_core`, as data: a leaf crate with no GPU API in it.
#![forbid(unsafe_code)]

/// One compute shader: its name, its source and its workgroup size.
#[derive(Clone, Copy, Debug)]
pub struct Shader {
    /// File name without `.wgsl`; the CPU twin has the same one.
    pub name: &'static str,
    /// Complete WGSL source.
    pub source: &'static str,
    /// Invocations per workgroup along x, y and z.
    pub workgroup: [u32; 3],
}

/// Every shader of this crate.
pub const ALL: &[Shader] = &[JULIA];

/// Smooth escape count of a Julia set over a list of points.
pub const JULIA: Shader = Shader { name: "julia", source: include_str!("julia.wgsl"), workgroup: [64, 1, 1] };
