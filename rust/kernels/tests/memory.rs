//! Sizes that no memory holds are refused, in a task too, and the refusal says how much was asked for.

use fractal_kernels::builders::{self, Span};
use fractal_kernels::curves::dragon;
use fractal_kernels::executor::{Executor, Rayon, Serial};
use fractal_kernels::index_set::IndexSet;
use fractal_kernels::memory::{self, Entries, OrLeave, caught};
use fractal_kernels::{ErrorKind, KernelError, interrupt};
use std::time::Duration;

const HUGE: usize = 1 << 56;

fn refused<T: std::fmt::Debug>(made: Result<T, KernelError>, argument: &str, bytes: u128) {
    let error = made.unwrap_err();
    assert_eq!((error.kind, error.argument), (ErrorKind::Memory, argument));
    assert!(error.given.contains(&bytes.to_string()), "{error}");
}

#[test]
fn every_way_to_ask_refuses_what_is_not_there() {
    let bytes = 8 * HUGE as u128;
    refused(memory::zeros::<u64>("n", HUGE), "n", bytes);
    refused(memory::filled("n", 7u64, HUGE), "n", bytes);
    refused(memory::with_capacity::<u64>("n", HUGE), "n", bytes);
    refused(memory::room::<u64>("n", HUGE as u64), "n", bytes);
    refused(memory::reserve("n", &mut vec![0u64], HUGE), "n", bytes + 8);
    refused(memory::resize("n", &mut vec![0u64], HUGE, 1), "n", bytes);
    refused(memory::collected("n", 0..HUGE as u64), "n", bytes);
    refused(memory::extend("n", &mut Vec::new(), 0..HUGE as u64), "n", bytes);
    refused(memory::zeros::<u64>("n", usize::MAX), "n", 8 * usize::MAX as u128);
    refused(memory::product::<u64>("n", &[HUGE, HUGE]), "n", 8 * (HUGE as u128 * HUGE as u128));
    let grown = || {
        let mut entries = Entries::new("n");
        entries.extend(0..HUGE as u64);
        Ok(entries)
    };
    refused(caught(grown), "n", bytes);
}

#[test]
fn what_there_is_room_for_is_as_asked() {
    assert_eq!(memory::zeros::<u16>("n", 5).unwrap(), [0; 5]);
    assert_eq!(memory::filled("n", 3, 4).unwrap(), [3; 4]);
    assert_eq!(memory::collected("n", (0..9).filter(|x| x % 2 == 1)).unwrap(), [1, 3, 5, 7]);
    assert_eq!(memory::copied("n", &[4, 5]).unwrap(), [4, 5]);
    assert_eq!(memory::product::<u8>("n", &[3, 4, 5]).unwrap(), 60);
    let mut entries = Entries::new("n");
    entries.push(2);
    entries.insert(0, 1);
    entries.extend((3..9).filter(|x| x % 3 == 0));
    entries.extend_from_slice(&[7, 8]);
    entries.truncate(5);
    assert_eq!(entries.into_vec(), [1, 2, 3, 6, 7]);
}

#[test]
fn a_task_that_finds_no_memory_ends_the_call_and_not_the_pool() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
    for executor in [&Serial as &dyn Executor, &Rayon(&pool)] {
        let call = || {
            executor.run(50, &|i| drop(memory::zeros::<u8>("k", if i == 30 { HUGE } else { 10 }).or_leave()));
            Ok(())
        };
        refused(caught(call), "k", HUGE as u128);
        executor.run(3, &|_| ());
    }
}

#[test]
fn other_panics_are_not_refusals() {
    let call = || {
        Serial.run(2, &|_| std::thread::sleep(Duration::from_millis(60)));
        Ok(())
    };
    let stopped = interrupt::watched(|| true, || caught(call));
    assert_eq!(stopped.unwrap_err(), interrupt::Interrupted);
}

#[test]
fn sizes_of_sets_and_curves_are_refused_before_they_are_worked_out() {
    let n = i32::MAX as usize;
    let set = IndexSet::from_offsets(vec![0], HUGE, n, 0).unwrap();
    refused(set.to_mask(&Serial), "index_set", HUGE as u128 * n as u128);
    refused(set.to_csr(&Serial), "index_set", 8 * (HUGE as u128 + 1));
    refused(builders::sierpinski(Span::new(n, n, true).unwrap(), &Serial), "n_keys", 4 * (3u128.pow(31) - (1 << 31)));
    assert_eq!(dragon::vertices(HUGE).unwrap_err().kind, ErrorKind::Value);
}
