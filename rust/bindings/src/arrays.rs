//! NumPy arrays as the attention kernels take them: borrowed in place with any strides, or to be written.

use crate::error::Result;
use fractal_kernels::KernelError;
use fractal_kernels::attention::{Storage, View};
use half::slice::HalfBitsSliceExt;
use half::{bf16, f16};
use numpy::{Element, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArrayMethods};
use pyo3::prelude::*;

/// How a storage type crosses the border: NumPy has no bf16, so half-precision arrays are passed as their bits.
pub(crate) trait Boundary: Storage<Acc: Element> {
    type Bits: Element + Copy;
    fn read(bits: &[Self::Bits]) -> &[Self];
    fn write(bits: &mut [Self::Bits]) -> &mut [Self];
}

macro_rules! as_itself {
    ($t:ty) => {
        impl Boundary for $t {
            type Bits = $t;
            fn read(bits: &[$t]) -> &[$t] {
                bits
            }
            fn write(bits: &mut [$t]) -> &mut [$t] {
                bits
            }
        }
    };
}
as_itself!(f32);
as_itself!(f64);

macro_rules! as_bits {
    ($t:ty) => {
        impl Boundary for $t {
            type Bits = u16;
            fn read(bits: &[u16]) -> &[$t] {
                bits.reinterpret_cast()
            }
            fn write(bits: &mut [u16]) -> &mut [$t] {
                bits.reinterpret_cast_mut()
            }
        }
    };
}
as_bits!(bf16);
as_bits!(f16);

pub(crate) fn typed<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &'static str,
) -> Result<PyReadonlyArrayDyn<'py, T>> {
    let wanted = std::any::type_name::<T>();
    let array = array
        .cast::<PyArrayDyn<T>>()
        .map_err(|_| KernelError::dtype(name, array.get_type(), format!("a NumPy array of {wanted}")))?;
    if array.data().addr() % align_of::<T>() != 0 {
        return Err(KernelError::value(name, "an unaligned array", "an aligned array").into());
    }
    Ok(array.try_readonly().map_err(|e| KernelError::value(name, e, "an array that nobody is writing"))?)
}

/// All memory from an array's lowest element to its highest, the index of its first element, and strides in elements.
pub(crate) fn span<'a, T: Element, const N: usize>(
    array: &'a PyReadonlyArrayDyn<'_, T>,
    name: &'static str,
    shape: [usize; N],
    strides: [isize; N],
) -> Result<(&'a [T], usize, [isize; N])> {
    let size = size_of::<T>() as isize;
    if strides.iter().any(|stride| stride % size != 0) {
        return Err(KernelError::value(name, format!("strides of {strides:?} bytes"), "whole elements").into());
    }
    let strides = strides.map(|stride| stride / size);
    if shape.contains(&0) {
        return Ok((&[], 0, strides));
    }
    let (mut low, mut high) = (0, 0);
    for (n, stride) in shape.into_iter().zip(strides) {
        let reach = (n as isize - 1) * stride;
        (low, high) = (low + reach.min(0), high + reach.max(0));
    }
    // SAFETY: NumPy's shape and strides say that every element between the lowest and the highest one lies in the
    // array's own allocation; the read-only borrow keeps it alive and, within the rules of rust-numpy, unwritten.
    let data = unsafe { std::slice::from_raw_parts(array.data().offset(low).cast_const(), (high - low + 1) as usize) };
    Ok((data, low.unsigned_abs(), strides))
}

/// A (B, H, N, D) array in place; its last dimension must be contiguous.
pub(crate) fn view<'a, T: Boundary>(
    array: &'a PyReadonlyArrayDyn<'_, T::Bits>,
    name: &'static str,
) -> Result<View<'a, T>> {
    let size = size_of::<T>() as isize;
    let (shape, strides) = (array.shape(), array.strides());
    let &[b, h, n, d] = shape else {
        return Err(KernelError::shape(name, format!("shape {shape:?}"), "(batch, heads, length, width)").into());
    };
    if d > 1 && strides[3] != size {
        let given = format!("a last dimension with stride {}", strides[3] / size);
        return Err(KernelError::value(name, given, "a contiguous last dimension").into());
    }
    let (bits, first, [b_step, h_step, n_step, _]) =
        span(array, name, [b, h, n, d], [strides[0], strides[1], strides[2], strides[3]])?;
    let strides = [b_step, h_step, n_step];
    Ok(View { data: T::read(bits), offset: first as isize, strides, shape: [b, h, n, d] })
}

/// Values of a contiguous array.
pub(crate) fn flat<'a, T: Element>(array: &'a PyReadonlyArrayDyn<'_, T>, name: &'static str) -> Result<&'a [T]> {
    Ok(array.as_slice().map_err(|_| KernelError::value(name, "a strided array", "a contiguous array"))?)
}

pub(crate) fn shape_of<const N: usize, T: Element>(
    array: &PyReadonlyArrayDyn<'_, T>,
    name: &'static str,
) -> Result<[usize; N]> {
    let wanted = || KernelError::shape(name, format!("shape {:?}", array.shape()), format!("{N} dimensions"));
    Ok(array.shape().try_into().map_err(|_| wanted())?)
}

/// A contiguous array of the given shape, to be written.
pub(crate) fn writable<'py, T: Element>(
    array: &Bound<'py, PyAny>,
    name: &'static str,
    shape: &[usize],
) -> Result<PyReadwriteArrayDyn<'py, T>> {
    let wanted = std::any::type_name::<T>();
    let array = array
        .cast::<PyArrayDyn<T>>()
        .map_err(|_| KernelError::dtype(name, array.get_type(), format!("a NumPy array of {wanted}")))?;
    if array.shape() != shape || !array.is_c_contiguous() || array.data().addr() % align_of::<T>() != 0 {
        let given = format!("shape {:?}, contiguous: {}", array.shape(), array.is_c_contiguous());
        return Err(KernelError::shape(name, given, format!("shape {shape:?}, contiguous and aligned")).into());
    }
    Ok(array.try_readwrite().map_err(|e| KernelError::value(name, e, "an array that nobody else uses"))?)
}

/// Values of an array that [`writable`] accepted.
pub(crate) fn values<'a, T: Element>(
    array: &'a mut PyReadwriteArrayDyn<'_, T>,
    name: &'static str,
) -> Result<&'a mut [T]> {
    Ok(array.as_slice_mut().map_err(|_| KernelError::value(name, "a strided array", "a contiguous array"))?)
}
