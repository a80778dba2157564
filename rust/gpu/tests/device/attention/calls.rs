//! What a call may have beside tensors: dropout, lists, strides, biases that are shared; and what is refused.

use super::{Setup, Who, run};
use crate::common::{ALONE, context, narrow, options};
use crate::inputs::{Case, Inputs, PLAIN, Random, sets};
use crate::runs::{close, stored};
use fractal_gpu::attention::{
    Operands, ResidentSaved, SavedLogs, Tensor, backward_resident, forward, forward_resident,
};
use fractal_gpu::{Context, Fault, GpuError};
use fractal_kernels::attention::{Call, Dropout, KeyLists, Keys, ListValues, LogSums, Modifiers, Problem, View};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::plan::PlannedSet;
use std::sync::Arc;

/// One call on both, which must agree.
fn agree(context: &Arc<Context>, setup: Setup<'_>, x: &Inputs, what: &str) {
    let (got, wanted) = (run::<f32>(Who::Gpu(context), setup, x), run::<f32>(Who::Cpu, setup, x));
    close(&got, &wanted, 1e-5, 1e-4, what);
}

#[test]
fn dropout_drops_the_edges_that_the_cpu_drops() {
    let Some(context) = context() else { return };
    let mut random = Random(8);
    let n = 40;
    let case = Case { batch: 2, heads: 4, kv_heads: 2, dv: n, ..PLAIN };
    for (name, set) in sets(n, n, &mut random) {
        let mut x = Inputs::new(case, &set, &mut random);
        // Values that tell the keys apart: the output is the weights.
        for (at, value) in x.v.iter_mut().enumerate() {
            *value = f64::from(u8::from(at / n % n == at % n));
        }
        let planned = PlannedSet::new(set);
        for (p, seed) in [(0.3, 99), (0.75, u64::MAX - 5), (0.0, 1)] {
            let setup = Setup { dropout: Some(Dropout { p, seed }), ..Setup::new(case, &planned) };
            let (got, wanted) = (run::<f32>(Who::Gpu(&context), setup, &x), run::<f32>(Who::Cpu, setup, &x));
            let dropped = |out: &[f64]| out.iter().map(|&weight| weight == 0.0).collect::<Vec<_>>();
            assert_eq!(dropped(&got[0]), dropped(&wanted[0]), "{name} {p}");
            close(&got, &wanted, 1e-5, 1e-4, &format!("{name} {p}"));
        }
    }
}

#[test]
fn calls_that_one_binding_cannot_hold_come_in_parts() {
    let Some(_) = context() else { return };
    let narrow = narrow(1 << 16);
    let mut random = Random(12);
    let n = 48;
    for (batch, heads, kv_heads) in [(3, 4, 2), (1, 6, 3), (5, 2, 2)] {
        let case = Case { batch, heads, kv_heads, d: 20, dv: 64, key_bias: true, edge_bias: true, padding: true };
        for (name, set) in sets(n, n, &mut random) {
            let x = Inputs::new(case, &set, &mut random);
            let planned = PlannedSet::new(set);
            let setup = Setup { dropout: Some(Dropout { p: 0.3, seed: 7 }), ..Setup::new(case, &planned) };
            let before = narrow.counts().submissions;
            agree(&narrow, setup, &x, &format!("{name}, {batch} batches, {heads} heads"));
            assert!(narrow.counts().submissions - before > 2, "it takes several submissions");
        }
    }
}

#[test]
fn a_call_that_memory_has_no_room_for_is_halved() {
    let Some(_) = context() else { return };
    let context = Context::open(&options()).unwrap();
    let case = Case { batch: 4, key_bias: true, ..PLAIN };
    let mut random = Random(13);
    let (_, set) = sets(40, 40, &mut random).swap_remove(0);
    let x = Inputs::new(case, &set, &mut random);
    let planned = PlannedSet::new(set);
    agree(&context, Setup::new(case, &planned), &x, "before");
    context.trim(0).unwrap();
    // Asked once more after a trim, and then halved.
    context.inject(Fault::OutOfMemory { times: 2, from_bytes: 4096 });
    agree(&context, Setup::new(case, &planned), &x, "halved");
}

