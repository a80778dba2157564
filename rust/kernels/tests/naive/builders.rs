//! Which keys a builder gives, pair by pair: `attends(n, ...)(i, j)` over n positions.

use super::{cantor, dragon, hilbert};
use std::collections::BTreeSet;

fn chebyshev<T: Copy + Into<i64>>(a: &[T], b: &[T]) -> i64 {
    a.iter().zip(b).map(|(&a, &b)| (a.into() - b.into()).abs()).max().unwrap_or(0)
}

pub fn window(radius: usize) -> impl Fn(usize, usize) -> bool {
    move |i, j| i.abs_diff(j) <= radius
}

pub fn digits(n: usize, base: i64, digits: &[i64]) -> impl Fn(usize, usize) -> bool {
    let distances = cantor::digit_offsets(n as i64, base, digits);
    move |i, j| distances.contains(&(i.abs_diff(j) as i64))
}

/// The numbers of `depth` ternary digits 0 or 2, one digit appended at a time.
pub fn cantor_samples(n: usize, depth: u32) -> impl Fn(usize, usize) -> bool {
    let numerators = (0..depth).fold(vec![0usize], |all, _| all.iter().flat_map(|p| [3 * p, 3 * p + 2]).collect());
    let keys: BTreeSet<usize> = numerators.iter().map(|p| p * n / 3usize.pow(depth)).collect();
    move |i, j| i == j || keys.contains(&j)
}

pub fn sierpinski() -> impl Fn(usize, usize) -> bool {
    |i, j| i & j == j
}

pub fn hilbert(n: usize, radius: usize) -> impl Fn(usize, usize) -> bool {
    let order = (0..32).find(|order| 1usize << (2 * order) >= n).expect("n fits");
    let cells: Vec<[i64; 2]> = hilbert::plane(order).iter().map(|c| c.map(|x| x as i64)).collect();
    move |i, j| chebyshev(&cells[i], &cells[j]) <= radius as i64
}

pub fn hilbert_box(shape: &[usize], radius: usize) -> impl Fn(usize, usize) -> bool {
    let shape = shape.to_vec();
    let cell = move |mut position: usize| -> Vec<i64> {
        let mut cell = vec![0; shape.len()];
        for axis in (0..shape.len()).rev() {
            cell[axis] = (position % shape[axis]) as i64;
            position /= shape[axis];
        }
        cell
    };
    move |i, j| chebyshev(&cell(i), &cell(j)) <= radius as i64
}

pub fn dragon(n: usize, radius: usize) -> impl Fn(usize, usize) -> bool {
    let order = (0..32).find(|order| 1usize << order >= n).expect("n fits");
    let path = dragon::vertices(order);
    move |i, j| chebyshev(&path[2 * i..2 * i + 2], &path[2 * j..2 * j + 2]) <= radius as i64
}

/// Nearest positions of the same level, by counting the alike ones between.
pub fn julia(
    n: usize,
    c: (f64, f64),
    window: usize,
    neighbours: usize,
    max_iter: u32,
) -> impl Fn(usize, usize) -> bool {
    let plastic = 1.324_717_957_244_746_f64;
    let levels: Vec<u32> = (0..n)
        .map(|i| {
            let along = |step: f64| 3.0 * (0.5 + i as f64 * step).fract() - 1.5;
            let (mut x, mut y) = (along(1.0 / plastic), along(1.0 / (plastic * plastic)));
            let mut level = 0;
            while level < max_iter && x * x + y * y <= 4.0 {
                (x, y) = (x * x - y * y + c.0, x * y + y * x + c.1);
                level += 1;
            }
            level
        })
        .collect();
    move |i, j| {
        let between = (i.min(j)..i.max(j)).filter(|&p| levels[p] == levels[i]).count();
        i.abs_diff(j) <= window || (levels[i] == levels[j] && between <= neighbours)
    }
}

/// One axis of NATTEN's rule, the window found by trying: (len, kernel, stride, dilation, causal).
pub type Axis = (usize, usize, usize, usize, bool);

fn in_window((len, kernel, stride, dilation, causal): Axis, i: usize, j: usize) -> bool {
    if i % dilation != j % dilation {
        return false;
    }
    let grid: Vec<usize> = (i % dilation..len).step_by(dilation).collect();
    let (query, key) = (i / dilation, j / dilation);
    let middle = if causal { stride - 1 } else { stride / 2 };
    let leader = (query - query % stride + middle).min(grid.len() - 1);
    if causal {
        return key <= query && key + kernel > leader;
    }
    // The admissible window whose middle is nearest to the leader.
    let first = (0..=grid.len() - kernel).min_by_key(|first| (first + kernel / 2).abs_diff(leader)).expect("it fits");
    (first..first + kernel).contains(&key)
}

/// Every axis by its rule; positions are cells in raster order.
pub fn neighborhood(axes: &[Axis]) -> impl Fn(usize, usize) -> bool {
    let axes = axes.to_vec();
    move |mut i, mut j| {
        axes.iter().rev().all(|&axis| {
            let (at, key) = (i % axis.0, j % axis.0);
            (i, j) = (i / axis.0, j / axis.0);
            in_window(axis, at, key)
        })
    }
}
