//! A forked child leaves its parent's device alone, and can open one of its own.
#![cfg(unix)]

use crate::common::{context, options};
use fractal_gpu::ops::elementwise::relu;
use fractal_gpu::{Buffer, GpuError, Mapped, OnFork, Options, process};

/// The number of the first thing that is not as it should be, or 0.
fn in_child(array: Buffer, result: Mapped<f32>) -> i32 {
    let is_fork = |error: Option<GpuError>| matches!(error, Some(GpuError::Fork(_)));
    if !is_fork(relu(&array).err()) || !is_fork(array.context().alive().err()) {
        return 1;
    }
    if !is_fork(array.context().upload(&[1.0_f32]).err()) || !is_fork(array.context().trim(0).err()) {
        return 2;
    }
    // What was mapped is still read; dropped, it stays with the parent.
    if result[..] != [1.0, 0.0, 3.0] {
        return 3;
    }
    drop((array, result));
    if process::opened().is_some() {
        return 4;
    }
    if !is_fork(process::context(&Options { on_fork: OnFork::Refuse, ..options() }).err()) {
        return 5;
    }
    let Ok(own) = process::context(&options()) else { return 6 };
    let Ok(array) = own.upload(&[-1.0_f32, 2.0]) else { return 7 };
    let Ok(result) = relu(&array).and_then(|result| own.download::<f32>(result)) else { return 8 };
    if result[..] == [0.0, 2.0] { 0 } else { 9 }
}

#[test]
fn a_forked_child_leaves_its_parents_device_alone() {
    let Some(context) = context() else { return };
    let array = context.upload(&[1.0_f32, -2.0, 3.0]).unwrap();
    let result = context.download::<f32>(relu(&array).unwrap()).unwrap();
    let allocated = context.memory().allocated;
    // SAFETY: the child computes by itself and leaves without the parent's ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: as above; a child that hangs is ended by the alarm.
        unsafe {
            libc::alarm(30);
            libc::_exit(in_child(array, result));
        }
    }
    let mut status = -1;
    // SAFETY: waits for the child of this test.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!((libc::WIFEXITED(status), libc::WEXITSTATUS(status)), (true, 0), "status {status}");
    // The parent goes on as before.
    assert_eq!(result[..], [1.0, 0.0, 3.0]);
    assert_eq!(context.memory().allocated, allocated);
    assert_eq!(context.download::<f32>(relu(&array).unwrap()).unwrap()[..], [1.0, 0.0, 3.0]);
}
