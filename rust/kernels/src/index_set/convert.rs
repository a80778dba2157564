//! Conversions from and to masks, padded lists and CSR.

use super::set::{Form, IndexSet, check_n_keys};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory::{self, Entries};
use std::borrow::Cow;

/// Row starts and key indices.
pub type Csr<'a> = (Cow<'a, [i64]>, Cow<'a, [i32]>);

/// Rows that one task handles.
const ROWS: usize = 256;

impl IndexSet {
    /// Builds CSR rows in parallel: `row(query, keys)` appends the sorted unique keys of one query.
    ///
    /// The caller is responsible for the order and the range of the keys.
    pub fn from_rows(
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
        row: impl Fn(usize, &mut Entries<i32>) + Sync,
    ) -> Result<Self> {
        check_n_keys(n_keys)?;
        let (indptr, indices) = rows_in_parallel(n_queries, executor, |query, keys: &mut Entries<i32>| {
            let start = keys.len();
            row(query, keys);
            debug_assert!(keys[start..].windows(2).all(|w| w[0] < w[1]), "row {query} is not sorted");
            debug_assert!(keys[start..].iter().all(|&j| j >= 0 && (j as usize) < n_keys), "row {query} leaves range");
        })?;
        Ok(Self { n_queries, n_keys, form: Form::Csr { indptr: indptr.into(), indices: indices.into() }, order: None })
    }

    /// From a dense mask: `allowed(query, key)` says whether the query attends to the key.
    pub fn from_mask(
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
        allowed: impl Fn(usize, usize) -> bool + Sync,
    ) -> Result<Self> {
        Self::from_rows(n_queries, n_keys, executor, |query, keys| {
            keys.extend((0..n_keys).filter(|&key| allowed(query, key)).map(|key| key as i32));
        })
    }

    /// From lists of equal width: `entry(query, slot)` is a key or −1 for a pad. Rows may be unsorted, but must not
    /// repeat a key.
    pub fn from_padded(
        n_queries: usize,
        width: usize,
        n_keys: usize,
        executor: &dyn Executor,
        entry: impl Fn(usize, usize) -> i64 + Sync,
    ) -> Result<Self> {
        for query in 0..n_queries {
            interrupt::check_each(query, 16);
            if let Some(bad) = (0..width).map(|slot| entry(query, slot)).find(|&j| j < -1 || j >= n_keys as i64) {
                return Err(KernelError::index(
                    "indices",
                    format!("key {bad} in row {query}"),
                    format!("0 <= key < n_keys = {n_keys}, or -1 for a pad"),
                ));
            }
        }
        let set = Self::from_rows(n_queries, n_keys, executor, |query, keys| {
            let start = keys.len();
            keys.extend((0..width).map(|slot| entry(query, slot) as i32).filter(|&j| j >= 0));
            keys[start..].sort_unstable();
            let mut write = start;
            for read in start..keys.len() {
                if read == start || keys[read] != keys[write - 1] {
                    keys[write] = keys[read];
                    write += 1;
                }
            }
            keys.truncate(write);
        })?;
        for query in 0..n_queries {
            interrupt::check_each(query, 16);
            let given = (0..width).filter(|&slot| entry(query, slot) >= 0).count();
            if given != set.row(query).len() {
                return Err(KernelError::value(
                    "indices",
                    format!("a repeated key in row {query}"),
                    "each key once in a row",
                ));
            }
        }
        Ok(set)
    }

