//! Rows held as runs of consecutive keys: packed segments, blocks, and other sets with long runs.

use super::convert::rows_in_parallel;
use super::set::{Form, IndexSet, KeyRun, check_n_keys, first_entry};
use crate::error::{KernelError, Result};
use crate::executor::Executor;
use crate::memory::{self, Entries};

/// Blocks of queries and keys that hold edges: rows of blocks as CSR, as many as cover the queries.
#[derive(Clone, Copy, Debug)]
pub struct Blocks<'a> {
    /// Queries and keys of a block.
    pub size: [usize; 2],
    /// Starts of the rows of blocks.
    pub indptr: &'a [i64],
    /// Which block of keys, increasing within a row.
    pub columns: &'a [i64],
    /// Whether every pair of the block is an edge.
    pub full: &'a [bool],
}

/// Which keys of its own segment a query attends to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within {
    /// None after its own place.
    pub causal: bool,
    /// At most so many before and after its own place.
    pub window: Option<[i64; 2]>,
    /// The first query of a segment stands at its first key; else the last one at its last key.
    pub upper_left: bool,
}

impl From<bool> for Within {
    fn from(causal: bool) -> Self {
        Self { causal, ..Self::default() }
    }
}

impl Blocks<'_> {
    fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.indptr[row] as usize..self.indptr[row + 1] as usize
    }

    fn check(&self, n_queries: usize, n_keys: usize) -> Result<()> {
        if let Some(&size) = self.size.iter().find(|&&size| size == 0 || size > i32::MAX as usize) {
            return Err(KernelError::value("block_size", size, "1 to 2^31 - 1"));
        }
        check_starts("indptr", self.indptr)?;
        let [rows, columns] = [n_queries.div_ceil(self.size[0]), n_keys.div_ceil(self.size[1])];
        if self.indptr.len() != rows + 1 || self.columns.len() != self.full.len() {
            let given = format!("{} rows, {} and {} blocks", self.indptr.len(), self.columns.len(), self.full.len());
            return Err(KernelError::shape("indptr", given, format!("{rows} rows and as many full as columns")));
        }
        if self.indptr.last() != Some(&(self.columns.len() as i64)) {
            let given = format!("last entry {}", self.indptr.last().unwrap_or(&0));
            return Err(KernelError::shape("indptr", given, format!("{} columns", self.columns.len())));
        }
        for row in 0..rows {
            let listed = &self.columns[self.row(row)];
            if let Some(bad) = listed.iter().find(|&&c| c < 0 || c >= columns as i64) {
                let given = format!("block {bad} in row {row}");
                return Err(KernelError::index("columns", given, format!("0 <= block < {columns}")));
            }
            if listed.windows(2).any(|w| w[1] <= w[0]) {
                let given = format!("row {row} that is not strictly increasing");
                return Err(KernelError::value("columns", given, "sorted, unique blocks in each row"));
            }
        }
        Ok(())
    }
}

/// Row starts that begin at 0 and do not decrease.
fn check_starts(argument: &'static str, starts: &[i64]) -> Result<()> {
    if starts.first() != Some(&0) {
        return Err(KernelError::value(argument, first_entry(starts.first()), "a first entry of 0"));
    }
    if let Some([before, after, ..]) = starts.windows(2).find(|w| w[1] < w[0]) {
        return Err(KernelError::value(argument, format!("{after} after {before}"), "entries that do not decrease"));
    }
    Ok(())
}

/// Appends a run to a row that ends before it; two that touch become one.
fn push_run(row: &mut Entries<KeyRun>, start: usize, run: KeyRun) {
    match row[start..].last_mut() {
        Some(last) if last[1] >= run[0] => last[1] = last[1].max(run[1]),
        _ => row.push(run),
    }
}

