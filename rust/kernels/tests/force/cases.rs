//! Problems drawn from a seed, and what the kernel and the twin make of them.

use crate::naive::force::Force;
use fractal_kernels::attention::{
    Accumulator, ForceCall, ForceGradients, ForceProblem, ForceSaved, KeyLists, Keys, ListValues, View,
};
use fractal_kernels::executor::Executor;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, Run};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) heads: usize,
    pub(crate) n: usize,
    pub(crate) m: usize,
    pub(crate) width: usize,
    pub(crate) dv: usize,
    /// Of queries and keys; 0 is without them.
    pub(crate) d: usize,
    /// Whether heads share their points.
    pub(crate) shared: bool,
    pub(crate) padding: bool,
    /// 0 is a listed set, 1 offsets, 2 lists for each batch entry.
    pub(crate) keys: u8,
    pub(crate) seed: u64,
}

impl Default for Case {
    fn default() -> Self {
        let (batch, heads, n, m) = (1, 3, 40, 50);
        Self { batch, heads, n, m, width: 9, dv: 5, d: 0, shared: true, padding: false, keys: 0, seed: 7 }
    }
}

/// Out, lse, and the gradients of e, r, v, q, k, a, c, strength and rate.
pub(crate) type Results = [Vec<f64>; 11];

const NAMES: [&str; 11] = ["out", "lse", "de", "dr", "dv", "dq", "dk", "da", "dc", "dtau", "drate"];

/// Arrays in the kernel's own forms.
pub(crate) struct Drawn {
    case: Case,
    e: Vec<f64>,
    r: Vec<f64>,
    v: Vec<f64>,
    q: Vec<f64>,
    k: Vec<f64>,
    a: Vec<f64>,
    c: Vec<f64>,
    strength: Vec<f64>,
    rate: Vec<f64>,
    dout: Vec<f64>,
    dlse: Vec<f64>,
    padding: Vec<bool>,
    set: PlannedSet,
    lists: Vec<i64>,
}

/// Keys in a list of the third form.
const WIDTH: usize = 6;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn values(&mut self, n: usize) -> Vec<f64> {
        // Exactly an f32, so that both types compute from the same numbers.
        (0..n).map(|_| f64::from((self.next() % 20_001) as f32 / 10_000.0 - 1.0)).collect()
    }
}

impl Drawn {
    pub(crate) fn new(case: Case) -> Self {
        let Case { batch, heads, n, m, width, dv, d, shared, .. } = case;
        let groups = if shared { 1 } else { heads };
        let mut random = Random(case.seed);
        let mut values = |sides: &[usize]| random.values(sides.iter().product());
        let (e, r) = (values(&[batch, groups, n, width]), values(&[batch, groups, m, width]));
        let v = values(&[batch, heads, m, dv]);
        let (q, k) = (values(&[batch, heads, n, d]), values(&[batch, heads, m, d]));
        let (a, c) = (values(&[batch, n, heads]), values(&[batch, m, heads]));
        let (strength, rate) = (values(&[heads]), values(&[heads]).iter().map(|x| x.abs()).collect());
        let (dout, dlse) = (values(&[batch, n, heads, dv]), values(&[batch, n, heads]));
        let padding = (0..batch * m).map(|_| random.next().is_multiple_of(4)).collect();
        let mut lists: Vec<i64> = (0..batch * n * WIDTH).map(|_| (random.next() % m as u64) as i64).collect();
        lists.iter_mut().step_by(3).for_each(|key| *key = -1);
        let set = if case.keys == 1 {
            IndexSet::from_offsets(vec![-3, -1, 0, 1, 2, 9], n, m, m as i64 - n as i64).unwrap()
        } else {
            let (mut indptr, mut indices) = (vec![0], Vec::new());
            for row in 0..n {
                let chance = if row % 7 == 3 { 0 } else { 1 + row as u64 % 3 };
                indices.extend((0..m as i32).filter(|_| random.next() % 4 < chance));
                indptr.push(indices.len() as i64);
            }
            IndexSet::from_csr(indptr, indices, m).unwrap()
        };
        let set = PlannedSet::new(set);
        Self { case, e, r, v, q, k, a, c, strength, rate, dout, dlse, padding, set, lists }
    }

