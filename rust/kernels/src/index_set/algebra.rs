//! Union, intersection, causality, transposition and slices. Two sets of offsets from one position stay
//! offsets, and two sets of runs stay runs.

use super::set::{Form, IndexSet};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::interrupt;
use crate::memory::{self, Entries};
use std::sync::Arc;

impl IndexSet {
    /// Keys of either set.
    pub fn union(&self, other: &Self, executor: &dyn Executor) -> Result<Self> {
        self.merge(other, executor, true)
    }

    /// Keys of both sets.
    pub fn intersection(&self, other: &Self, executor: &dyn Executor) -> Result<Self> {
        self.merge(other, executor, false)
    }

    fn merge(&self, other: &Self, executor: &dyn Executor, union: bool) -> Result<Self> {
        if (self.n_queries, self.n_keys) != (other.n_queries, other.n_keys) {
            return Err(KernelError::shape(
                "other",
                format!("{} queries and {} keys", other.n_queries, other.n_keys),
                format!("{} queries and {} keys, as here", self.n_queries, self.n_keys),
            ));
        }
        let order = self.order.clone().or_else(|| other.order.clone());
        if let (Form::Offsets { offsets: a, q_offset }, Form::Offsets { offsets: b, q_offset: q }) =
            (&self.form, &other.form)
            && q_offset == q
        {
            let mut offsets = Entries::new("index_set");
            merge_sorted(a.iter().copied(), b.iter().copied(), union, |o| offsets.push(o));
            return Ok(Self {
                form: Form::Offsets { offsets: offsets.into_vec().into(), q_offset: *q_offset },
                order,
                ..self.clone()
            });
        }
        if let (Form::Runs { .. }, Form::Runs { .. }) = (&self.form, &other.form) {
            return Ok(Self { order, ..self.merged_runs(other, executor, union)? });
        }
        if let (false, Form::Runs { .. }, Some(runs)) = (union, &self.form, other.stretches(executor)?) {
            return Ok(Self { order, ..self.merged_runs(&runs, executor, false)? });
        }
        if let (false, Some(runs), Form::Runs { .. }) = (union, self.stretches(executor)?, &other.form) {
            return Ok(Self { order, ..runs.merged_runs(other, executor, false)? });
        }
        if union {
            memory::room::<i32>("index_set", self.nnz().max(other.nnz()) as u64)?;
        }
        let set = Self::from_rows(self.n_queries, self.n_keys, executor, |query, keys| {
            merge_sorted(self.row(query), other.row(query), union, |key| keys.push(key as i32));
        })?;
        Ok(Self { order, ..set })
    }

    /// Offsets that follow each other in a few stretches, as runs; `None` of other sets.
    fn stretches(&self, executor: &dyn Executor) -> Result<Option<Self>> {
        /// Runs of a row that take no more memory than a list of it.
        const MOST: usize = 8;
        let Form::Offsets { offsets, q_offset } = &self.form else { return Ok(None) };
        let of = || offsets.chunk_by(|a, b| a + 1 == *b);
        if of().take(MOST + 1).count() > MOST {
            return Ok(None);
        }
        let set = Self::from_run_rows(self.n_queries, self.n_keys, executor, |query, push| {
            let (place, end) = (query as i64 + q_offset, self.n_keys as i64);
            // Offsets increase, so that their keys decrease.
            for stretch in of().rev() {
                let [low, high] = [stretch[0], stretch[stretch.len() - 1]];
                push([place - high, place - low + 1].map(|key| key.clamp(0, end) as i32));
            }
        })?;
        Ok(Some(Self { order: self.order.clone(), ..set }))
    }