    /// Row starts and key indices; borrowed where the set already holds them.
    pub fn to_csr(&self, executor: &dyn Executor) -> Result<Csr<'_>> {
        match &self.form {
            Form::Csr { indptr, indices } => Ok((Cow::Borrowed(indptr), Cow::Borrowed(indices))),
            Form::Offsets { .. } | Form::Runs { .. } => {
                let mut indptr = memory::with_capacity("index_set", self.n_queries.saturating_add(1))?;
                indptr.push(0);
                let mut end = 0;
                for query in 0..self.n_queries {
                    interrupt::check_each(query, 1 << 12);
                    end += self.row(query).len() as i64;
                    indptr.push(end);
                }
                let mut indices = memory::zeros::<i32>("index_set", end as usize)?;
                let mut slots = memory::with_capacity("index_set", self.n_queries.div_ceil(ROWS))?;
                let mut rest = &mut indices[..];
                for block in 0..self.n_queries.div_ceil(ROWS) {
                    let last = ((block + 1) * ROWS).min(self.n_queries);
                    let (piece, tail) = rest.split_at_mut((indptr[last] - indptr[block * ROWS]) as usize);
                    slots.push(piece);
                    rest = tail;
                }
                for_each_chunk(executor, &mut slots, 1, |block, piece| {
                    let rows = (block * ROWS..((block + 1) * ROWS).min(self.n_queries)).flat_map(|q| self.row(q));
                    for (slot, key) in piece[0].iter_mut().zip(rows) {
                        *slot = key as i32;
                    }
                });
                Ok((Cow::Owned(indptr), Cow::Owned(indices)))
            }
        }
    }

    /// The same set with listed rows.
    pub fn listed(&self, executor: &dyn Executor) -> Result<Self> {
        match &self.form {
            Form::Csr { .. } => Ok(self.clone()),
            Form::Offsets { .. } | Form::Runs { .. } => {
                let (indptr, indices) = self.to_csr(executor)?;
                let form = Form::Csr { indptr: indptr.into_owned().into(), indices: indices.into_owned().into() };
                Ok(Self { form, ..self.clone() })
            }
        }
    }

    /// Dense mask in row order, `n_queries * n_keys`.
    pub fn to_mask(&self, executor: &dyn Executor) -> Result<Vec<bool>> {
        let size = memory::product::<bool>("index_set", &[self.n_queries, self.n_keys])?;
        let mut mask = memory::zeros("index_set", size)?;
        if mask.is_empty() {
            return Ok(mask);
        }
        for_each_chunk(executor, &mut mask, ROWS * self.n_keys, |block, piece| {
            for (r, row) in piece.chunks_mut(self.n_keys).enumerate() {
                interrupt::check_each(r, 16);
                self.row(block * ROWS + r).for_each(|key| row[key as usize] = true);
            }
        });
        Ok(mask)
    }

    /// Lists padded with −1 to the longest row: the entries in row order and the width.
    pub fn to_padded(&self, executor: &dyn Executor) -> Result<(Vec<i32>, usize)> {
        let width = (0..self.n_queries).map(|q| self.row(q).len()).max().unwrap_or(0);
        let size = memory::product::<i32>("index_set", &[self.n_queries, width])?;
        let mut lists = memory::filled("index_set", -1i32, size)?;
        if width > 0 {
            for_each_chunk(executor, &mut lists, ROWS * width, |block, piece| {
                for (r, list) in piece.chunks_mut(width).enumerate() {
                    interrupt::check_each(r, 16);
                    for (slot, key) in list.iter_mut().zip(self.row(block * ROWS + r)) {
                        *slot = key as i32;
                    }
                }
            });
        }
        Ok((lists, width))
    }
}

/// Row starts and entries of rows that `row(query, entries)` appends to, in parallel.
pub(super) fn rows_in_parallel<T: Copy + Send>(
    n_queries: usize,
    executor: &dyn Executor,
    row: impl Fn(usize, &mut Entries<T>) + Sync,
) -> Result<(Vec<i64>, Vec<T>)> {
    const SIZE: &str = "n_queries";
    let mut indptr = memory::zeros::<i64>(SIZE, n_queries.saturating_add(1))?;
    let mut pieces =
        memory::collected(SIZE, indptr[1..].chunks_mut(ROWS).map(|ends| (Entries::new("index_set"), ends)))?;
    for_each_chunk(executor, &mut pieces, 1, |block, piece| {
        let (entries, ends) = &mut piece[0];
        for (query, end) in (block * ROWS..).zip(ends.iter_mut()) {
            interrupt::check_each(query, 4);
            row(query, entries);
            *end = entries.len() as i64;
        }
    });
    let mut whole = memory::with_capacity("index_set", pieces.iter().map(|p| p.0.len()).sum())?;
    for (entries, ends) in pieces {
        interrupt::check();
        let base = whole.len() as i64;
        for end in ends {
            *end += base;
        }
        whole.extend_from_slice(&entries);
    }
    Ok((indptr, whole))
}
