//! Index sets of every form, and arrays drawn from a seed.

use fractal_kernels::attention::Storage;
use fractal_kernels::builders::{Axis, Span, neighborhood};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::{Blocks, IndexSet};

use crate::runs::{read, stored};
use std::ops::Range;

/// splitmix64, so that every run sees the same numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    pub(crate) fn values(&mut self, n: usize) -> Vec<f64> {
        (0..n).map(|_| (self.next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
    }
}

pub(crate) fn listed(rows: impl Iterator<Item = Vec<i32>>, n_keys: usize) -> IndexSet {
    let (mut indptr, mut indices) = (vec![0], Vec::new());
    for mut row in rows {
        row.sort_unstable();
        row.dedup();
        indices.extend(row);
        indptr.push(indices.len() as i64);
    }
    IndexSet::from_csr(indptr, indices, n_keys).unwrap()
}

/// The index sets every check runs over: windows, ladders, lists with empty rows, dense runs, mixtures.
pub(crate) fn sets(n: usize, n_keys: usize, random: &mut Random) -> Vec<(&'static str, IndexSet)> {
    let shift = n_keys as i64 - n as i64;
    let cantor = (0..5i64.pow(4)).filter(|&x| x >= 12 && (0..4).all(|i| x / 5i64.pow(i) % 5 < 2));
    let offsets = |o: Vec<i64>| IndexSet::from_offsets(o, n, n_keys, shift).unwrap();
    let mut draw = |k: usize| -> Vec<i32> { (0..k).map(|_| (random.next() % n_keys as u64) as i32).collect() };
    let random_rows: Vec<_> = (0..n).map(|i| if i % 7 == 3 { Vec::new() } else { draw(11) }).collect();
    let sparse_rows: Vec<_> = (0..n).map(|_| draw(2)).collect();
    let mixed_rows: Vec<_> = (0..n as i64)
        .map(|i| {
            let near = (0..n_keys as i64).filter(|j| (j - i - shift).abs() < 20).map(|j| j as i32);
            near.chain(draw(5)).collect()
        })
        .collect();
    let mut all = vec![
        ("window", offsets((-9..=9).collect())),
        ("ladder", offsets((0..12).chain(cantor).collect())),
        ("all offsets", offsets((-(n_keys as i64)..n as i64 + n_keys as i64).collect())),
        ("far offsets", offsets(vec![0, 40, 97])),
        ("random", listed(random_rows.into_iter(), n_keys)),
        ("sparse", listed(sparse_rows.into_iter(), n_keys)),
        ("all", listed((0..n).map(|_| (0..n_keys as i32).collect()), n_keys)),
        ("mixed", listed(mixed_rows.into_iter(), n_keys)),
        ("segments", segments(n, n_keys, false)),
        ("causal segments", segments(n, n_keys, true)),
        ("runs", runs(n, n_keys)),
        ("blocks", blocks(n, n_keys)),
        ("none", listed((0..n).map(|_| Vec::new()), n_keys)),
    ];
    if n == n_keys {
        all.extend([
            ("box", boxed(n, 1, false)),
            ("dilated box", boxed(n, 2, false)),
            ("causal box", boxed(n, 1, true)),
        ]);
    }
    all
}

/// Whole and partial blocks of 12 queries by 20 keys.
fn blocks(n: usize, n_keys: usize) -> IndexSet {
    let [rows, columns] = [n.div_ceil(12), n_keys.div_ceil(20)];
    let (mut indptr, mut kept) = (vec![0], Vec::new());
    for row in 0..rows {
        kept.extend((0..columns).filter(|column| (row + 2 * column) % 3 != 1).map(|column| column as i64));
        indptr.push(kept.len() as i64);
    }
    let full: Vec<bool> = (0..kept.len()).map(|number| number % 2 == 0).collect();
    let blocks = Blocks { size: [12, 20], indptr: &indptr, columns: &kept, full: &full };
    IndexSet::from_blocks(&blocks, n, n_keys, &Serial, |_, query, key| (query + key) % 3 == 0).unwrap()
}

