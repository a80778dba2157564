//! One query against a cache: without a plan, it gives what the planned kernel and the slow twin give.
#![allow(missing_docs, clippy::pedantic)]

mod naive;

use fractal_kernels::attention::{
    Call, Dropout, KeyBias, KeyLists, Keys, ListValues, LogSums, Modifiers, Problem, View,
};
use fractal_kernels::executor::{Executor, Rayon, Serial};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Run, levels};
use naive::attention::Head;
use proptest::prelude::*;

const CACHE: usize = 200;

/// Sorted unique keys as every front end writes them.
fn one_row(keys: &[i32], front_end: usize) -> IndexSet {
    let last = CACHE as i64 - 1;
    match front_end {
        0 => IndexSet::from_csr(vec![0, keys.len() as i64], keys.to_vec(), CACHE),
        1 => IndexSet::from_offsets(keys.iter().map(|&k| last - i64::from(k)).collect(), 1, CACHE, last),
        _ => {
            let starts: Vec<i64> = keys.iter().map(|&k| i64::from(k)).collect();
            IndexSet::from_runs(&[0, keys.len() as i64], &starts, &vec![1; keys.len()], CACHE, &Serial)
        }
    }
    .unwrap()
}

fn close(got: &[f64], want: &[f64], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g == w || (g - w).abs() <= 1e-12, "{what}[{at}] is {g}, expected {w}");
    }
}

fn values(n: usize) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(-1.0..1.0f64, n)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn equals_the_twin_and_the_planned_kernel(
        keys in prop::collection::btree_set(0..CACHE as i32, 0..80),
        front_end in 0usize..3,
        (group, d, dv) in (1usize..7, 1usize..40, 1usize..40),
        (q, k, v) in (values(2 * 6 * 40), values(2 * CACHE * 40), values(2 * CACHE * 40)),
        (bias, hidden) in (values(CACHE), prop::collection::vec(any::<bool>(), CACHE)),
        p in prop::sample::select(vec![0.0, 0.4]),
    ) {
        let keys: Vec<i32> = keys.into_iter().collect();
        let set = one_row(&keys, front_end);
        let (heads, kv_heads) = (2 * group, 2);
        let problem = Problem {
            q: View::contiguous(&q[..heads * d], [1, heads, 1, d]),
            k: View::contiguous(&k[..kv_heads * CACHE * d], [1, kv_heads, CACHE, d]),
            v: View::contiguous(&v[..kv_heads * CACHE * dv], [1, kv_heads, CACHE, dv]),
            scale: 0.7,
            key_bias: Some(KeyBias { values: &bias, batch: 1, heads: 1 }),
            key_padding: Some(&hidden),
            edge_bias: None,
            dropout: Some(Dropout { p, seed: 3 }),
            modifiers: Modifiers::default(),
        };
        let planned = PlannedSet::new(set.clone());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let rayon = Rayon(&pool);
        for (name, level) in levels() {
            let call = |keys, executor: &dyn Executor| {
                let call = Call { problem: problem.clone(), keys };
                let (mut out, mut lse) = (vec![f64::NAN; heads * dv], vec![f64::NAN; heads]);
                call.forward(Run::new(level, executor), &mut out, LogSums { lse: &mut lse, rest: None }).unwrap();
                (out, lse)
            };
            let (out, lse) = call(Keys::Set(&planned), &Serial);
            prop_assert_eq!(&(out.clone(), lse.clone()), &call(Keys::Set(&planned), &rayon));

            // Lists in the order of the set's row give the same bits.
            if !keys.is_empty() {
                let row: Vec<i64> = set.row(0).map(i64::from).collect();
                let lists = KeyLists { values: ListValues::I64(&row), shape: [1, 1, 1, row.len()] };
                prop_assert_eq!(&(out.clone(), lse.clone()), &call(Keys::Lists(lists), &Serial));
            }

            // The planned kernel, whose first query of two is this one.
            let twice = IndexSet::from_csr(
                vec![0, keys.len() as i64, keys.len() as i64], keys.clone(), CACHE).unwrap();
            let both: Vec<f64> = q[..heads * d].chunks(d).flat_map(|row| [row, row].concat()).collect();
            let two = Problem { q: View::contiguous(&both, [1, heads, 2, d]), ..problem.clone() };
            let (mut out2, mut lse2) = (vec![0.0; 2 * heads * dv], vec![0.0; 2 * heads]);
            let twice = PlannedSet::new(twice);
            Call { problem: two, keys: Keys::Set(&twice) }.forward(Run::new(level, &Serial), &mut out2, LogSums { lse: &mut lse2, rest: None }).unwrap();
            let first = |x: &[f64], n: usize| x.chunks(2 * n).flat_map(|both| both[..n].to_vec()).collect::<Vec<_>>();
            close(&out, &first(&out2, dv), &format!("{name}: out of the planned kernel"));
            close(&lse, &first(&lse2, 1), &format!("{name}: lse of the planned kernel"));

            if p == 0.0 {
                let bias: Vec<f64> =
                    bias.iter().zip(&hidden).map(|(&b, &h)| if h { f64::NEG_INFINITY } else { b }).collect();
                let mut want = (Vec::new(), Vec::new());
                for head in 0..heads {
                    let kv = head / group;
                    let twin = Head {
                        q: &q[head * d..(head + 1) * d],
                        k: &k[kv * CACHE * d..(kv + 1) * CACHE * d],
                        v: &v[kv * CACHE * dv..(kv + 1) * CACHE * dv],
                        d, dv, scale: 0.7, key_bias: Some(&bias), edge_bias: None, soft_cap: None, sink: None,
                    };
                    let (o, l) = twin.forward(&set);
                    want.0.extend(o);
                    want.1.extend(l);
                }
                close(&out, &want.0, &format!("{name}: out of the twin"));
                close(&lse, &want.1, &format!("{name}: lse of the twin"));
            }
        }
    }
}

#[test]
fn a_wrong_size_names_its_argument() {
    let set = PlannedSet::new(one_row(&[1, 5], 0));
    let (q, k) = ([0.0f32; 16], [0.0f32; 16 * 100]);
    let problem = Problem {
        q: View::contiguous(&q, [1, 1, 1, 16]),
        k: View::contiguous(&k, [1, 1, 100, 16]),
        v: View::contiguous(&k, [1, 1, 100, 16]),
        scale: 1.0,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers::default(),
    };
    let (mut out, mut lse) = ([0.0; 16], [0.0; 1]);
    let call = Call { problem, keys: Keys::Set(&set) };
    let error =
        call.forward(Run::new(levels()[0].1, &Serial), &mut out, LogSums { lse: &mut lse, rest: None }).unwrap_err();
    assert_eq!((error.argument, error.given.as_str()), ("k", "100 keys"));
}
