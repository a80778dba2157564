//! Element-wise shaders against their CPU twins.

use crate::common::{ALONE, context, values};
use fractal_gpu::{GpuError, ops::elementwise as gpu};
use fractal_kernels::elementwise as cpu;
use fractal_shaders::{Shader, Tolerance, elementwise};

fn tolerance(shader: &Shader, entry: &str) -> Tolerance {
    shader.entry(entry).unwrap().tolerance
}

#[test]
fn each_agrees_with_its_twin() {
    let Some(context) = context() else { return };
    // Nothing, one, around a workgroup, and more workgroups than one dimension has.
    for n in [0, 1, 2, 255, 256, 257, 100_003, 65_535 * 256 + 1] {
        let (a, b) = (values(n, 1), values(n, 2));
        let (left, right) = (context.upload(&a).unwrap(), context.upload(&b).unwrap());
        let binary = [
            ("add", gpu::add(&left, &right), cpu::add(&a, &b, ALONE)),
            ("multiply", gpu::multiply(&left, &right), cpu::multiply(&a, &b, ALONE)),
        ];
        let unary =
            [("relu", gpu::relu(&left), cpu::relu(&a, ALONE)), ("gelu", gpu::gelu(&left), cpu::gelu(&a, ALONE))];
        let all = binary.map(|op| (&elementwise::BINARY, op)).into_iter();
        for (shader, (entry, got, wanted)) in all.chain(unary.map(|op| (&elementwise::UNARY, op))) {
            let got = context.download::<f32>(&got.unwrap()).unwrap();
            tolerance(shader, entry)
                .check(&got, &wanted.unwrap())
                .unwrap_or_else(|error| panic!("{entry} of {n}: {error}"));
        }
    }
    let [one, two] = [1, 2].map(|n| context.upload(&vec![1.0_f32; n]).unwrap());
    let refused = gpu::add(&one, &two).err();
    assert!(matches!(refused, Some(GpuError::Refused(error)) if error.argument == "right"));
    let odd = context.upload(&[1_u8; 6]).unwrap();
    assert!(matches!(gpu::relu(&odd).err(), Some(GpuError::Refused(error)) if error.argument == "values"));
}