    /// Only keys at or before the query's own position, query + `q_offset`.
    ///
    /// `None` takes the set's own position of query 0: that of its offsets, else `n_keys − n_queries`.
    pub fn causal(&self, q_offset: Option<i64>, executor: &dyn Executor) -> Result<Self> {
        let from = q_offset.unwrap_or_else(|| self.q_offset());
        match &self.form {
            Form::Offsets { offsets, q_offset } => {
                // key <= query + from  <=>  offset >= q_offset - from
                let first = offsets.partition_point(|&o| o < q_offset - from);
                let offsets = memory::copied("index_set", &offsets[first..])?.into();
                let form = Form::Offsets { offsets, q_offset: *q_offset };
                Ok(Self { form, ..self.clone() })
            }
            Form::Csr { .. } => {
                let set = Self::from_rows(self.n_queries, self.n_keys, executor, |query, keys| {
                    let position = query as i64 + from;
                    keys.extend(self.row(query).map(|key| key as i32).take_while(|&key| i64::from(key) <= position));
                })?;
                Ok(Self { order: self.order.clone(), ..set })
            }
            Form::Runs { .. } => {
                let set = self.clipped(self.n_queries, self.n_keys, executor, |query| query as i64 + from + 1)?;
                Ok(Self { order: self.order.clone(), ..set })
            }
        }
    }

    /// Whether every key is at or before its query's own position, query + [`Self::q_offset`].
    pub fn is_causal(&self) -> bool {
        match &self.form {
            Form::Offsets { offsets, .. } => offsets.iter().all(|&o| o >= 0 || self.queries_with(o).is_empty()),
            Form::Csr { .. } | Form::Runs { .. } => {
                let from = self.q_offset();
                (0..self.n_queries).all(|q| self.last_key(q).is_none_or(|key| i64::from(key) <= q as i64 + from))
            }
        }
    }

    /// Queries become keys and keys become queries. Offsets stay offsets, runs are listed; a query order is dropped.
    pub fn transpose(&self) -> Result<Self> {
        match &self.form {
            Form::Offsets { offsets, q_offset } => {
                // key = query + q_offset - o  <=>  query = key - q_offset + o
                let offsets = memory::collected("index_set", offsets.iter().rev().map(|o| -o))?;
                let form = Form::Offsets { offsets: offsets.into(), q_offset: -q_offset };
                Ok(Self { n_queries: self.n_keys, n_keys: self.n_queries, form, order: None })
            }
            Form::Csr { .. } | Form::Runs { .. } => {
                let mut indptr = memory::zeros::<i64>("index_set", self.n_keys + 1)?;
                let mut queries = memory::zeros::<i32>("index_set", self.nnz())?;
                for query in 0..self.n_queries {
                    interrupt::check_each(query, 16);
                    self.row(query).for_each(|key| indptr[key as usize + 1] += 1);
                }
                for key in 0..self.n_keys {
                    indptr[key + 1] += indptr[key];
                }
                let mut next = memory::copied("index_set", &indptr)?;
                for query in 0..self.n_queries {
                    interrupt::check_each(query, 16);
                    for key in self.row(query) {
                        let slot = &mut next[key as usize];
                        queries[*slot as usize] = query as i32;
                        *slot += 1;
                    }
                }
                let form = Form::Csr { indptr: indptr.into(), indices: queries.into() };
                Ok(Self { n_queries: self.n_keys, n_keys: self.n_queries, form, order: None })
            }
        }
    }

    /// Queries `start..stop` over the same keys. Offsets stay offsets and runs stay runs; a query order is
    /// dropped.
    pub fn rows(&self, start: usize, stop: usize) -> Result<Self> {
        if start > stop || stop > self.n_queries {
            return Err(KernelError::index(
                "rows",
                format!("{start}..{stop}"),
                format!("0 <= start <= stop <= n_queries = {}", self.n_queries),
            ));
        }
        let form = match &self.form {
            Form::Offsets { offsets, q_offset } => {
                Form::Offsets { offsets: offsets.clone(), q_offset: q_offset + start as i64 }
            }
            Form::Csr { indptr, indices } => {
                let (indptr, indices) = slice(indptr, indices, start, stop)?;
                Form::Csr { indptr, indices }
            }
            Form::Runs { indptr, runs } => {
                let (indptr, runs) = slice(indptr, runs, start, stop)?;
                Form::Runs { indptr, runs }
            }
        };
        Ok(Self { n_queries: stop - start, n_keys: self.n_keys, form, order: None })
    }

