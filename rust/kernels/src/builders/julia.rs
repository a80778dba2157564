//! A research pattern: positions are scattered over the plane of a Julia set, and attend to those that escape as fast.

use super::span::Span;
use crate::error::{KernelError, Result};
use crate::executor::{Executor, for_each_chunk};
use crate::index_set::IndexSet;
use crate::memory::{self, Entries};
use num_complex::Complex64;
use std::cell::RefCell;
use std::collections::HashMap;

/// The real root of x³ = x + 1; its powers make the plane's most even Kronecker sequence (M. Roberts' R₂).
const PLASTIC: f64 = 1.324_717_957_244_746;
/// Half the side of the square of the plane that the positions fill.
const EXTENT: f64 = 1.5;
/// Keys for each query from which on queries are few: then the levels are kept for the next call.
const FEW: usize = 256;
/// Most positions whose levels are kept, 8 bytes each; those of longer sequences are computed at every call.
const KEPT: usize = 1 << 24;
/// Tables that a thread keeps.
const TABLES_KEPT: usize = 2;
/// Positions that one task handles.
const PIECE: usize = 1024;

/// Keys within `window` positions, and the `neighbours` nearest earlier and later positions of the query's own level.
///
/// Position i is at the i-th point of the R₂ sequence in the square |Re z|, |Im z| ≤ 1.5. Its level is the number
/// of steps z ← z² + c that it stays within |z| ≤ 2, at most `max_iter`. Prefix-stable and symmetric.
pub fn julia(
    span: Span,
    c: Complex64,
    window: usize,
    neighbours: usize,
    max_iter: u32,
    executor: &dyn Executor,
) -> Result<IndexSet> {
    if !c.is_finite() {
        return Err(KernelError::value("c", c, "a finite number"));
    }
    if max_iter == 0 {
        return Err(KernelError::value("max_iter", max_iter, "at least 1"));
    }
    if span.n_queries().saturating_mul(FEW) <= span.n_keys() && span.n_keys() <= KEPT {
        memory::room::<i32>("window", span.least_edges(window))?;
        return with_levels((c, max_iter), span.n_keys(), executor, |kept| {
            IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
                let position = span.position(query);
                let alike = &kept.members[&kept.levels[position]];
                let rank = alike.partition_point(|&key| (key as usize) < position);
                let near = rank.saturating_sub(neighbours)..rank.saturating_add(neighbours + 1).min(alike.len());
                row(span, position, window, alike[near].iter(), keys);
            })
        });
    }
    memory::room::<i32>("window", span.least_edges(window))?;
    let mut levels = memory::zeros::<u32>("n_keys", span.n_keys())?;
    for_each_chunk(executor, &mut levels, PIECE, |task, piece| {
        for (i, level) in piece.iter_mut().enumerate() {
            *level = escape_level(place(task * PIECE + i), c, max_iter);
        }
    });
    // Positions of each level in order, and where among them each position is.
    let mut members = memory::collected("n_keys", 0..span.n_keys() as u32)?;
    // A stable sort would take memory of its own.
    members.sort_unstable_by_key(|&position| (levels[position as usize], position));
    let mut rank = memory::zeros::<usize>("n_keys", span.n_keys())?;
    members.iter().enumerate().for_each(|(r, &position)| rank[position as usize] = r);
    IndexSet::from_rows(span.n_queries(), span.n_keys(), executor, |query, keys| {
        let position = span.position(query);
        let near = rank[position].saturating_sub(neighbours)..(rank[position] + neighbours + 1).min(members.len());
        let alike = members[near].iter().filter(|&&key| levels[key as usize] == levels[position]);
        row(span, position, window, alike, keys);
    })
}

/// The window of a position and the keys of its level, each once and in order.
fn row<'a>(span: Span, position: usize, window: usize, alike: impl Iterator<Item = &'a u32>, keys: &mut Entries<i32>) {
    let start = keys.len();
    let last = position.saturating_add(window + 1).min(span.end(position));
    keys.extend((position.saturating_sub(window)..last).map(|key| key as i32));
    keys.extend(alike.filter(|&&key| (key as usize) < span.end(position)).map(|&key| key as i32));
    keys[start..].sort_unstable();
    let mut previous = -1;
    let mut kept = start;
    for read in start..keys.len() {
        if keys[read] != previous {
            previous = keys[read];
            keys[kept] = previous;
            kept += 1;
        }
    }
    keys.truncate(kept);
}