impl IndexSet {
    /// Builds rows of runs in parallel: `row(query, push)` pushes the runs of one query, their first keys increasing.
    ///
    /// Runs that touch or overlap are joined; empty ones are left out. The caller is responsible for the range of the
    /// keys.
    pub fn from_run_rows(
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
        row: impl Fn(usize, &mut dyn FnMut(KeyRun)) + Sync,
    ) -> Result<Self> {
        check_n_keys(n_keys)?;
        let (indptr, runs) = rows_in_parallel(n_queries, executor, |query, runs: &mut Entries<KeyRun>| {
            let start = runs.len();
            row(query, &mut |run| {
                debug_assert!(0 <= run[0] && run[1] as usize <= n_keys, "row {query} leaves range");
                if run[0] < run[1] {
                    push_run(runs, start, run);
                }
            });
        })?;
        Ok(Self { n_queries, n_keys, form: Form::Runs { indptr: indptr.into(), runs: runs.into() }, order: None })
    }

    /// From runs row after row: run r of a query is the keys `starts[r]`, …, `starts[r] + lengths[r] − 1`.
    ///
    /// Runs of a row increase and do not overlap; two that touch become one.
    pub fn from_runs(
        indptr: &[i64],
        starts: &[i64],
        lengths: &[i64],
        n_keys: usize,
        executor: &dyn Executor,
    ) -> Result<Self> {
        check_n_keys(n_keys)?;
        check_starts("indptr", indptr)?;
        let given = |name: &str, n: usize| format!("{n} {name}");
        if lengths.len() != starts.len() {
            return Err(KernelError::shape("lengths", given("entries", lengths.len()), given("starts", starts.len())));
        }
        if indptr.last() != Some(&(starts.len() as i64)) {
            let last = format!("last entry {}", indptr.last().unwrap_or(&0));
            return Err(KernelError::shape("indptr", last, given("starts", starts.len())));
        }
        for (query, w) in indptr.windows(2).enumerate() {
            let mut end = 0;
            for run in w[0] as usize..w[1] as usize {
                let (first, length) = (starts[run], lengths[run]);
                if length < 1 {
                    return Err(KernelError::value("lengths", format!("{length} in row {query}"), "at least 1"));
                }
                if first < 0 || first >= n_keys as i64 {
                    let allowed = format!("0 <= key < n_keys = {n_keys}");
                    return Err(KernelError::index("starts", format!("key {first} in row {query}"), allowed));
                }
                if length > n_keys as i64 - first {
                    let given = format!("{length} keys from key {first} in row {query}");
                    return Err(KernelError::index("lengths", given, format!("runs within n_keys = {n_keys}")));
                }
                if first < end {
                    let given = format!("key {first} in row {query}, in or before the run up to {end}");
                    return Err(KernelError::value("starts", given, "runs that increase and do not overlap"));
                }
                end = first + length;
            }
        }
        Self::from_run_rows(indptr.len() - 1, n_keys, executor, |query, push| {
            for run in indptr[query] as usize..indptr[query + 1] as usize {
                push([starts[run] as i32, (starts[run] + lengths[run]) as i32]);
            }
        })
    }

    /// Packed sequences: each query attends to the keys of its own segment. Segment s has the queries
    /// `queries[s]..queries[s + 1]` and the keys `keys[s]..keys[s + 1]`.
    ///
    /// `within` says which of them.
    pub fn from_segments(
        queries: &[i64],
        keys: &[i64],
        within: impl Into<Within>,
        executor: &dyn Executor,
    ) -> Result<Self> {
        let within = within.into();
        if let Some(given) = within.window.and_then(|sides| sides.into_iter().find(|&side| side < 0)) {
            return Err(KernelError::value("window", given, "0 or more keys on each side"));
        }
        let names = ["cu_seqlens_q", "cu_seqlens_k"];
        for (argument, lengths) in names.into_iter().zip([queries, keys]) {
            check_starts(argument, lengths)?;
            let total = *lengths.last().unwrap_or(&0);
            if total < 1 || total > i64::from(i32::MAX) {
                return Err(KernelError::value(argument, format!("last entry {total}"), "1 to 2^31 - 1"));
            }
        }
        if queries.len() != keys.len() {
            let given = format!("{} entries", keys.len());
            return Err(KernelError::shape("cu_seqlens_k", given, format!("{}, as cu_seqlens_q", queries.len())));
        }
        let end = |lengths: &[i64]| *lengths.last().unwrap_or(&0) as usize;
        Self::from_run_rows(end(queries), end(keys), executor, |query, push| {
            let segment = queries.partition_point(|&start| start <= query as i64) - 1;
            let (first, end) = (keys[segment], keys[segment + 1]);
            let own = if within.upper_left {
                first + query as i64 - queries[segment]
            } else {
                end + query as i64 - queries[segment + 1]
            };
            let [before, after] = within.window.unwrap_or([i64::from(i32::MAX); 2]);
            let after = if within.causal { 0 } else { after };
            push([own - before, own + after + 1].map(|key| key.clamp(first, end) as i32));
        })
    }

