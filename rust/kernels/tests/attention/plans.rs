//! What a plan counts.

use crate::inputs::{Random, sets};
use fractal_kernels::executor::Serial;
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::Plan;

#[test]
fn plans_count_every_edge_once() {
    let mut random = Random(5);
    for (n, m) in [(1, 1), (100, 100), (333, 500), (2000, 2000)] {
        for (name, set) in sets(n, m, &mut random) {
            let report = Plan::new(&set, &Serial).unwrap().report();
            assert_eq!(report.tile_edges + report.row_edges, set.nnz(), "{name} {n}x{m}");
            assert_eq!(report.tiles, n.div_ceil(16), "{name}");
        }
    }
}

#[test]
fn offsets_take_index_memory_that_does_not_grow_with_n() {
    let bytes = |n: usize| {
        let set = IndexSet::from_offsets((-64..=64).chain([500, 1000]).collect(), n, n, 0).unwrap();
        Plan::new(&set, &Serial).unwrap().report().index_bytes
    };
    assert_eq!(bytes(65_536), bytes(4096));
    assert!(bytes(65_536) < 131 * 32, "{} bytes for 131 offsets", bytes(65_536));
}
