//! The index set: how its rows are held and read.

use crate::error::{KernelError, Result};
use std::sync::Arc;

/// A run of keys, `[first, end)`.
pub type KeyRun = [i32; 2];

/// Refuses more keys than 32 bits index.
pub(super) fn check_n_keys(n_keys: usize) -> Result<()> {
    if n_keys > i32::MAX as usize {
        return Err(KernelError::value("n_keys", n_keys, "at most 2^31 - 1"));
    }
    Ok(())
}

/// How the rows of an [`IndexSet`] are held.
#[derive(Clone, Debug)]
pub enum Form {
    /// Sorted unique key indices, row after row.
    Csr {
        /// Row starts, `n_queries + 1` entries.
        indptr: Arc<Vec<i64>>,
        /// Key indices, strictly increasing within a row.
        indices: Arc<Vec<i32>>,
    },
    /// The same offsets for every query: key = query + `q_offset` − offset, dropped where it leaves `0..n_keys`.
    Offsets {
        /// Strictly increasing; a positive offset looks back.
        offsets: Arc<Vec<i64>>,
        /// Position of query 0 among the keys.
        q_offset: i64,
    },
    /// Runs of consecutive keys, row after row.
    Runs {
        /// Row starts among the runs, `n_queries + 1` entries.
        indptr: Arc<Vec<i64>>,
        /// `[first, end)`, increasing within a row; no two of a row touch.
        runs: Arc<Vec<KeyRun>>,
    },
}

/// Which keys each query attends to.
#[derive(Clone, Debug)]
pub struct IndexSet {
    pub(super) n_queries: usize,
    pub(super) n_keys: usize,
    pub(super) form: Form,
    pub(super) order: Option<Arc<Vec<u32>>>,
}

/// The first entry of a list in words, for a refusal.
pub(super) fn first_entry(entry: Option<&i64>) -> String {
    entry.map_or_else(|| "no entries".to_owned(), |first| format!("a first entry of {first}"))
}

impl IndexSet {
    /// From row starts and sorted unique key indices; checks all of them.
    pub fn from_csr(indptr: Vec<i64>, indices: Vec<i32>, n_keys: usize) -> Result<Self> {
        check_n_keys(n_keys)?;
        if indptr.first() != Some(&0) {
            return Err(KernelError::value("indptr", first_entry(indptr.first()), "a first entry of 0"));
        }
        if indptr.windows(2).any(|w| w[1] < w[0]) {
            return Err(KernelError::value("indptr", "a decreasing entry", "non-decreasing row starts"));
        }
        if *indptr.last().unwrap_or(&0) != indices.len() as i64 {
            return Err(KernelError::shape(
                "indptr",
                format!("last entry {}", indptr.last().unwrap_or(&0)),
                format!("the number of indices, {}", indices.len()),
            ));
        }
        for (row, w) in indptr.windows(2).enumerate() {
            let keys = &indices[w[0] as usize..w[1] as usize];
            if let Some(&bad) = keys.iter().find(|&&j| j < 0 || j as usize >= n_keys) {
                return Err(KernelError::index(
                    "indices",
                    format!("key {bad} in row {row}"),
                    format!("0 <= key < n_keys = {n_keys}"),
                ));
            }
            if keys.windows(2).any(|p| p[1] <= p[0]) {
                return Err(KernelError::value(
                    "indices",
                    format!("row {row} that is not strictly increasing"),
                    "sorted, unique keys in each row",
                ));
            }
        }
        let n_queries = indptr.len() - 1;
        Ok(Self { n_queries, n_keys, form: Form::Csr { indptr: indptr.into(), indices: indices.into() }, order: None })
    }

    /// The same offsets for every query; `offsets` are sorted here and must be unique.
    pub fn from_offsets(mut offsets: Vec<i64>, n_queries: usize, n_keys: usize, q_offset: i64) -> Result<Self> {
        check_n_keys(n_keys)?;
        if let Some(&bad) = offsets.iter().chain(std::iter::once(&q_offset)).find(|o| o.unsigned_abs() > 1 << 40) {
            return Err(KernelError::value("offsets", bad, "magnitudes up to 2^40"));
        }
        offsets.sort_unstable();
        if let Some([twice, ..]) = offsets.windows(2).find(|w| w[0] == w[1]) {
            return Err(KernelError::value("offsets", format!("{twice} twice"), "unique offsets"));
        }
        Ok(Self { n_queries, n_keys, form: Form::Offsets { offsets: offsets.into(), q_offset }, order: None })
    }

    /// Number of queries (rows).
    pub fn n_queries(&self) -> usize {
        self.n_queries
    }

    /// Number of keys (columns).
    pub fn n_keys(&self) -> usize {
        self.n_keys
    }