    /// Puts every key into the place of a query.
    pub(crate) fn coincide(&mut self) {
        for (i, r) in self.r.iter_mut().enumerate() {
            *r = self.e[i % self.e.len()];
        }
        for (i, c) in self.c.iter_mut().enumerate() {
            *c = self.a[i % self.a.len()];
        }
    }

    /// The keys of each query of a batch entry that are not hidden.
    fn keys(&self, batch: usize) -> Vec<Vec<usize>> {
        let Case { n, m, .. } = self.case;
        let hidden = |key: &usize| self.case.padding && self.padding[batch * m + key];
        let listed = |i: usize| self.lists[(batch * n + i) * WIDTH..][..WIDTH].iter().filter(|&&j| j >= 0);
        (0..n)
            .map(|i| {
                let keys: Vec<usize> = if self.case.keys == 2 {
                    listed(i).map(|&j| j as usize).collect()
                } else {
                    self.set.set().row(i).map(|j| j as usize).collect()
                };
                keys.into_iter().filter(|j| !hidden(j)).collect()
            })
            .collect()
    }

    /// What the twin makes of it, in the kernel's forms.
    pub(crate) fn expected(&self) -> Results {
        let Case { batch, heads, n, m, width, dv, d, shared, .. } = self.case;
        let mut all: Results = Default::default();
        let [strengths, rates] = [0.0; 2].map(|zero| vec![zero; heads]);
        (all[9], all[10]) = (strengths, rates);
        // Heads with points of their own are problems of one head.
        let groups: Vec<Vec<usize>> =
            if shared { vec![(0..heads).collect()] } else { (0..heads).map(|h| vec![h]).collect() };
        for b in 0..batch {
            for (g, members) in groups.iter().enumerate() {
                let group = b * groups.len() + g;
                let column = |from: &[f64], len: usize, of: usize| -> Vec<f64> {
                    (0..len).map(|i| from[(group * len + i) * members.len() + of]).collect()
                };
                let rows = |from: &[f64], at: usize, size: usize| from[at * size..(at + 1) * size].to_vec();
                let by_head = |from: &[f64], size: usize| -> Vec<Vec<f64>> {
                    members.iter().map(|h| rows(from, b * heads + h, size)).collect()
                };
                let (q, k) = (by_head(&self.q, n * d), by_head(&self.k, m * d));
                let twin = Force {
                    points: [rows(&self.e, group, n * width), rows(&self.r, group, m * width)],
                    width,
                    shifts: (0..members.len()).map(|of| [column(&self.a, n, of), column(&self.c, m, of)]).collect(),
                    dots: if d == 0 { Vec::new() } else { q.into_iter().zip(k).map(|(q, k)| [q, k]).collect() },
                    d,
                    values: by_head(&self.v, m * dv),
                    dv,
                    strength: members.iter().map(|&h| self.strength[h]).collect(),
                    rate: members.iter().map(|&h| self.rate[h]).collect(),
                    scale: 0.7,
                    eps: 1e-6,
                };
                let keys = self.keys(b);
                let (out, lse) = twin.forward(&keys);
                all[0].extend(out);
                all[1].extend(lse);
                let size = n * members.len();
                let given = |from: &[f64], width: usize| rows(from, group, size * width);
                let found = twin.backward(&keys, &given(&self.dout, dv), &given(&self.dlse, 1));
                // By head to `(rows, heads, width)`.
                let turned = |lists: Vec<&Vec<f64>>, len: usize, width: usize| -> Vec<f64> {
                    let at = |i: usize| lists.iter().flat_map(move |x| x[i * width..(i + 1) * width].to_vec());
                    (0..len).flat_map(at).collect()
                };
                let [e, r] = &found.points;
                all[2].extend(e);
                all[3].extend(r);
                all[4].extend(turned(found.values.iter().collect(), m, dv));
                if d > 0 {
                    all[5].extend(turned(found.dots.iter().map(|x| &x[0]).collect(), n, d));
                    all[6].extend(turned(found.dots.iter().map(|x| &x[1]).collect(), m, d));
                }
                all[7].extend(turned(found.shifts.iter().map(|x| &x[0]).collect(), n, 1));
                all[8].extend(turned(found.shifts.iter().map(|x| &x[1]).collect(), m, 1));
                for (of, &h) in members.iter().enumerate() {
                    all[9][h] += found.strength[of];
                    all[10][h] += found.rate[of];
                }
            }
        }
        all
    }
}

