//! Points of an n-dimensional lattice and their one-number codes: what every curve codec checks at its door.

use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use std::sync::atomic::{AtomicU64, Ordering};

/// Codes are u64, so `ndim * order` may not exceed this.
pub const MAX_BITS: u32 = 64;

/// Points per task.
const PIECE: usize = 4096;

mod sealed {
    pub trait Sealed {}
    impl Sealed for i32 {}
    impl Sealed for u32 {}
    impl Sealed for i64 {}
    impl Sealed for u64 {}
}

/// An integer that callers hold coordinates and codes in; negative ones are refused with their own value.
pub trait Coordinate: sealed::Sealed + Copy + Send + Sync + std::fmt::Display {
    /// The value; of negative ones the two's complement in 64 bits, so that the highest bit is set.
    fn bits(self) -> u64;

    /// The value, or `None` if negative.
    fn checked(self) -> Option<u64>;
}

macro_rules! coordinate {
    ($($t:ty: $bits:expr),*) => {$(
        impl Coordinate for $t {
            #[inline(always)]
            fn bits(self) -> u64 {
                $bits(self)
            }

            fn checked(self) -> Option<u64> {
                u64::try_from(self).ok()
            }
        }
    )*};
}

coordinate!(i32: |x| i64::from(x) as u64, u32: u64::from, i64: |x| x as u64, u64: |x| x);

/// All ones in the low `bits` bits.
pub(crate) fn low_bits(bits: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - bits).unwrap_or(0)
}

/// Refuses unless `1 <= ndim` and `ndim * order <= 64`.
pub(crate) fn check_size(ndim: usize, order: u32) -> Result<()> {
    if ndim == 0 || ndim > MAX_BITS as usize {
        return Err(KernelError::value("ndim", ndim, "1 ..= 64"));
    }
    let most = MAX_BITS / ndim as u32;
    if order > most {
        return Err(KernelError::value("order", order, format!("0 ..= {most} (ndim * order <= 64, ndim = {ndim})")));
    }
    Ok(())
}

/// Cells of a box, of which one order lists at most `2**32`.
pub(crate) fn check_cells(shape: &[usize]) -> Result<usize> {
    const MOST: usize = 1 << 32;
    shape
        .iter()
        .try_fold(1_usize, |n, &side| n.checked_mul(side))
        .filter(|&n| n <= MOST)
        .ok_or_else(|| KernelError::value("shape", format!("{shape:?}"), format!("at most {MOST} cells")))
}

fn check_range<T: Coordinate>(argument: &'static str, values: &[T], bits: u32) -> Result<()> {
    let top = low_bits(bits);
    match values.iter().find(|v| v.checked().is_none_or(|v| v > top)) {
        None => Ok(()),
        Some(bad) => Err(KernelError::index(argument, bad, format!("0 ..= {top} (2**{bits} values)"))),
    }
}

/// Codes of points (n, 2) by `codes(points, out)`, which gives all bits that any coordinate has.
pub(crate) fn encode_plane<T: Coordinate>(
    coords: &[T],
    order: u32,
    executor: &dyn Executor,
    codes: impl Fn(&[T], &mut [u64]) -> u64 + Sync,
) -> Result<Vec<u64>> {
    check_size(2, order)?;
    if !coords.len().is_multiple_of(2) {
        return Err(KernelError::shape("coords", coords.len(), "a multiple of ndim = 2 elements"));
    }
    let mut out = vec![0; coords.len() / 2];
    let used = AtomicU64::new(0);
    for_each_chunk(executor, &mut out, PIECE, |task, out| {
        let first = task * PIECE * 2;
        used.fetch_or(codes(&coords[first..first + 2 * out.len()], out), Ordering::Relaxed);
    });
    // Only a bit out of range, or a sign, is worth a second look at the coordinates.
    if used.into_inner() > low_bits(order) {
        check_range("coords", coords, order)?;
    }
    Ok(out)
}

/// Points (n, 2) of codes by `points(codes, out)`, which gives all bits that any code has.
pub(crate) fn decode_plane<T: Coordinate>(
    index: &[T],
    order: u32,
    executor: &dyn Executor,
    points: impl Fn(&[T], &mut [u64]) -> u64 + Sync,
) -> Result<Vec<u64>> {
    check_size(2, order)?;
    let mut out = vec![0; 2 * index.len()];
    let used = AtomicU64::new(0);
    for_each_chunk(executor, &mut out, 2 * PIECE, |task, out| {
        let first = task * PIECE;
        used.fetch_or(points(&index[first..first + out.len() / 2], out), Ordering::Relaxed);
    });
    // At 64 bits a sign looks like a value.
    if used.into_inner() > low_bits(2 * order).min(i64::MAX as u64) {
        check_range("index", index, 2 * order)?;
    }
    Ok(out)
}

/// One code for each row of `coords`, shape (n, ndim); `code` may scribble on the point it is given.
pub(crate) fn encode_rows<T: Coordinate>(
    coords: &[T],
    ndim: usize,
    order: u32,
    executor: &dyn Executor,
    code: impl Fn(&mut [u64]) -> u64 + Sync,
) -> Result<Vec<u64>> {
    check_size(ndim, order)?;
    if !coords.len().is_multiple_of(ndim) {
        return Err(KernelError::shape("coords", coords.len(), format!("a multiple of ndim = {ndim} elements")));
    }
    check_range("coords", coords, order)?;
    let mut out = vec![0; coords.len() / ndim];
    for_each_chunk(executor, &mut out, PIECE, |task, piece| {
        let mut point = vec![0; ndim];
        let rows = coords[task * PIECE * ndim..].chunks_exact(ndim);
        for (out, row) in piece.iter_mut().zip(rows) {
            point.iter_mut().zip(row).for_each(|(p, c)| *p = c.checked().unwrap_or(0));
            *out = code(&mut point);
        }
    });
    Ok(out)
}

/// One point of `ndim` coordinates for each code; the result has shape (n, ndim).
pub(crate) fn decode_rows<T: Coordinate>(
    index: &[T],
    ndim: usize,
    order: u32,
    executor: &dyn Executor,
    point: impl Fn(u64, &mut [u64]) + Sync,
) -> Result<Vec<u64>> {
    check_size(ndim, order)?;
    check_range("index", index, ndim as u32 * order)?;
    let mut out = vec![0; index.len() * ndim];
    for_each_chunk(executor, &mut out, PIECE * ndim, |task, piece| {
        for (row, code) in piece.chunks_exact_mut(ndim).zip(&index[task * PIECE..]) {
            point(code.checked().unwrap_or(0), row);
        }
    });
    Ok(out)
}