    /// How the rows are held.
    pub fn form(&self) -> &Form {
        &self.form
    }

    /// Position of query 0 among the keys: that of the offsets, else `n_keys − n_queries` (the last queries align
    /// with the last keys).
    pub fn q_offset(&self) -> i64 {
        match &self.form {
            Form::Csr { .. } | Form::Runs { .. } => self.n_keys as i64 - self.n_queries as i64,
            Form::Offsets { q_offset, .. } => *q_offset,
        }
    }

    /// The largest key of one query.
    pub fn last_key(&self, query: usize) -> Option<u32> {
        match &self.form {
            Form::Csr { indptr, indices } => {
                indices[indptr[query] as usize..indptr[query + 1] as usize].last().map(|&key| key as u32)
            }
            Form::Offsets { .. } => self.row(query).last(),
            Form::Runs { .. } => self.runs(query).last().map(|run| (run[1] - 1) as u32),
        }
    }

    /// The order in which a plan cuts queries into tiles; `None` is consecutive.
    pub fn order(&self) -> Option<&Arc<Vec<u32>>> {
        self.order.as_ref()
    }

    /// The keys of one query, increasing.
    pub fn row(&self, query: usize) -> Row<'_> {
        match &self.form {
            Form::Csr { indptr, indices } => {
                Row::Csr(indices[indptr[query] as usize..indptr[query + 1] as usize].iter())
            }
            Form::Offsets { offsets, q_offset } => {
                let position = query as i64 + q_offset;
                // key = position - offset in 0..n_keys  <=>  position - n_keys < offset <= position
                let first = offsets.partition_point(|&o| o <= position - self.n_keys as i64);
                let last = offsets.partition_point(|&o| o <= position);
                Row::Offsets(offsets[first..last.max(first)].iter().rev(), position)
            }
            Form::Runs { .. } => {
                let runs = self.runs(query);
                Row::Runs { runs: runs.iter(), keys: 0..0, left: keys_of(runs) }
            }
        }
    }

    /// The queries that have a key at an offset: 0 <= query + `q_offset` − offset < `n_keys`.
    pub(crate) fn queries_with(&self, offset: i64) -> std::ops::Range<i64> {
        let position = self.q_offset() - offset;
        (-position).max(0)..(self.n_keys as i64 - position).min(self.n_queries as i64)
    }

    /// Number of edges, (query, key) pairs of the set.
    pub fn nnz(&self) -> usize {
        match &self.form {
            Form::Csr { indices, .. } => indices.len(),
            Form::Offsets { offsets, .. } => offsets.iter().map(|&o| self.queries_with(o).count()).sum(),
            Form::Runs { runs, .. } => keys_of(runs),
        }
    }

    /// Whether every query has the same keys in both sets, in whatever form.
    pub fn same_rows(&self, other: &Self) -> bool {
        (self.n_queries, self.n_keys) == (other.n_queries, other.n_keys)
            && match (&self.form, &other.form) {
                (Form::Csr { indptr: a, indices: x }, Form::Csr { indptr: b, indices: y }) => a == b && x == y,
                (Form::Runs { indptr: a, runs: x }, Form::Runs { indptr: b, runs: y }) => a == b && x == y,
                _ => (0..self.n_queries).all(|query| self.row(query).eq(other.row(query))),
            }
    }
}

/// Number of keys in runs.
fn keys_of(runs: &[KeyRun]) -> usize {
    runs.iter().map(|run| (run[1] - run[0]) as usize).sum()
}

/// Iterator over the keys of one query.
#[derive(Clone, Debug)]
pub enum Row<'a> {
    /// A listed row.
    Csr(std::slice::Iter<'a, i32>),
    /// Offsets from a position, largest offset first.
    Offsets(std::iter::Rev<std::slice::Iter<'a, i64>>, i64),
    /// Runs of keys.
    Runs {
        /// The runs after the current one.
        runs: std::slice::Iter<'a, KeyRun>,
        /// The keys left of the current run.
        keys: std::ops::Range<i32>,
        /// Number of keys left in all.
        left: usize,
    },
}

impl Iterator for Row<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        match self {
            Row::Csr(keys) => keys.next().map(|&j| j as u32),
            Row::Offsets(offsets, position) => offsets.next().map(|&o| (*position - o) as u32),
            Row::Runs { runs, keys, left } => {
                let key = keys.next().or_else(|| {
                    *keys = runs.next().map(|run| run[0]..run[1])?;
                    keys.next()
                })?;
                *left -= 1;
                Some(key as u32)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self {
            Row::Csr(keys) => keys.size_hint(),
            Row::Offsets(offsets, _) => offsets.size_hint(),
            Row::Runs { left, .. } => (*left, Some(*left)),
        }
    }
}

impl ExactSizeIterator for Row<'_> {}
