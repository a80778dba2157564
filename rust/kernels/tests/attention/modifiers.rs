//! Modifiers of scores against the twin, to which a table of distances is a bias of edges.

use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::long::long_sets;
use crate::runs::{Held, Results, close, expected_of, run_of, twin_heads};
use fractal_kernels::attention::{DistanceBias, Modifiers, Storage};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use fractal_kernels::simd::{Level, levels};

/// What the scores of a case are changed by.
struct Changes {
    soft_cap: Option<f64>,
    sinks: Option<Vec<f64>>,
    /// Tables of all heads, `(heads or 1, length)`, and the entry of one place.
    tables: Option<(Vec<f64>, usize, i64)>,
    /// Places of queries and keys.
    places: Option<(Vec<i32>, Vec<i32>)>,
}

impl Changes {
    fn new(which: usize, case: Case, set: &IndexSet, random: &mut Random) -> Self {
        let (n, m) = (set.n_queries(), set.n_keys());
        let bit = |bit: usize| which >> bit & 1 == 1;
        let shift = m as i64 - n as i64;
        let place = |x: usize| (x / 6 * 11 + x % 6) as i32;
        let (heads, length) = if bit(3) { (1, 7) } else { (case.heads, 2 * m + 5) };
        Self {
            soft_cap: bit(0).then_some(0.8),
            sinks: bit(1).then(|| random.values(case.heads).iter().map(|x| 3.0 * x).collect()),
            tables: bit(2).then(|| (random.values(heads * length), heads, length as i64 / 2 + shift)),
            places: bit(4).then(|| ((0..n).map(place).collect(), (0..m).map(place).collect())),
        }
    }

    /// The entry of a query and a key in the table of one head.
    fn entry(&self, query: usize, key: usize) -> usize {
        let (tables, heads, origin) = self.tables.as_ref().unwrap();
        let (a, b) = match &self.places {
            Some((queries, keys)) => (i64::from(queries[query]), i64::from(keys[key])),
            None => (query as i64, key as i64),
        };
        (a - b + origin).clamp(0, (tables.len() / heads) as i64 - 1) as usize
    }

    /// The table as a bias of each edge, beside those that the edges have.
    fn by_edge(&self, case: Case, set: &IndexSet, x: &Inputs) -> Vec<f64> {
        let mut all = Vec::new();
        for head in 0..case.heads {
            for query in 0..set.n_queries() {
                for key in set.row(query) {
                    let own = if case.edge_bias { x.edge_bias[all.len()] } else { 0.0 };
                    let table = self.tables.as_ref().map_or(0.0, |(tables, heads, _)| {
                        tables[head.min(heads - 1) * (tables.len() / heads) + self.entry(query, key as usize)]
                    });
                    all.push(own + table);
                }
            }
        }
        all
    }
}

/// What the twin gives, and the gradient of the tables.
fn wanted(case: Case, set: &IndexSet, x: &Inputs, changes: &Changes) -> (Results, Vec<f64>) {
    let of_edges = Case { edge_bias: true, ..case };
    let x = Inputs { edge_bias: changes.by_edge(case, set, x), ..x.clone() };
    let mut heads = twin_heads(of_edges, set, &x);
    for (row, head) in heads.iter_mut().enumerate() {
        head.head.soft_cap = changes.soft_cap;
        head.head.sink = changes.sinks.as_ref().map(|sinks| sinks[row % case.heads]);
    }
    let mut found = expected_of(of_edges, set, &x, heads);
    let mut tables = vec![0.0; changes.tables.as_ref().map_or(0, |(tables, ..)| tables.len())];
    if let Some((_, of, _)) = &changes.tables {
        let mut edge = 0;
        for head in 0..case.heads {
            for query in 0..set.n_queries() {
                for key in set.row(query) {
                    let row = head.min(of - 1) * (tables.len() / of);
                    tables[row + changes.entry(query, key as usize)] += found[6][edge];
                    edge += 1;
                }
            }
        }
    }
    if !case.edge_bias {
        found[6].clear();
    }
    (found, tables)
}

