//! Sets whose tiles read long runs of keys: the backward pass runs in rounds, and tiles read blocks of keys together.

use crate::inputs::{Case, Inputs, PLAIN, Random, listed};
use crate::runs::{NAMES, close, expected, run};
use fractal_kernels::attention::Dropout;
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::index_set::{IndexSet, Within};
use fractal_kernels::simd::levels;

/// Sets of more than one chunk each, whose tiles read 256 keys or more on average.
pub(crate) fn long_sets() -> Vec<(&'static str, IndexSet)> {
    let segments = |queries: &[i64], keys: &[i64], within: Within| {
        IndexSet::from_segments(queries, keys, within, &Serial).unwrap()
    };
    let two_runs = |i: i32| (i / 3..i / 3 + 200).chain(480..650).collect();
    vec![
        ("full", segments(&[0, 620], &[0, 620], false.into())),
        ("causal", segments(&[0, 620], &[0, 620], true.into())),
        ("more keys", segments(&[0, 530], &[0, 901], true.into())),
        ("fewer keys", segments(&[0, 777], &[0, 300], false.into())),
        ("segments", segments(&[0, 5, 330, 330, 700], &[0, 9, 300, 310, 750], false.into())),
        (
            "window in segments",
            segments(&[0, 100, 700], &[0, 90, 700], Within { window: Some([300, 40]), ..false.into() }),
        ),
        ("window", IndexSet::from_offsets((-260..=170).collect(), 650, 650, 0).unwrap()),
        ("two runs", listed((0..600).map(two_runs), 650)),
    ]
}

#[test]
fn long_runs_equal_the_twin() {
    let cases = [
        PLAIN,
        Case { heads: 4, kv_heads: 2, d: 24, dv: 40, key_bias: true, padding: true, ..PLAIN },
        Case { heads: 1, d: 128, dv: 128, edge_bias: true, ..PLAIN },
    ];
    let mut random = Random(21);
    for (name, set) in long_sets() {
        for case in cases {
            let x = Inputs::new(case, &set, &mut random);
            let want = expected(case, &set, &x);
            for (level_name, level) in levels() {
                let what = format!("{name} {case:?} {level_name}");
                close(&run::<f64>(case, &set, &x, level, &Serial, None), &want, 1e-12, 1e-11, &what);
                close(&run::<f32>(case, &set, &x, level, &Serial, None), &want, 1e-5, 1e-5, &what);
            }
        }
    }
}

#[test]
fn rounds_give_the_same_bits_on_any_number_of_threads() {
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 128, dv: 80, key_bias: true, ..PLAIN };
    let (mut random, dropout) = (Random(22), Some(Dropout { p: 0.2, seed: 5 }));
    let level = levels()[0].1;
    for (name, set) in long_sets() {
        let x = Inputs::new(case, &set, &mut random);
        let serial = run::<f32>(case, &set, &x, level, &Serial, dropout);
        for threads in [2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let got = run::<f32>(case, &set, &x, level, &Rayon(&pool), dropout);
            for (i, (a, b)) in got.iter().zip(&serial).enumerate() {
                let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name}: {} differs with {threads} threads", NAMES[i]);
            }
        }
    }
}

#[test]
fn a_key_that_is_not_a_number_stays_with_the_tiles_that_read_it() {
    // Tiles of 16 queries read keys in whole tiles of a causal set, so NaN at key 400 reaches no query before 400.
    let set = IndexSet::from_segments(&[0, 620], &[0, 620], true, &Serial).unwrap();
    let (mut random, case) = (Random(23), Case { heads: 1, ..PLAIN });
    let mut x = Inputs::new(case, &set, &mut random);
    let clean = run::<f32>(case, &set, &x, levels()[0].1, &Serial, None);
    x.k[400 * case.d..401 * case.d].fill(f64::NAN);
    x.v[400 * case.dv..401 * case.dv].fill(f64::NAN);
    let got = run::<f32>(case, &set, &x, levels()[0].1, &Serial, None);
    for of in [0, 2] {
        assert_eq!(got[of][..400 * case.d], clean[of][..400 * case.d], "{}", NAMES[of]);
        assert!(got[of][416 * case.d..].iter().all(|x| x.is_nan()), "{}", NAMES[of]);
    }
}
