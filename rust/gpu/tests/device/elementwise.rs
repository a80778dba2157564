//! Element-wise shaders against their CPU twins.

use crate::common::{ALONE, cases, context, values};
use fractal_gpu::{Context, GpuError, Result, ops::elementwise as gpu};
use fractal_kernels::elementwise as cpu;
use fractal_shaders::{Shader, elementwise};
use std::sync::Arc;

fn agree(shader: &Shader, entry: &str, got: &[f32], wanted: &[f32]) {
    let tolerance = shader.entry(entry).unwrap().tolerance;
    tolerance.check(got, wanted).unwrap_or_else(|error| panic!("{entry} of {}: {error}", got.len()));
}

fn all_agree(context: &Arc<Context>, n: usize, seed: u64) -> Result<()> {
    let (a, b) = (values(n, seed), values(n, seed + 1));
    let (left, right) = (context.upload(&a)?, context.upload(&b)?);
    let read = |array| context.download::<f32>(array);
    agree(&elementwise::BINARY, "add", &read(gpu::add(&left, &right)?)?, &cpu::add(&a, &b, ALONE)?);
    agree(&elementwise::BINARY, "multiply", &read(gpu::multiply(&left, &right)?)?, &cpu::multiply(&a, &b, ALONE)?);
    agree(&elementwise::UNARY, "relu", &read(gpu::relu(&left)?)?, &cpu::relu(&a, ALONE)?);
    agree(&elementwise::UNARY, "gelu", &read(gpu::gelu(&left)?)?, &cpu::gelu(&a, ALONE)?);
    Ok(())
}

#[test]
fn each_agrees_with_its_twin() {
    let Some(context) = context() else { return };
    for n in [0, 1, 2, 255, 256, 257] {
        all_agree(&context, n, 1).unwrap();
    }
    cases(24, (0_usize..70_000, 0_u64..1000), |(n, seed)| all_agree(&context, n, seed).unwrap());
    // More workgroups than one dimension has.
    let many = values(65_535 * 256 + 1, 3);
    let result = gpu::relu(&context.upload(&many).unwrap()).unwrap();
    agree(&elementwise::UNARY, "relu", &context.download::<f32>(result).unwrap(), &cpu::relu(&many, ALONE).unwrap());

    let [one, two] = [1, 2].map(|n| context.upload(&vec![1.0_f32; n]).unwrap());
    let refused = gpu::add(&one, &two).err();
    assert!(matches!(refused, Some(GpuError::Refused(error)) if error.argument == "right"));
    let odd = context.upload(&[1_u8; 6]).unwrap();
    assert!(matches!(gpu::relu(&odd).err(), Some(GpuError::Refused(error)) if error.argument == "values"));
}
