//! Tensors on the device: contiguous, their rows filled up to whole vectors of four.

use crate::buffer::Buffer;
use crate::context::Context;
use crate::error::Result;
use bytemuck::Pod;
use fractal_kernels::KernelError;
use fractal_kernels::attention as cpu;
use fractal_shaders::attention::{BF16, F16, F32, Storage};
use std::sync::Arc;

/// Values of a vector.
pub(super) const VECTOR: usize = 4;

/// A type that tensors are stored in on a GPU; computed in is `f32`.
pub trait Element: cpu::Storage<Acc = f32> + Pod {
    /// Its shaders.
    const SHADERS: &'static Storage;
    /// What they are called together, and with a soft cap.
    const NAMES: [&'static str; 2];
}

macro_rules! element {
    ($t:ty, $shaders:ident, $name:literal) => {
        impl Element for $t {
            const SHADERS: &'static Storage = &$shaders;
            const NAMES: [&'static str; 2] = [$name, concat!($name, ", capped")];
        }
    };
}

element!(f32, F32, "attention of f32");
element!(half::f16, F16, "attention of float16");
element!(half::bf16, BF16, "attention of bfloat16");

/// A `(batch, heads, n, width)` tensor on the device. Its rows are filled up to a multiple of four values.
#[derive(Clone)]
pub struct Tensor {
    pub(super) buffer: Buffer,
    pub(super) shape: [usize; 4],
}

/// Values of all rows, with what fills them up.
pub(super) fn padded_len(shape: [usize; 4]) -> usize {
    let [batch, heads, n, width] = shape;
    batch * heads * n * width.next_multiple_of(VECTOR)
}

impl Tensor {
    /// A copy of a strided tensor, which must lie inside of its memory.
    pub fn upload<T: Element>(context: &Arc<Context>, view: &cpu::View<'_, T>) -> Result<Self> {
        let [batch, heads, n, width] = view.shape;
        if view.strides == cpu::View::contiguous(view.data, view.shape).strides && width.is_multiple_of(VECTOR) {
            let start = view.offset as usize;
            let buffer = context.upload(&view.data[start..start + padded_len(view.shape)])?;
            return Ok(Self { buffer, shape: view.shape });
        }
        let mut values = vec![T::default(); padded_len(view.shape)];
        let mut rows = values.chunks_exact_mut(width.next_multiple_of(VECTOR));
        for b in 0..batch as isize {
            for h in 0..heads as isize {
                for i in 0..n as isize {
                    let [of_batch, of_head, of_row] = view.strides;
                    let start = (view.offset + b * of_batch + h * of_head + i * of_row) as usize;
                    if let Some(row) = rows.next() {
                        row[..width].copy_from_slice(&view.data[start..start + width]);
                    }
                }
            }
        }
        Ok(Self { buffer: context.upload(&values)?, shape: view.shape })
    }

    /// An array that lies on the device already, contiguous, with rows of a multiple of four values.
    pub fn resident<T: Element>(buffer: Buffer, shape: [usize; 4]) -> Result<Self> {
        let bytes = (shape.iter().product::<usize>() * size_of::<T>()) as u64;
        if buffer.bytes() != bytes || !shape[3].is_multiple_of(VECTOR) {
            let given = format!("{} bytes as {shape:?}", buffer.bytes());
            return Err(KernelError::shape("tensor", given, format!("{bytes} bytes, rows of 4 n values")).into());
        }
        Ok(Self { buffer, shape })
    }

    /// A new one, with no values in particular.
    pub(super) fn alloc<T: Element>(context: &Arc<Context>, shape: [usize; 4]) -> Result<Self> {
        let buffer = context.alloc((padded_len(shape) * size_of::<T>()) as u64)?;
        Ok(Self { buffer, shape })
    }

    /// Its shape.
    pub fn shape(&self) -> [usize; 4] {
        self.shape
    }

    /// Its memory.
    pub fn buffer(&self) -> &Buffer {
        &self.buffer
    }

    /// Vectors of a row.
    pub(super) fn vectors(&self) -> u32 {
        self.shape[3].div_ceil(VECTOR) as u32
    }
}
