//! Memory whose size a caller decides: where the system has no room for it, the call is refused and the process goes
//! on.
//!
//! Rust's own collections abort the process instead, so kernels allocate such memory here, naming the argument that
//! decides its size. A kernel returns the refusal as its error. A task returns nothing: it unwinds with the refusal
//! ([`OrLeave`]), as if interrupted ([`crate::interrupt`]), which drops what it had built, and [`caught`] turns the
//! panic into an `Err` again.

use crate::error::{ErrorKind, KernelError, Result};
use bytemuck::Zeroable;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

#[cold]
fn refused<T>(argument: &'static str, n: usize) -> KernelError {
    KernelError::memory(argument, n as u128 * size_of::<T>() as u128)
}

/// `n` zeros, in pages that the system clears when they are first touched.
pub fn zeros<T: Zeroable>(argument: &'static str, n: usize) -> Result<Vec<T>> {
    bytemuck::try_zeroed_vec(n).map_err(|()| refused::<T>(argument, n))
}

/// `n` times a value.
pub fn filled<T: Clone>(argument: &'static str, value: T, n: usize) -> Result<Vec<T>> {
    let mut list = with_capacity(argument, n)?;
    list.resize(n, value);
    Ok(list)
}

/// An empty list with room for `n` entries.
pub fn with_capacity<T>(argument: &'static str, n: usize) -> Result<Vec<T>> {
    let mut list = Vec::new();
    list.try_reserve_exact(n).map_err(|_| refused::<T>(argument, n))?;
    Ok(list)
}

/// Refuses where there is no room for `n` entries, before any is computed; allocates nothing that stays.
pub fn room<T>(argument: &'static str, n: u64) -> Result<()> {
    with_capacity::<T>(argument, usize::try_from(n).unwrap_or(usize::MAX)).map(drop)
}

/// Makes room for `more` entries, with some to spare, so that growing step by step costs a constant each.
#[inline]
pub fn reserve<T>(argument: &'static str, list: &mut Vec<T>, more: usize) -> Result<()> {
    let n = list.len().saturating_add(more);
    list.try_reserve(more).map_err(|_| refused::<T>(argument, n))
}

/// Grows a list with copies of a value, or shortens it.
pub fn resize<T: Clone>(argument: &'static str, list: &mut Vec<T>, n: usize, value: T) -> Result<()> {
    reserve(argument, list, n.saturating_sub(list.len()))?;
    list.resize(n, value);
    Ok(())
}

/// Appends one entry.
pub fn push<T>(argument: &'static str, list: &mut Vec<T>, entry: T) -> Result<()> {
    reserve(argument, list, 1)?;
    list.push(entry);
    Ok(())
}

/// Appends the items of an iterator.
#[inline]
pub fn extend<T>(argument: &'static str, list: &mut Vec<T>, entries: impl IntoIterator<Item = T>) -> Result<()> {
    let entries = entries.into_iter();
    let (least, most) = entries.size_hint();
    reserve(argument, list, least)?;
    if most == Some(least) {
        list.extend(entries);
        return Ok(());
    }
    for entry in entries {
        if list.len() == list.capacity() {
            reserve(argument, list, 1)?;
        }
        list.push(entry);
    }
    Ok(())
}

/// The items of an iterator, as a list.
pub fn collected<T>(argument: &'static str, entries: impl IntoIterator<Item = T>) -> Result<Vec<T>> {
    let entries = entries.into_iter();
    let mut list = with_capacity(argument, entries.size_hint().0)?;
    extend(argument, &mut list, entries)?;
    Ok(list)
}

/// A copy of a slice.
pub fn copied<T: Copy>(argument: &'static str, entries: &[T]) -> Result<Vec<T>> {
    let mut list = with_capacity(argument, entries.len())?;
    list.extend_from_slice(entries);
    Ok(list)
}

/// The product of the sides of an array of `T`; an overflow is refused as memory that the system does not have.
pub fn product<T>(argument: &'static str, sides: &[usize]) -> Result<usize> {
    let n = sides.iter().try_fold(1usize, |n, &side| n.checked_mul(side));
    n.ok_or_else(|| {
        let bytes = sides.iter().fold(size_of::<T>() as u128, |n, &side| n.saturating_mul(side as u128));
        KernelError::memory(argument, bytes)
    })
}

/// A list that grows in a task, which cannot return a refusal: it unwinds where memory runs out.
#[derive(Clone, Debug)]
pub struct Entries<T> {
    list: Vec<T>,
    argument: &'static str,
}

impl<T> Entries<T> {
    /// An empty list; the argument of this name decides its length.
    pub fn new(argument: &'static str) -> Self {
        Self { list: Vec::new(), argument }
    }

    #[cold]
    fn grow(&mut self) {
        reserve(self.argument, &mut self.list, 1).or_leave();
    }

    /// Appends an entry.
    #[inline]
    pub fn push(&mut self, entry: T) {
        if self.list.len() == self.list.capacity() {
            self.grow();
        }
        self.list.push(entry);
    }

    /// Inserts an entry before the one at `at`.
    #[inline]
    pub fn insert(&mut self, at: usize, entry: T) {
        if self.list.len() == self.list.capacity() {
            self.grow();
        }
        self.list.insert(at, entry);
    }

    /// Appends the items of an iterator.
    #[inline]
    pub fn extend(&mut self, entries: impl IntoIterator<Item = T>) {
        extend(self.argument, &mut self.list, entries).or_leave();
    }

    /// Appends a slice.
    #[inline]
    pub fn extend_from_slice(&mut self, entries: &[T])
    where
        T: Copy,
    {
        reserve(self.argument, &mut self.list, entries.len()).or_leave();
        self.list.extend_from_slice(entries);
    }

    /// Drops the entries from `n` on.
    pub fn truncate(&mut self, n: usize) {
        self.list.truncate(n);
    }

    /// The entries.
    pub fn into_vec(self) -> Vec<T> {
        self.list
    }
}

impl<T> Deref for Entries<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.list
    }
}

impl<T> DerefMut for Entries<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.list
    }
}

/// Unwinding with a refusal, for code that cannot return it.
pub trait OrLeave<T> {
    /// The value; unwinds with the error where there is none.
    fn or_leave(self) -> T;
}

impl<T> OrLeave<T> for Result<T> {
    #[inline]
    fn or_leave(self) -> T {
        self.unwrap_or_else(|error| leave(error))
    }
}

#[cold]
fn leave(error: KernelError) -> ! {
    // Not `panic!`: no hook prints anything.
    resume_unwind(Box::new(error))
}

/// Does `work`; where it or a thread of it unwinds with a refusal, that is the result.
pub fn caught<R>(work: impl FnOnce() -> Result<R>) -> Result<R> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| match panic.downcast::<KernelError>() {
        Ok(error) if error.kind == ErrorKind::Memory => Err(*error),
        Ok(error) => resume_unwind(error),
        Err(other) => resume_unwind(other),
    })
}