    /// The first `n_queries` queries over the first `n_keys` keys: what a prefix-stable pattern gives at that length.
    /// A query order is dropped.
    pub fn prefix(&self, n_queries: usize, n_keys: usize, executor: &dyn Executor) -> Result<Self> {
        if n_queries > self.n_queries || n_keys > self.n_keys {
            return Err(KernelError::index(
                "prefix",
                format!("{n_queries} queries and {n_keys} keys"),
                format!("at most {} and {}", self.n_queries, self.n_keys),
            ));
        }
        match &self.form {
            Form::Offsets { .. } => Ok(Self { n_queries, n_keys, form: self.form.clone(), order: None }),
            Form::Csr { .. } => Self::from_rows(n_queries, n_keys, executor, |query, keys| {
                keys.extend(self.row(query).map(|key| key as i32).take_while(|&key| (key as usize) < n_keys));
            }),
            Form::Runs { .. } => self.clipped(n_queries, n_keys, executor, |_| n_keys as i64),
        }
    }

    /// Fewest and most keys of a query.
    pub fn degrees(&self) -> (usize, usize) {
        let lengths = || (0..self.n_queries).map(|query| self.row(query).len());
        (lengths().min().unwrap_or(0), lengths().max().unwrap_or(0))
    }

    /// The same set, its queries cut into tiles along `order`: a permutation of the queries.
    pub fn with_order(&self, order: Vec<u32>) -> Result<Self> {
        if order.len() != self.n_queries {
            return Err(KernelError::shape("order", order.len(), format!("n_queries = {} entries", self.n_queries)));
        }
        let mut seen = memory::zeros::<bool>("order", self.n_queries)?;
        for &query in &order {
            match seen.get_mut(query as usize) {
                Some(seen) if !*seen => *seen = true,
                Some(_) => return Err(KernelError::value("order", format!("query {query} twice"), "a permutation")),
                None => {
                    return Err(KernelError::index(
                        "order",
                        format!("query {query}"),
                        format!("0 <= query < n_queries = {}", self.n_queries),
                    ));
                }
            }
        }
        Ok(Self { order: Some(order.into()), ..self.clone() })
    }
}

/// Row starts and entries.
type Sliced<T> = (Arc<Vec<i64>>, Arc<Vec<T>>);

/// Rows `start..stop` of row starts and their entries.
fn slice<T: Copy>(indptr: &[i64], entries: &[T], start: usize, stop: usize) -> Result<Sliced<T>> {
    let base = indptr[start];
    let entries = memory::copied("rows", &entries[base as usize..indptr[stop] as usize])?;
    let starts = memory::collected("rows", indptr[start..=stop].iter().map(|p| p - base))?;
    Ok((Arc::new(starts), Arc::new(entries)))
}

/// Walks two increasing sequences once and emits their union or intersection, increasing.
fn merge_sorted<T: Ord + Copy>(
    a: impl Iterator<Item = T>,
    b: impl Iterator<Item = T>,
    union: bool,
    mut emit: impl FnMut(T),
) {
    let (mut a, mut b) = (a.peekable(), b.peekable());
    loop {
        match (a.peek().copied(), b.peek().copied()) {
            (Some(x), Some(y)) if x == y => {
                emit(x);
                a.next();
                b.next();
            }
            (Some(x), y) if y.is_none_or(|y| x < y) => {
                if union {
                    emit(x);
                }
                a.next();
            }
            (_, Some(y)) => {
                if union {
                    emit(y);
                }
                b.next();
            }
            (_, None) => return,
        }
    }
}
