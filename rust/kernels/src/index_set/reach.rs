//! How far information travels when layers of one index set are stacked.
//!
//! Every layer keeps a token's own state (the residual path), so the sets that are reached only grow.

use super::set::{Form, IndexSet};
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::interrupt;
use crate::memory;

/// Words of 64 keys that one block of columns holds: 1 KiB a row.
const WORDS: usize = 128;
/// Rows that one task handles.
const ROWS: usize = 64;

/// What stacked layers reach.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// Whether only pairs with key ≤ query count, because no query attends to a later key.
    pub causal: bool,
    /// Layers until every such pair is connected, or `None`.
    pub layers: Option<usize>,
    /// Share of the pairs that 1, 2, … layers connect; ends where it stops growing.
    pub shares: Vec<f64>,
}

impl IndexSet {
    /// What up to `layers` stacked layers reach. The set has as many queries as keys.
    ///
    /// Offsets of one sign, and of both signs where the ends of the sequence make no difference, take O(n·K/64) a
    /// layer; other sets compose their rows as bits, nnz·n/64 words a layer. `None` where that is more than
    /// `most_words`.
    pub fn reach(&self, layers: usize, most_words: u64, executor: &dyn Executor) -> Result<Option<Reach>> {
        if self.n_queries != self.n_keys {
            return Err(KernelError::shape(
                "index_set",
                format!("{} queries and {} keys", self.n_queries, self.n_keys),
                "as many queries as keys",
            ));
        }
        if layers == 0 {
            return Err(KernelError::value("layers", layers, "at least 1"));
        }
        let n = self.n_keys as u64;
        let by_index = |step: &i64| step.unsigned_abs() < n;
        let steps: Option<Vec<i64>> = match &self.form {
            Form::Offsets { offsets, q_offset } => {
                Some(memory::collected("index_set", offsets.iter().map(|o| o - q_offset).filter(by_index))?)
            }
            Form::Csr { .. } | Form::Runs { .. } => None,
        };
        let causal = steps.as_ref().map_or_else(|| self.is_causal(), |steps| steps.iter().all(|&step| step >= 0));
        let total = if causal { n * (n + 1) / 2 } else { n * n };
        let uniform = match steps {
            Some(steps) => distances(&steps, self.n_keys, layers)?,
            None => None,
        };
        let counts = match uniform {
            Some(counts) => counts,
            None if self.nnz() as u64 * n / 64 > most_words => return Ok(None),
            None => self.composed(layers, causal, executor)?,
        };
        let full = counts.iter().position(|&c| c == total).map(|l| l + 1);
        let shares = memory::collected("layers", counts.iter().map(|&c| c as f64 / total as f64))?;
        Ok(Some(Reach { causal, layers: full, shares }))
    }

    /// Pairs connected after each layer, by composing rows as bits, a block of columns at a time.
    fn composed(&self, layers: usize, causal: bool, executor: &dyn Executor) -> Result<Vec<u64>> {
        const SIZE: &str = "index_set";
        let n = self.n_keys;
        let mut totals: Vec<u64> = Vec::new();
        let mut settled = 0;
        for first in (0..n).step_by(WORDS * 64) {
            let width = (n - first).min(WORDS * 64);
            let words = width.div_ceil(64);
            let all = |row: usize| if causal { (row + 1).saturating_sub(first).min(width) } else { width } as u64;
            let mut reached = memory::zeros::<u64>(SIZE, memory::product::<u64>(SIZE, &[n, words])?)?;
            for key in 0..width {
                reached[(first + key) * words + key / 64] |= 1 << (key % 64);
            }
            let mut next = memory::copied(SIZE, &reached)?;
            let own = |row| u64::from(row >= first && row < first + width);
            let mut counts = memory::collected(SIZE, (0..n).map(own))?;
            let mut history = Vec::new();
            while history.len() < layers {
                let mut rows = memory::collected(SIZE, next.chunks_mut(ROWS * words).zip(counts.chunks_mut(ROWS)))?;
                for_each_chunk(executor, &mut rows, 1, |task, piece| {
                    let (bits, counts) = &mut piece[0];
                    for (r, (row, count)) in bits.chunks_mut(words).zip(counts.iter_mut()).enumerate() {
                        interrupt::check();
                        let query = task * ROWS + r;
                        if *count == all(query) {
                            continue;
                        }
                        for key in self.row(query) {
                            let source = &reached[key as usize * words..][..words];
                            row.iter_mut().zip(source).for_each(|(a, b)| *a |= b);
                        }
                        *count = row.iter().map(|w| u64::from(w.count_ones())).sum();
                    }
                });
                let count: u64 = counts.iter().sum();
                if history.last() == Some(&count) {
                    break;
                }
                history.push(count);
                std::mem::swap(&mut reached, &mut next);
                next.copy_from_slice(&reached);
            }
            add(&mut totals, &history, settled);
            settled += history.last().copied().unwrap_or(0);
        }
        Ok(totals)
    }
}

