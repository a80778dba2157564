//! What the checks of all families share.

use crate::buffer::Buffer;
use crate::error::Result;
use bytemuck::AnyBitPattern;
use fractal_shaders::Shader;

/// Holds an array on the device to its twin's, as closely as the shader's table says.
pub(super) fn hold<T: AnyBitPattern + Into<f64>>(
    shader: &Shader,
    entry: &str,
    got: Buffer,
    wanted: &[T],
) -> Result<()> {
    let context = got.context().clone();
    let entry = shader.entry(entry).expect("checks name entry points of the tables");
    context.compare(shader, entry, &context.download::<T>(got)?, wanted)
}

/// Values in `[-1, 1)`, always the same.
pub(super) fn values(n: usize) -> Vec<f32> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0).collect()
}
