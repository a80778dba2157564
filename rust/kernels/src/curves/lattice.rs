//! Points of an n-dimensional lattice and their integer codes, with the checks that all codecs share.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use std::fmt::Display;
use std::ops::BitOr;

/// Codes are u64, so `ndim * order` may not exceed this.
pub const MAX_BITS: u32 = 64;

/// Points per task.
pub(crate) const PIECE: usize = 8192;

/// Which curve a code lies on.
#[derive(Clone, Copy)]
pub(crate) enum Curve {
    Hilbert,
    Morton,
}

mod sealed {
    pub trait Sealed {}
}

/// An integer type of coordinates and codes; negative values are refused.
pub trait Integer: sealed::Sealed + Copy + Default + Send + Sync + Display + BitOr<Output = Self> {
    /// Its name in NumPy.
    const NAME: &'static str;

    /// Bits of the largest value.
    const VALUE_BITS: u32;

    /// The value; if negative, its two's complement in 64 bits, so that the highest bit is set.
    fn bits(self) -> u64;

    /// The value, or `None` if negative.
    fn checked(self) -> Option<u64>;

    /// The integer with these low bits.
    fn from_bits(bits: u64) -> Self;
}

macro_rules! integer {
    ($($t:ident: $name:expr, $bits:expr),*) => {$(
        impl sealed::Sealed for $t {}

        impl Integer for $t {
            const NAME: &'static str = $name;
            const VALUE_BITS: u32 = <$t>::MAX.count_ones();

            #[inline(always)]
            fn bits(self) -> u64 {
                $bits(self)
            }

            fn checked(self) -> Option<u64> {
                u64::try_from(self).ok()
            }

            #[inline(always)]
            fn from_bits(bits: u64) -> Self {
                bits as $t
            }
        }
    )*};
}

integer!(
    i8: "int8", |x| i64::from(x) as u64,
    u8: "uint8", u64::from,
    i16: "int16", |x| i64::from(x) as u64,
    u16: "uint16", u64::from,
    i32: "int32", |x| i64::from(x) as u64,
    u32: "uint32", u64::from,
    i64: "int64", |x| x as u64,
    u64: "uint64", |x| x
);

/// Borrowed rows of integers, shape (n, width), any strides.
#[derive(Clone, Copy)]
pub struct Rows<'a, T> {
    data: &'a [T],
    first: usize,
    strides: [isize; 2],
    shape: [usize; 2],
}

impl<'a, T: Integer> Rows<'a, T> {
    /// Element (i, j) is `data[first + i * strides[0] + j * strides[1]]`; all of them must lie in `data`.
    pub fn strided(
        argument: &'static str,
        data: &'a [T],
        first: usize,
        strides: [isize; 2],
        shape: [usize; 2],
    ) -> Result<Self> {
        let (mut low, mut high) = (first as i128, first as i128);
        for (n, stride) in shape.into_iter().zip(strides) {
            let reach = (n as i128 - 1) * stride as i128;
            (low, high) = (low + reach.min(0), high + reach.max(0));
        }
        if !shape.contains(&0) && (low < 0 || high >= data.len() as i128) {
            let given = format!("shape {shape:?} with strides {strides:?} from {first}");
            return Err(KernelError::shape(argument, given, format!("within {} elements", data.len())));
        }
        Ok(Self { data, first, strides, shape })
    }

    /// Rows one after the other.
    pub fn packed(argument: &'static str, data: &'a [T], width: usize) -> Result<Self> {
        if width == 0 || !data.len().is_multiple_of(width) {
            return Err(KernelError::shape(argument, data.len(), format!("a multiple of ndim = {width} elements")));
        }
        Ok(Self { data, first: 0, strides: [width as isize, 1], shape: [data.len() / width, width] })
    }

    /// Number of rows.
    #[allow(clippy::len_without_is_empty, reason = "no kernel treats an empty array specially")]
    pub fn len(&self) -> usize {
        self.shape[0]
    }

    /// Length of a row.
    pub(crate) fn width(&self) -> usize {
        self.shape[1]
    }

    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> T {
        let offset = row as isize * self.strides[0] + column as isize * self.strides[1];
        self.data[self.first.wrapping_add_signed(offset)]
    }