/// Adds a block's history to the sums of the blocks before it, whose final sum is `settled`.
fn add(totals: &mut Vec<u64>, history: &[u64], settled: u64) {
    while totals.len() < history.len() {
        totals.push(settled);
    }
    for (layer, total) in totals.iter_mut().enumerate() {
        *total += history.get(layer).or(history.last()).copied().unwrap_or(0);
    }
}

/// Pairs connected after each layer by steps that are the same for all queries; `None` where the ends make a
/// difference.
fn distances(steps: &[i64], n: usize, layers: usize) -> Result<Option<Vec<u64>>> {
    let pairs = |d: usize| (n - d) as u64;
    let back = memory::collected("index_set", steps.iter().copied().filter(|&s| s > 0))?;
    let ahead = memory::collected("index_set", steps.iter().filter(|&&s| s < 0).map(|s| -s))?;
    // Steps of one sign never pass the far end on their way: every sum below n is a connected distance.
    let one_way = |steps: &[i64]| sums(steps, n, 0, layers, pairs);
    let (behind, before) = (one_way(&back)?, one_way(&ahead)?);
    let both = (0..behind.len().max(before.len())).map(|l| at(&behind, l) + at(&before, l) - n as u64);
    let both = memory::collected("layers", both)?;
    if back.is_empty() || ahead.is_empty() {
        return Ok(Some(both));
    }
    // With both signs that undercounts, and sums that may leave the sequence on their way overcount.
    let free = sums(steps, 2 * n - 1, n - 1, layers, |place| pairs(place.abs_diff(n - 1)))?;
    Ok((free == both).then_some(both))
}

fn at(history: &[u64], layer: usize) -> u64 {
    history[layer.min(history.len() - 1)]
}

/// Sums of up to 1, 2, … steps from `start` that stay in `0..size`, weighed; ends where they stop growing.
fn sums(steps: &[i64], size: usize, start: usize, layers: usize, weight: impl Fn(usize) -> u64) -> Result<Vec<u64>> {
    let mut reached = memory::zeros::<u64>("index_set", size.div_ceil(64))?;
    reached[start / 64] |= 1 << (start % 64);
    let mut history = Vec::new();
    while history.len() < layers {
        let mut next = memory::copied("index_set", &reached)?;
        for &step in steps {
            interrupt::check();
            or_shifted(&mut next, &reached, step);
        }
        if !size.is_multiple_of(64) {
            let last = next.len() - 1;
            next[last] &= (1 << (size % 64)) - 1;
        }
        if !history.is_empty() && next == reached {
            break;
        }
        reached = next;
        interrupt::check();
        history.push((0..size).filter(|&place| reached[place / 64] >> (place % 64) & 1 == 1).map(&weight).sum());
    }
    Ok(history)
}

/// `to |= from` moved up by `by` places (down if negative).
fn or_shifted(to: &mut [u64], from: &[u64], by: i64) {
    let (words, bits) = ((by.unsigned_abs() / 64) as usize, by.unsigned_abs() % 64);
    if words >= from.len() {
        return;
    }
    let kept = from.len() - words;
    if by >= 0 {
        for i in 0..kept {
            let carry = if bits > 0 && i > 0 { from[i - 1] >> (64 - bits) } else { 0 };
            to[i + words] |= from[i] << bits | carry;
        }
    } else {
        for i in 0..kept {
            let carry = if bits > 0 && i + 1 < kept { from[i + words + 1] << (64 - bits) } else { 0 };
            to[i] |= from[i + words] >> bits | carry;
        }
    }
}
