//! A forked child of a process that has threads.
#![cfg(unix)]

use fractal_runtime::{executors, kept::Block, process};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Exit status 0 if a child computes alone, and its results have memory of their own.
fn in_child() -> i32 {
    let Ok(executor) = executors::default() else { return 2 };
    let (sum, caller) = (AtomicUsize::new(0), std::thread::current().id());
    executor.run(10, &|i| {
        if std::thread::current().id() == caller {
            sum.fetch_add(i, Ordering::Relaxed);
        }
    });
    let block = Block::new(4 << 20);
    let alone = process::forked() && executors::threads() == Ok(1);
    let there = block.is_some() == cfg!(target_os = "linux");
    i32::from(!(alone && there && sum.into_inner() == 45))
}

#[test]
fn a_forked_child_runs_alone() {
    process::remember();
    assert!(!process::forked());
    let executor = executors::default().unwrap();
    executor.run(4, &|_| ());
    drop(Block::new(4 << 20));
    // SAFETY: the child does nothing but what a forked child may, and leaves without the parent's ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let status = in_child();
        // SAFETY: as above.
        unsafe { libc::_exit(status) };
    }
    let mut status = -1;
    // SAFETY: waits for the child of this test.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}