    /// The `n` rows from `row` on, contiguous: borrowed where they are, else gathered in `copy`.
    pub(crate) fn read<'b>(&self, row: usize, n: usize, copy: &'b mut Vec<T>) -> &'b [T]
    where
        'a: 'b,
    {
        let width = self.width();
        if self.strides == [width as isize, 1] {
            let start = self.first + row * width;
            return &self.data[start..start + n * width];
        }
        copy.resize(n * width, T::default());
        for (i, out) in copy.chunks_exact_mut(width).enumerate() {
            for (j, out) in out.iter_mut().enumerate() {
                *out = self.at(row + i, j);
            }
        }
        copy
    }
}

/// All ones in the low `bits` bits.
pub(crate) fn low_bits(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0)
}

/// Refuses unless `1 <= ndim` and `ndim * order <= 64`.
pub fn check_size(ndim: usize, order: u32) -> Result<()> {
    if ndim == 0 || ndim > MAX_BITS as usize {
        return Err(KernelError::value("ndim", ndim, "1 ..= 64"));
    }
    let most = MAX_BITS / ndim as u32;
    if order > most {
        return Err(KernelError::value("order", order, format!("0 ..= {most} (ndim * order <= 64, ndim = {ndim})")));
    }
    Ok(())
}

/// Number of cells of a box; refuses more than `2**32`.
pub(crate) fn check_cells(shape: &[usize]) -> Result<usize> {
    const MOST: usize = 1 << 32;
    shape
        .iter()
        .try_fold(1_usize, |n, &side| n.checked_mul(side))
        .filter(|&n| n <= MOST)
        .ok_or_else(|| KernelError::value("shape", format!("{shape:?}"), format!("at most {MOST} cells")))
}

/// Refuses a `U` that cannot hold all values of `bits` bits.
pub(crate) fn check_room<U: Integer>(argument: &'static str, bits: u32) -> Result<()> {
    if bits > U::VALUE_BITS {
        return Err(KernelError::dtype(argument, U::NAME, format!("a dtype that holds 0 .. 2**{bits} - 1")));
    }
    Ok(())
}

/// Refuses unless `out` has `width` elements for each of `n` rows.
pub(crate) fn check_out(n: usize, width: usize, out: usize) -> Result<()> {
    if n.checked_mul(width) != Some(out) {
        return Err(KernelError::shape("out", format!("{out} elements"), format!("{n} x {width}")));
    }
    Ok(())
}

/// Refuses the first value that is negative or has more than `bits` bits.
pub(crate) fn check_range<T: Integer>(argument: &'static str, values: Rows<'_, T>, bits: u32) -> Result<()> {
    let top = low_bits(bits);
    for row in 0..values.len() {
        for column in 0..values.width() {
            let value = values.at(row, column);
            if value.checked().is_none_or(|v| v > top) {
                return Err(KernelError::index(argument, value, format!("0 ..= {top} (2**{bits} values)")));
            }
        }
    }
    Ok(())
}

/// One code for each row of `coords`, shape (n, ndim); `code` may overwrite its point.
pub(crate) fn encode_rows<T: Integer, U: Integer>(
    coords: Rows<'_, T>,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
    code: impl Fn(&mut [u64]) -> u64 + Sync,
) -> Result<()> {
    let ndim = coords.width();
    check_size(ndim, order)?;
    check_room::<U>("out", ndim as u32 * order)?;
    check_out(coords.len(), 1, out.len())?;
    check_range("coords", coords, order)?;
    for_each_chunk(executor, out, PIECE, |task, out| {
        let mut point = vec![0; ndim];
        for (i, out) in out.iter_mut().enumerate() {
            for (axis, x) in point.iter_mut().enumerate() {
                *x = coords.at(task * PIECE + i, axis).bits();
            }
            *out = U::from_bits(code(&mut point));
        }
    });
    Ok(())
}

/// One point of `ndim` coordinates for each code; `out` has shape (n, ndim).
pub(crate) fn decode_rows<T: Integer, U: Integer>(
    index: Rows<'_, T>,
    ndim: usize,
    order: u32,
    out: &mut [U],
    executor: &dyn Executor,
    point: impl Fn(u64, &mut [u64]) + Sync,
) -> Result<()> {
    check_size(ndim, order)?;
    check_room::<U>("out", order)?;
    check_out(index.len(), ndim, out.len())?;
    check_range("index", index, ndim as u32 * order)?;
    for_each_chunk(executor, out, PIECE * ndim, |task, out| {
        let mut decoded = vec![0; ndim];
        for (i, row) in out.chunks_exact_mut(ndim).enumerate() {
            point(index.at(task * PIECE + i, 0).bits(), &mut decoded);
            for (out, &x) in row.iter_mut().zip(&decoded) {
                *out = U::from_bits(x);
            }
        }
    });
    Ok(())
}
