//! One value in, or two, and one out.

use crate::buffer::{Buffer, BufferSlice};
use crate::checks::{KernelFamily, Trial};
use crate::context::Context;
use crate::error::Result;
use crate::hosted::{Hosted, by_rows};
use crate::kernel::Kernel;
use fractal_kernels::KernelError;
use fractal_kernels::elementwise as cpu;
use fractal_kernels::executor::{Executor, Serial};
use fractal_shaders::Shader;
use fractal_shaders::elementwise::{BINARY, ElementwiseParams, UNARY};
use std::sync::Arc;

/// Bytes of a value.
const VALUE: u64 = 4;

/// All of them, as they are checked.
pub const FAMILY: KernelFamily = KernelFamily { name: "elementwise", check };

/// Number of f32 values of an array.
fn values(array: &Buffer, name: &'static str) -> Result<u64> {
    if array.bytes().is_multiple_of(VALUE) {
        return Ok(array.bytes() / VALUE);
    }
    Err(KernelError::value(name, format!("{} bytes", array.bytes()), "whole f32 values").into())
}

fn run(shader: &'static Shader, entry: &str, inputs: &[&Buffer], n: u64) -> Result<Buffer> {
    let kernel = Kernel::new(shader, entry)?;
    let context = inputs[0].context();
    let result = context.alloc(n * VALUE)?;
    let mut commands = context.record();
    // What one binding cannot hold is bound in parts.
    let part = context.limits().binding_bytes / BufferSlice::ALIGNMENT * BufferSlice::ALIGNMENT / VALUE;
    for start in (0..n).step_by(part as usize) {
        let count = part.min(n - start);
        let range = start * VALUE..(start + count) * VALUE;
        let arrays: Vec<_> =
            inputs.iter().copied().chain([&result]).map(|array| array.part(range.clone())).collect::<Result<_>>()?;
        commands.dispatch(&kernel, &arrays, &ElementwiseParams { n: count as u32 }, kernel.covering(count))?;
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
    left.context().trust(&FAMILY)?;
    run(&BINARY, entry, &[left, right], n)
}

fn unary(entry: &str, array: &Buffer) -> Result<Buffer> {
    let n = values(array, "values")?;
    array.context().trust(&FAMILY)?;
    run(&UNARY, entry, &[array], n)
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

/// A kernel by its name, from host to host: one array or two, each as long as the others.
pub fn on_host(context: &Arc<Context>, entry: &str, inputs: &[&[f32]]) -> Result<Hosted<f32>> {
    let shader = match inputs {
        [_] => &UNARY,
        [left, right] if left.len() != right.len() => {
            let given = format!("{} values", right.len());
            return Err(KernelError::shape("right", given, format!("{} values, as in left", left.len())).into());
        }
        [_, _] => &BINARY,
        _ => return Err(KernelError::value("inputs", inputs.len(), "one array or two").into()),
    };
    Kernel::new(shader, entry)?;
    context.trust(&FAMILY)?;
    let largest = context.limits().buffer_bytes / VALUE;
    by_rows(inputs[0].len(), 1, largest as usize, |range| {
        let arrays: Vec<_> = inputs.iter().map(|all| context.upload(&all[range.clone()])).collect::<Result<_>>()?;
        context.download(run(shader, entry, &arrays.iter().collect::<Vec<_>>(), range.len() as u64)?)
    })
}

fn check(context: &Arc<Context>, trial: &Trial) -> Result<()> {
    type Unary = fn(&[f32], &dyn Executor) -> fractal_kernels::error::Result<Vec<f32>>;
    type Binary = fn(&[f32], &[f32], &dyn Executor) -> fractal_kernels::error::Result<Vec<f32>>;
    let n = trial.size as i64;
    let left: Vec<f32> = (0..n).map(|i| (i % 600 - 300) as f32 / 64.0).collect();
    let right: Vec<f32> = (0..n).map(|i| (i * 7 % 64 - 32) as f32 / 8.0).collect();
    let (on_left, on_right) = (context.upload(&left)?, context.upload(&right)?);
    let compared = |shader: &'static Shader, entry: &str, inputs: &[&Buffer], wanted: Vec<f32>| {
        let got = context.download::<f32>(run(shader, entry, inputs, left.len() as u64)?)?;
        let entry = shader.entry(entry).expect("it has just been run");
        context.compare(shader, entry, &got, &wanted)
    };
    for (entry, twin) in [("add", cpu::add as Binary), ("multiply", cpu::multiply)] {
        compared(&BINARY, entry, &[&on_left, &on_right], trial.twin(|| twin(&left, &right, &Serial))?)?;
    }
    for (entry, twin) in [("relu", cpu::relu as Unary), ("gelu", cpu::gelu)] {
        compared(&UNARY, entry, &[&on_left], trial.twin(|| twin(&left, &Serial))?)?;
    }
    Ok(())
}