#[test]
fn lists_of_every_sharing() {
    let Some(context) = context() else { return };
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 20, key_bias: true, ..PLAIN };
    let (n, m, width) = (37, 50, 40);
    let set = IndexSet::from_offsets(vec![0], n, m, 0).unwrap();
    let mut random = Random(4);
    for (b, h) in [(1, 1), (2, 1), (1, 2), (2, 2)] {
        let x = Inputs::new(case, &set, &mut random);
        // Pads anywhere, keys twice, and one query without any.
        let lists: Vec<i64> = (0..b * h * n * width)
            .map(|at| if at / width % n == 5 { -1 } else { (random.next() % (m as u64 + 9)) as i64 - 9 })
            .map(|key| key.max(-1))
            .collect();
        let lists = KeyLists { values: ListValues::I64(&lists), shape: [b, h, n, width] };
        let setup = Setup { case, keys: Keys::Lists(lists), dropout: None, soft_cap: None, shared: None };
        agree(&context, setup, &x, &format!("{b} x {h}"));
    }
}

/// More work than one dispatch has. On a device of its own, since it counts.
#[test]
fn several_dispatches() {
    if context().is_none() {
        return;
    }
    let context = Context::open(&options()).unwrap();
    let (n, case) = (300, Case { heads: 8, kv_heads: 2, d: 64, dv: 64, ..PLAIN });
    let set = IndexSet::from_offsets((-200..=200).collect(), n, n, 0).unwrap();
    let x = Inputs::new(case, &set, &mut Random(9));
    agree(&context, Setup::new(case, &PlannedSet::new(set)), &x, "several");
    // The check before the first use has four, and so would this.
    let dispatches = context.counts().dispatches;
    assert!(dispatches > 8, "{dispatches}");
}

#[test]
fn biases_that_batches_and_heads_share() {
    let Some(context) = context() else { return };
    let mut random = Random(6);
    let case = Case { batch: 2, heads: 4, kv_heads: 2, d: 8, dv: 8, key_bias: true, edge_bias: true, padding: true };
    for (name, set) in sets(40, 40, &mut random).into_iter().filter(|(name, _)| ["mixed", "window"].contains(name)) {
        for (shared, padding) in [(([1, 1], 1), false), (([2, 4], 4), true), (([1, 4], 1), true), (([2, 1], 4), false)]
        {
            let case = Case { padding, ..case };
            let mut x = Inputs::new(case, &set, &mut random);
            let ([batch, heads], edge_heads) = shared;
            x.key_bias = random.values(batch * heads * 40);
            x.edge_bias = random.values(edge_heads * set.nnz());
            let planned = PlannedSet::new(set.clone());
            let setup = Setup { shared: Some(shared), ..Setup::new(case, &planned) };
            agree(&context, setup, &x, &format!("{name} {shared:?}"));
        }
    }
}

fn problem(q: &[f32], shape: [usize; 4]) -> Problem<'_, f32> {
    let view = View::contiguous(q, shape);
    Problem {
        q: view,
        k: view,
        v: view,
        scale: 0.25,
        key_bias: None,
        key_padding: None,
        edge_bias: None,
        dropout: None,
        modifiers: Modifiers::default(),
    }
}

fn window(n: usize) -> PlannedSet {
    PlannedSet::new(IndexSet::from_offsets((-5..=5).collect(), n, n, 0).unwrap())
}

fn outputs(context: &Arc<Context>, problem: &Problem<'_, f32>, set: &PlannedSet) -> (Vec<f32>, Vec<f32>) {
    let [b, h, n, _] = problem.q.shape;
    let (mut out, mut lse) = (vec![0.0; b * h * n * problem.v.shape[3]], vec![0.0; b * h * n]);
    let call = Call { problem: problem.clone(), keys: Keys::Set(set) };
    forward(context, &call, ALONE, &mut out, LogSums { lse: &mut lse, rest: None }).unwrap();
    (out, lse)
}

#[test]
fn strides_of_the_host_are_read() {
    let Some(context) = context() else { return };
    let (b, h, n, d) = (2, 3, 20, 8);
    let set = window(n);
    let values: Vec<f32> = stored(&Random(1).values(b * h * n * d));
    let wanted = outputs(&context, &problem(&values, [b, h, n, d]), &set);
    // The same as (B, N, H, D), and last row first.
    let mut turned = vec![0.0; values.len()];
    for (at, &value) in values.iter().enumerate() {
        let (c, i, head, batch) = (at % d, at / d % n, at / d / n % h, at / d / n / h);
        turned[((batch * n + n - 1 - i) * h + head) * d + c] = value;
    }
    let [of_batch, of_head, of_row] = [n * h * d, d, h * d].map(|step| step as isize);
    let view = View {
        data: &turned[..],
        offset: (n as isize - 1) * of_row,
        strides: [of_batch, of_head, -of_row],
        shape: [b, h, n, d],
    };
    let strided = Problem { q: view, k: view, v: view, ..problem(&values, [b, h, n, d]) };
    assert_eq!(outputs(&context, &strided, &set), wanted);
}

