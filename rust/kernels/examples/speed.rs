use fractal_kernels::attention::*;
use fractal_kernels::executor::*;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::Plan;
use std::time::Instant;
fn main() {
    let (n, d, h) = (4096usize, 64usize, 4usize);
    let x: Vec<f32> = (0..h * n * d).map(|i| ((i as u64).wrapping_mul(6364136223846793005) >> 40) as f32 / (1u64 << 24) as f32 - 0.5).collect();
    let v = View::contiguous(&x, [1, h, n, d]);
    let p = Problem { q: v, k: v, v, scale: 0.125, key_bias: None, key_padding: None, edge_bias: None, dropout: None };
    let sets = [
        ("window64", IndexSet::from_offsets((-64..=64).collect(), n, n, 0).unwrap()),
        ("random64", {
            let mut ip = vec![0i64]; let mut ix = vec![];
            let mut s = 1u64;
            for _ in 0..n { let mut r: Vec<i32> = (0..64).map(|_| { s = s.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407); ((s >> 33) % n as u64) as i32 }).collect(); r.sort(); r.dedup(); ix.extend(r); ip.push(ix.len() as i64); }
            IndexSet::from_csr(ip, ix, n).unwrap() }),
    ];
    for (name, set) in &sets {
        let plan = Plan::new(set, &Serial).unwrap();
        println!("{name} {:?}", plan.report());
        for (lname, level) in levels() {
            if lname.starts_with("sse") { continue; }
            let mut out = vec![0f32; h * n * d]; let mut lse = vec![0f32; h * n];
            let mut best = f64::MAX;
            for _ in 0..if lname == "scalar" { 2 } else { 9 } { let t = Instant::now(); forward(&p, &plan, level, &Serial, &mut out, &mut lse).unwrap(); best = best.min(t.elapsed().as_secs_f64()); }
            let gf = set.nnz() as f64 * h as f64 * d as f64 * 4.0 / best / 1e9;
            println!("  fwd {lname} {:.2} ms {gf:.1} GFLOP/s", best * 1e3);
        }
    }
}
