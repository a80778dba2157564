//! Index sets as dense masks, and reach as products of boolean matrices.

use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use proptest::prelude::*;

pub type Mask = Vec<Vec<bool>>;

/// A mask from a rule.
pub fn mask(n_queries: usize, n_keys: usize, allowed: impl Fn(usize, usize) -> bool) -> Mask {
    (0..n_queries).map(|query| (0..n_keys).map(|key| allowed(query, key)).collect()).collect()
}

/// The mask of a set, row by row; its rows increase.
pub fn mask_of(set: &IndexSet) -> Mask {
    (0..set.n_queries())
        .map(|query| {
            let keys: Vec<u32> = set.row(query).collect();
            assert!(keys.windows(2).all(|w| w[0] < w[1]), "row {query} does not increase: {keys:?}");
            assert_eq!(keys.len(), set.row(query).len());
            assert_eq!(keys.last().copied(), set.last_key(query));
            (0..set.n_keys() as u32).map(|key| keys.contains(&key)).collect()
        })
        .collect()
}

pub fn transposed(mask: &Mask, n_keys: usize) -> Mask {
    self::mask(n_keys, mask.len(), |key, query| mask[query][key])
}

/// Share of the pairs connected after each of `layers` layers; only key ≤ query counts if `causal`.
pub fn reach(step: &Mask, causal: bool, layers: usize) -> Vec<f64> {
    let n = step.len();
    let pairs: Vec<(usize, usize)> =
        (0..n).flat_map(|i| (0..n).map(move |j| (i, j))).filter(|&(i, j)| !causal || j <= i).collect();
    let mut reached = mask(n, n, |i, j| i == j);
    (0..layers)
        .map(|_| {
            reached = mask(n, n, |i, j| reached[i][j] || (0..n).any(|via| step[i][via] && reached[via][j]));
            pairs.iter().filter(|&&(i, j)| reached[i][j]).count() as f64 / pairs.len() as f64
        })
        .collect()
}

pub fn pool() -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(3).build().expect("three threads")
}

pub fn masks() -> impl Strategy<Value = Mask> {
    (1_usize..40, 1_usize..40)
        .prop_flat_map(|(rows, columns)| prop::collection::vec(prop::collection::vec(any::<bool>(), columns), rows))
}

pub fn pairs_of_masks() -> impl Strategy<Value = (Mask, Mask)> {
    masks().prop_flat_map(|one| {
        let (rows, columns) = (one.len(), one[0].len());
        (Just(one), prop::collection::vec(prop::collection::vec(any::<bool>(), columns), rows))
    })
}

pub fn listed(mask: &Mask) -> IndexSet {
    IndexSet::from_mask(mask.len(), mask[0].len(), &Serial, |i, j| mask[i][j]).unwrap()
}

pub fn offsets() -> impl Strategy<Value = Vec<i64>> {
    prop::collection::btree_set(-45_i64..45, 0..12).prop_map(|set| set.into_iter().collect())
}