/// Neighbourhoods in a box as square as n allows, of 5 cells an axis or as many as fit.
fn boxed(n: usize, dilation: usize, causal: bool) -> IndexSet {
    let side = (1..=n).filter(|side| n.is_multiple_of(*side) && side * side <= n).max().unwrap();
    let axes = [side, n / side].map(|len| {
        let dilation = dilation.min(len);
        Axis { len, kernel: (len / dilation).min(5), stride: 1, dilation, causal }
    });
    neighborhood(Span::new(n, n, false).unwrap(), &axes, &Serial).unwrap()
}

/// Segments that begin and end within tiles, one of them without a query.
pub(crate) fn segments(n: usize, n_keys: usize, causal: bool) -> IndexSet {
    let cuts = |n: usize| [0, n / 5, n / 5, n / 2, n - n / 7, n].map(|x| x as i64);
    let mut keys = cuts(n_keys);
    keys[1] /= 2;
    IndexSet::from_segments(&cuts(n), &keys, causal, &Serial).unwrap()
}

/// Runs of any length, shared by some of a tile's queries, by one, or by none; queries in an order of their own.
pub(crate) fn runs(n: usize, n_keys: usize) -> IndexSet {
    let (mut indptr, mut starts, mut lengths) = (vec![0], Vec::new(), Vec::new());
    for query in 0..n {
        let mut from = query % 3 * 7 + query / 8;
        for length in [1 + query % 40, query % 4, 23] {
            if query % 11 != 4 && length > 0 && from + length <= n_keys {
                starts.push(from as i64);
                lengths.push(length as i64);
            }
            from += length + 5;
        }
        indptr.push(starts.len() as i64);
    }
    let set = IndexSet::from_runs(&indptr, &starts, &lengths, n_keys, &Serial).unwrap();
    set.with_order((0..n as u32).rev().collect()).unwrap()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) kv_heads: usize,
    pub(crate) d: usize,
    pub(crate) dv: usize,
    pub(crate) key_bias: bool,
    pub(crate) edge_bias: bool,
    pub(crate) padding: bool,
}

pub(crate) const PLAIN: Case =
    Case { batch: 1, heads: 2, kv_heads: 1, d: 16, dv: 16, key_bias: false, edge_bias: false, padding: false };

#[derive(Clone)]
pub(crate) struct Inputs {
    pub(crate) q: Vec<f64>,
    pub(crate) k: Vec<f64>,
    pub(crate) v: Vec<f64>,
    pub(crate) dout: Vec<f64>,
    pub(crate) dlse: Vec<f64>,
    pub(crate) key_bias: Vec<f64>,
    pub(crate) edge_bias: Vec<f64>,
    /// Keys that no query attends to.
    pub(crate) hidden: Vec<bool>,
}

impl Inputs {
    pub(crate) fn new(case: Case, set: &IndexSet, random: &mut Random) -> Self {
        let (n, m) = (set.n_queries(), set.n_keys());
        let hide = |(i, x)| if i % 5 == 1 { f64::NEG_INFINITY } else { x };
        Self {
            q: random.values(case.batch * case.heads * n * case.d),
            k: random.values(case.batch * case.kv_heads * m * case.d),
            v: random.values(case.batch * case.kv_heads * m * case.dv),
            dout: random.values(case.batch * case.heads * n * case.dv),
            dlse: random.values(case.batch * case.heads * n),
            key_bias: random.values(case.batch * m).into_iter().enumerate().map(hide).collect(),
            edge_bias: random.values(case.heads * set.nnz()),
            hidden: (0..case.batch * m).map(|_| random.next().is_multiple_of(4)).collect(),
        }
    }

    /// What the twin adds to the scores of some keys: their bias, and −∞ where padding hides them.
    pub(crate) fn key_bias(&self, case: Case, keys: Range<usize>) -> Option<Vec<f64>> {
        let bias = |key: usize| if case.key_bias { self.key_bias[key] } else { 0.0 };
        let hidden = |key: usize| case.padding && self.hidden[key];
        (case.key_bias || case.padding)
            .then(|| keys.map(|key| if hidden(key) { f64::NEG_INFINITY } else { bias(key) }).collect())
    }

    /// The inputs as a storage type holds them, so that only the kernel's own rounding is judged.
    pub(crate) fn rounded<T: Storage>(&self) -> Self {
        let round = |x: &[f64]| read::<T>(&stored::<T>(x));
        Self { q: round(&self.q), k: round(&self.k), v: round(&self.v), dout: round(&self.dout), ..self.clone() }
    }
}
