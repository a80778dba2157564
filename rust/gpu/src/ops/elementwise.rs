//! One value in, or two, and one out.

use crate::buffer::Buffer;
use crate::error::Result;
use crate::kernel::Kernel;
use fractal_kernels::KernelError;
use fractal_shaders::elementwise::{BINARY, ElementwiseParams, UNARY};

/// Bytes of a value.
const VALUE: u64 = 4;

/// Number of f32 values of an array.
fn values(array: &Buffer, name: &'static str) -> Result<u32> {
    let allowed = || KernelError::value(name, format!("{} bytes", array.bytes()), "whole f32 values, less than 2**32");
    if !array.bytes().is_multiple_of(VALUE) {
        return Err(allowed().into());
    }
    u32::try_from(array.bytes() / VALUE).map_err(|_| allowed().into())
}

fn run(kernel: &Kernel, inputs: &[&Buffer], n: u32) -> Result<Buffer> {
    let context = inputs[0].context();
    let result = context.alloc(inputs[0].bytes())?;
    let mut commands = context.record();
    // What one binding cannot hold runs piece by piece.
    let piece = context.limits().binding_bytes / crate::View::ALIGNMENT * crate::View::ALIGNMENT;
    let total = u64::from(n) * VALUE;
    for start in (0..total).step_by(usize::try_from(piece).unwrap_or(usize::MAX)) {
        let range = start..total.min(start + piece);
        let count = (range.end - range.start) / VALUE;
        let mut arrays = Vec::with_capacity(inputs.len() + 1);
        for array in inputs.iter().copied().chain([&result]) {
            arrays.push(array.part(range.clone())?);
        }
        let params = ElementwiseParams { n: count as u32 };
        commands.dispatch(kernel, &arrays, &params, kernel.covering(count))?;
    }
    commands.submit()?;
    Ok(result)
}

fn binary(entry: &str, left: &Buffer, right: &Buffer) -> Result<Buffer> {
    let n = values(left, "left")?;
    if left.bytes() != right.bytes() {
        let given = format!("{} bytes", right.bytes());
        return Err(KernelError::shape("right", given, format!("{} bytes, as in left", left.bytes())).into());
    }
    run(&Kernel::new(&BINARY, entry)?, &[left, right], n)
}

fn unary(entry: &str, array: &Buffer) -> Result<Buffer> {
    run(&Kernel::new(&UNARY, entry)?, &[array], values(array, "values")?)
}

/// Sums of f32 values.
pub fn add(left: &Buffer, right: &Buffer) -> Result<Buffer> {
    binary("add", left, right)
}

/// Products of f32 values.
pub fn multiply(left: &Buffer, right: &Buffer) -> Result<Buffer> {
    binary("multiply", left, right)
}

/// `max(x, 0)` of f32 values; a NaN stays one.
pub fn relu(values: &Buffer) -> Result<Buffer> {
    unary("relu", values)
}

/// `x Phi(x)` of f32 values.
pub fn gelu(values: &Buffer) -> Result<Buffer> {
    unary("gelu", values)
}