/// Levels of the first positions, kept between decode steps, since the nearest position of a level may be far back.
#[derive(Default)]
struct EscapeLevels {
    levels: Vec<u32>,
    members: HashMap<u32, Vec<u32>>,
}

impl EscapeLevels {
    /// Computes the missing ones of the first `n` levels, in a decode step one. Returns their number.
    fn grow_by(&mut self, n: usize, c: Complex64, max_iter: u32, executor: &dyn Executor) -> Result<usize> {
        let known = self.levels.len();
        if n <= known {
            return Ok(0);
        }
        memory::resize("n_keys", &mut self.levels, n, 0)?;
        for_each_chunk(executor, &mut self.levels[known..], PIECE, |task, piece| {
            for (i, level) in piece.iter_mut().enumerate() {
                *level = escape_level(place(known + task * PIECE + i), c, max_iter);
            }
        });
        for (position, &level) in self.levels.iter().enumerate().skip(known) {
            self.members.try_reserve(1).map_err(|_| KernelError::memory("n_keys", 4 * n as u128))?;
            memory::push("n_keys", self.members.entry(level).or_default(), position as u32)?;
        }
        Ok(n - known)
    }
}

type LevelTables = Vec<((u64, u64, u32), EscapeLevels)>;

thread_local! {
    /// The tables that this thread used last, latest last. Without a lock, as a forked child might find it locked.
    static TABLES: RefCell<LevelTables> = const { RefCell::new(Vec::new()) };
}

/// Calls `work` with the table of a parameter, grown to `n` positions. A call that unwinds loses the table, nothing
/// else.
fn with_levels<T>(
    (c, max_iter): (Complex64, u32),
    n: usize,
    executor: &dyn Executor,
    work: impl FnOnce(&EscapeLevels) -> Result<T>,
) -> Result<T> {
    let key = (c.re.to_bits(), c.im.to_bits(), max_iter);
    let mut kept = TABLES.take();
    let mut table = match kept.iter().position(|(parameter, _)| *parameter == key) {
        Some(at) => kept.remove(at).1,
        None => EscapeLevels::default(),
    };
    table.grow_by(n, c, max_iter, executor)?;
    let made = work(&table)?;
    kept.push((key, table));
    if kept.len() > TABLES_KEPT {
        kept.remove(0);
    }
    TABLES.set(kept);
    Ok(made)
}

/// The point of a position.
fn place(position: usize) -> Complex64 {
    let along = |step: f64| EXTENT * (2.0 * (0.5 + step * position as f64).fract() - 1.0);
    Complex64::new(along(1.0 / PLASTIC), along(1.0 / (PLASTIC * PLASTIC)))
}

/// Steps of z ← z² + c within |z| ≤ 2, at most `max_iter`.
fn escape_level(mut z: Complex64, c: Complex64, max_iter: u32) -> u32 {
    for step in 0..max_iter {
        if z.norm_sqr() > 4.0 {
            return step;
        }
        z = z * z + c;
    }
    max_iter
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::Serial;

    #[test]
    fn a_step_computes_one_level() {
        let c = Complex64::new(-0.7, 0.27);
        let mut table = EscapeLevels::default();
        assert_eq!(table.grow_by(5000, c, 64, &Serial).unwrap(), 5000);
        assert_eq!(table.grow_by(5001, c, 64, &Serial).unwrap(), 1);
        assert_eq!(table.grow_by(4000, c, 64, &Serial).unwrap(), 0);
    }

    #[test]
    fn few_queries_have_the_rows_of_all() {
        let c = Complex64::new(-0.7, 0.27);
        for (n, causal) in [(700, true), (2000, false), (900, true)] {
            let all = julia(Span::new(n, n, causal).unwrap(), c, 3, 5, 64, &Serial).unwrap();
            let few = julia(Span::new(2, n, causal).unwrap(), c, 3, 5, 64, &Serial).unwrap();
            for query in 0..2 {
                assert!(few.row(query).eq(all.row(n - 2 + query)));
            }
        }
    }
}