fn got<T: Storage>(case: Case, set: &IndexSet, x: &Inputs, changes: &Changes, level: Level) -> (Results, Vec<f64>) {
    let planned = PlannedSet::new(set.clone());
    let held = Held::<T>::new(x);
    let accumulated = |x: &[f64]| crate::runs::accumulated::<T>(x);
    let sinks = changes.sinks.as_deref().map(accumulated);
    let tables = changes.tables.as_ref().map(|(values, heads, origin)| (accumulated(values), *heads, *origin));
    let places = changes.places.as_ref().map(|(queries, keys)| (&queries[..], &keys[..]));
    let mut problem = held.problem(case, set, None);
    problem.modifiers = Modifiers {
        soft_cap: changes.soft_cap,
        distances: tables.as_ref().map(|(values, heads, origin)| DistanceBias {
            values,
            heads: *heads,
            origin: *origin,
            places,
        }),
        sinks: sinks.as_deref(),
    };
    run_of::<T>(case, set, &planned, problem, x, level, &Serial)
}

#[test]
fn every_combination_equals_the_twin() {
    let case = Case { heads: 4, kv_heads: 2, key_bias: true, padding: true, ..PLAIN };
    for (n, m) in [(1, 1), (1, 70), (17, 33), (40, 40), (64, 150)] {
        let mut random = Random(n as u64 + 5);
        for (name, set) in sets(n, m, &mut random) {
            for which in 1..32 {
                let case = Case { batch: 1 + which % 2, edge_bias: which % 3 == 0, ..case };
                let x = Inputs::new(case, &set, &mut random);
                let changes = Changes::new(which, case, &set, &mut random);
                let (want, tables) = wanted(case, &set, &x, &changes);
                for (level_name, level) in levels() {
                    let what = format!("{name} {n}x{m} changes {which} {level_name}");
                    let (found, of_tables) = got::<f64>(case, &set, &x, &changes, level);
                    close(&found, &want, 1e-12, 1e-12, &what);
                    near(&of_tables, &tables, 1e-11, &what);
                    let (found, of_tables) = got::<f32>(case, &set, &x, &changes, level);
                    close(&found, &want, 1e-5, 2e-5, &what);
                    near(&of_tables, &tables, 2e-5, &what);
                }
            }
        }
    }
}

#[test]
fn long_runs_equal_the_twin_under_modifiers() {
    let mut random = Random(31);
    let case = Case { heads: 4, kv_heads: 2, key_bias: true, ..PLAIN };
    for (name, set) in long_sets().into_iter().take(2) {
        for which in [5, 31] {
            let case = Case { edge_bias: which == 31, ..case };
            let x = Inputs::new(case, &set, &mut random);
            let changes = Changes::new(which, case, &set, &mut random);
            let (want, tables) = wanted(case, &set, &x, &changes);
            let (found, of_tables) = got::<f64>(case, &set, &x, &changes, levels()[0].1);
            close(&found, &want, 1e-12, 1e-11, name);
            near(&of_tables, &tables, 1e-11, name);
        }
    }
}

fn near(got: &[f64], want: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    let size = want.iter().fold(1.0f64, |a, x| a.max(x.abs()));
    for (at, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((g - w).abs() <= tolerance * size, "{what}: table[{at}] is {g}, expected {w}");
    }
}

#[test]
fn modifiers_of_another_size_are_refused() {
    let set = IndexSet::from_offsets(vec![0, 1], 4, 4, 0).unwrap();
    let x = Inputs::new(PLAIN, &set, &mut Random(1));
    let (held, planned) = (Held::<f64>::new(&x), PlannedSet::new(set.clone()));
    let table = |values, heads, places| Some(DistanceBias { values, heads, origin: 0, places });
    let (six, short) = ([0.0; 6], [0; 3]);
    let wrong = [
        ("soft_cap", Modifiers { soft_cap: Some(0.0), ..Modifiers::default() }),
        ("soft_cap", Modifiers { soft_cap: Some(f64::NAN), ..Modifiers::default() }),
        ("sinks", Modifiers { sinks: Some(&six), ..Modifiers::default() }),
        ("distances", Modifiers { distances: table(&six[..], 3, None), ..Modifiers::default() }),
        ("distances", Modifiers { distances: table(&six[..0], 2, None), ..Modifiers::default() }),
        ("distances", Modifiers { distances: table(&six[..5], 2, None), ..Modifiers::default() }),
        ("places", Modifiers { distances: table(&six[..], 2, Some((&short, &short))), ..Modifiers::default() }),
    ];
    for (name, modifiers) in wrong {
        let mut problem = held.problem(PLAIN, &set, None);
        problem.modifiers = modifiers;
        let error = problem.check((planned.plan(&Serial).unwrap()).into()).unwrap_err();
        assert!(error.to_string().contains(name), "{error}");
    }
}