/// What the kernel makes of it.
pub(crate) fn run<A: Accumulator>(drawn: &Drawn, level: Level, executor: &dyn Executor) -> Results {
    let Case { batch, heads, n, m, width, dv, d, shared, padding, keys, .. } = drawn.case;
    let groups = if shared { 1 } else { heads };
    let cast = |x: &[f64]| x.iter().map(|&x| A::from_f64(x)).collect::<Vec<A>>();
    let [e, r, v, q, k] = [&drawn.e, &drawn.r, &drawn.v, &drawn.q, &drawn.k].map(|x| cast(x));
    let [a, c, strength, rate] = [&drawn.a, &drawn.c, &drawn.strength, &drawn.rate].map(|x| cast(x));
    let dots = [View::contiguous(&q, [batch, heads, n, d]), View::contiguous(&k, [batch, heads, m, d])];
    let problem = ForceProblem {
        e: View::contiguous(&e, [batch, groups, n, width]),
        r: View::contiguous(&r, [batch, groups, m, width]),
        v: View::contiguous(&v, [batch, heads, m, dv]),
        dots: (d > 0).then_some(dots),
        scale: 0.7,
        shifts: [&a, &c],
        strength: &strength,
        rate: &rate,
        eps: 1e-6,
        key_padding: padding.then_some(&drawn.padding),
    };
    let keys = if keys == 2 {
        Keys::Lists(KeyLists { values: ListValues::I64(&drawn.lists), shape: [batch, 1, n, WIDTH] })
    } else {
        Keys::Set(&drawn.set)
    };
    let call = ForceCall { problem, keys };
    let zeros = |x: &Vec<A>| vec![A::default(); x.len()];
    let (dout, dlse) = (cast(&drawn.dout), cast(&drawn.dlse));
    let (mut out, mut lse) = (zeros(&dout), zeros(&dlse));
    let run = Run::new(level, executor);
    call.forward(run, &mut out, &mut lse).unwrap();
    let saved = ForceSaved { out: &out, lse: &lse, dout: &dout, dlse: Some(&dlse) };
    let [mut de, mut dr, mut dv, mut dq, mut dk] = [&e, &r, &v, &q, &k].map(zeros);
    let [mut da, mut dc, mut dstrength, mut drate] = [&a, &c, &strength, &rate].map(zeros);
    let gradients = ForceGradients {
        e: &mut de,
        r: &mut dr,
        v: &mut dv,
        dots: [&mut dq, &mut dk],
        shifts: [&mut da, &mut dc],
        strength: &mut dstrength,
        rate: &mut drate,
    };
    call.backward(run, saved, gradients).unwrap();
    [out, lse, de, dr, dv, dq, dk, da, dc, dstrength, drate]
        .map(|list| list.into_iter().map(Accumulator::to_f64).collect())
}

/// Refuses results further apart than a tolerance, of the largest value where that is above 1.
pub(crate) fn close(found: &Results, wanted: &Results, tolerance: f64, what: &str) {
    for ((found, wanted), name) in found.iter().zip(wanted).zip(NAMES) {
        assert_eq!(found.len(), wanted.len(), "{what}: {name}");
        let largest = wanted.iter().filter(|x| x.is_finite()).fold(1.0f64, |top, x| top.max(x.abs()));
        for (i, (&x, &y)) in found.iter().zip(wanted).enumerate() {
            let near = (x - y).abs() <= tolerance * largest;
            assert!(near || x.to_bits() == y.to_bits(), "{what}: {name}[{i}] is {x}, not {y}");
        }
    }
}
