//! Threads and tiles change no result.

use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{NAMES, close, expected, run};
use fractal_kernels::attention::Dropout;
use fractal_kernels::executor::{Rayon, Serial};
use fractal_kernels::index_set::Form;
use fractal_kernels::simd::levels;

#[test]
fn every_executor_gives_the_same_bits() {
    let pool = |n: &usize| rayon::ThreadPoolBuilder::new().num_threads(*n).build().unwrap();
    let pools: Vec<_> = [1, 2, 4].iter().map(pool).collect();
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 32, dv: 32, key_bias: true, ..PLAIN };
    let mut random = Random(3);
    for (name, set) in sets(1100, 1100, &mut random) {
        if set.nnz() > 200_000 {
            continue;
        }
        let x = Inputs::new(case, &set, &mut random);
        let dropout = Some(Dropout { p: 0.2, seed: 5 });
        for (level_name, level) in levels() {
            let serial = run::<f32>(case, &set, &x, level, &Serial, dropout);
            for pool in &pools {
                let got = run::<f32>(case, &set, &x, level, &Rayon(pool), dropout);
                for (i, (a, b)) in got.iter().zip(&serial).enumerate() {
                    let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                    let threads = pool.current_num_threads();
                    assert!(same, "{name}: {} differs with {threads} threads at level {level_name}", NAMES[i]);
                }
            }
        }
    }
}

#[test]
fn a_query_order_changes_tiles_and_not_results() {
    let n = 300;
    let mut random = Random(11);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, (random.next() % (i as u64 + 1)) as usize);
    }
    let case = Case { dv: 32, key_bias: true, edge_bias: true, ..PLAIN };
    for (name, set) in sets(n, n, &mut random) {
        if !matches!(set.form(), Form::Csr { .. }) {
            continue;
        }
        let x = Inputs::new(case, &set, &mut random);
        let want = expected(case, &set, &x);
        let ordered = set.with_order(order.clone()).unwrap();
        let got = run::<f64>(case, &ordered, &x, levels()[0].1, &Serial, None);
        close(&got, &want, 1e-12, 1e-11, &format!("{name} in another order"));
    }
}