    /// From blocks, row of blocks after row of blocks. `allowed(number, query, key)` says which pairs are edges, in the
    /// block of that number among those that are not full; query and key count from the block's first.
    ///
    /// Rows become runs, or lists where those take less memory.
    pub fn from_blocks(
        blocks: &Blocks<'_>,
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
        allowed: impl Fn(usize, usize, usize) -> bool + Sync,
    ) -> Result<Self> {
        blocks.check(n_queries, n_keys)?;
        let [queries, keys] = blocks.size;
        let count_partial =
            |partial: &mut usize, &full: &bool| Some(std::mem::replace(partial, *partial + usize::from(!full)));
        let among_partial: Vec<usize> = memory::collected("full", blocks.full.iter().scan(0, count_partial))?;
        let set = Self::from_run_rows(n_queries, n_keys, executor, |query, push| {
            for block in blocks.row(query / queries) {
                let first = blocks.columns[block] as usize * keys;
                let last = (first + keys).min(n_keys);
                if blocks.full[block] {
                    push([first as i32, last as i32]);
                    continue;
                }
                for key in (first..last).filter(|key| allowed(among_partial[block], query % queries, key - first)) {
                    push([key as i32, key as i32 + 1]);
                }
            }
        })?;
        set.shorter(executor)
    }

    /// The same set, listed if that takes less memory than runs.
    fn shorter(self, executor: &dyn Executor) -> Result<Self> {
        match &self.form {
            Form::Runs { runs, .. } if 2 * runs.len() > self.nnz() => self.listed(executor),
            _ => Ok(self),
        }
    }

    /// Rows of runs clipped to the keys before `end(query)`; the query order is dropped.
    pub(super) fn clipped(
        &self,
        n_queries: usize,
        n_keys: usize,
        executor: &dyn Executor,
        end: impl Fn(usize) -> i64 + Sync,
    ) -> Result<Self> {
        Self::from_run_rows(n_queries, n_keys, executor, |query, push| {
            let end = end(query).clamp(0, n_keys as i64) as i32;
            for run in self.runs(query).iter().take_while(|run| run[0] < end) {
                push([run[0], run[1].min(end)]);
            }
        })
    }

    /// Union or intersection of two sets of runs; the query order is dropped.
    pub(super) fn merged_runs(&self, other: &Self, executor: &dyn Executor, union: bool) -> Result<Self> {
        Self::from_run_rows(self.n_queries, self.n_keys, executor, |query, push| {
            let (mut a, mut b) = (self.runs(query), other.runs(query));
            while let (Some(x), Some(y)) = (a.first(), b.first()) {
                if !union {
                    push([x[0].max(y[0]), x[1].min(y[1])]);
                    if x[1] < y[1] { a = &a[1..] } else { b = &b[1..] }
                } else if x[0] < y[0] {
                    push(*x);
                    a = &a[1..];
                } else {
                    push(*y);
                    b = &b[1..];
                }
            }
            if union {
                a.iter().chain(b).for_each(|&run| push(run));
            }
        })
    }

    /// The runs of one query; none where the set holds no runs.
    pub(super) fn runs(&self, query: usize) -> &[KeyRun] {
        match &self.form {
            Form::Runs { indptr, runs } => &runs[indptr[query] as usize..indptr[query + 1] as usize],
            Form::Csr { .. } | Form::Offsets { .. } => &[],
        }
    }
}