#[test]
fn resident_tensors_give_the_same_bits() {
    let Some(context) = context() else { return };
    let case = Case { batch: 2, heads: 4, kv_heads: 2, key_bias: true, ..PLAIN };
    let n = 50;
    let set = window(n);
    let x = Inputs::new(case, set.set(), &mut Random(2));
    let wanted = run::<f32>(Who::Gpu(&context), Setup::new(case, &set), &x);
    let tensor = |values: &[f64], heads: usize| {
        let buffer = context.upload(&stored::<f32>(values)).unwrap();
        Tensor::resident::<f32>(buffer, [case.batch, heads, n, 16]).unwrap()
    };
    let (key_bias, dlse) = (stored::<f32>(&x.key_bias), stored::<f32>(&x.dlse));
    let operands = Operands {
        q: tensor(&x.q, 4),
        k: tensor(&x.k, 2),
        v: tensor(&x.v, 2),
        scale: crate::runs::SCALE,
        key_bias: Some(fractal_kernels::attention::KeyBias { values: &key_bias, batch: 2, heads: 1 }),
        key_padding: None,
        edge_bias: None,
        dropout: None,
        soft_cap: None,
        first: [0; 2],
    };
    let keys = Keys::Set(&set);
    let result = forward_resident::<f32>(&context, &operands, &keys, ALONE).unwrap();
    let logs = SavedLogs::Device([result.logs.lse().unwrap(), result.logs.rest().unwrap()]);
    let out = context.download::<f32>(result.out.buffer().clone()).unwrap().to_vec();
    let saved = ResidentSaved { out: result.out, dout: tensor(&x.dout, 4), logs, dlse: Some(&dlse) };
    let gradients = backward_resident::<f32>(&context, &operands, &keys, ALONE, &saved).unwrap();
    let dq = context.download::<f32>(gradients.q.buffer().clone()).unwrap().to_vec();
    let wide = |values: Vec<f32>| values.into_iter().map(f64::from).collect::<Vec<_>>();
    assert_eq!(wide(out), wanted[0]);
    assert_eq!(wide(dq), wanted[2]);
}

#[test]
fn nan_and_infinity_in_a_query_stay_in_its_row() {
    let Some(context) = context() else { return };
    let n = 40;
    let set = window(n);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut q = vec![0.5; n * 16];
        q[20 * 16 + 3] = bad;
        let k = vec![0.25; n * 16];
        let shape = [1, 1, n, 16];
        let problem = Problem { q: View::contiguous(&q, shape), ..problem(&k, shape) };
        let (out, _) = outputs(&context, &problem, &set);
        for (query, row) in out.chunks(16).enumerate() {
            // Scores of -inf hide every key: output 0.
            let finite = query != 20 || bad == f32::NEG_INFINITY;
            assert_eq!(row.iter().all(|x| x.is_finite()), finite, "query {query} with {bad} in query 20");
        }
    }
}

#[test]
fn what_cannot_run_is_refused_by_name() {
    let Some(context) = context() else { return };
    let values = vec![0.0; 2 * 12 * 8];
    let (mut out, mut lse) = (vec![0.0; 2 * 12 * 8], vec![0.0; 24]);
    let good = problem(&values, [1, 2, 12, 8]);
    let wrong = Problem { k: View::contiguous(&values, [2, 1, 12, 8]), ..good.clone() };
    for (problem, n, argument) in [(&wrong, 12, "k"), (&good, 13, "q")] {
        let set = window(n);
        let call = Call { problem: problem.clone(), keys: Keys::Set(&set) };
        let error = forward(&context, &call, ALONE, &mut out, LogSums { lse: &mut lse, rest: None }).unwrap_err();
        assert!(matches!(&error, GpuError::Refused(e) if e.argument == argument), "{error}");
    }
    let buffer = context.upload(&[0.0_f32; 6]).unwrap();
    let error = Tensor::resident::<f32>(buffer, [1, 1, 2, 3]).err().unwrap();
    assert!(matches!(&error, GpuError::Refused(e) if e.argument == "tensor"), "{error}");
}
