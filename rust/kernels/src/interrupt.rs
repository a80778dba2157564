//! How a call is stopped: kernels check between pieces of their work, and unwind.
//!
//! A caller may watch its call ([`watched`]): its thread then polls a question, such as whether the user pressed
//! Ctrl-C, and every thread of the call sees the answer. A stopped kernel unwinds with [`Interrupted`], which drops
//! what it had built; the watcher catches that panic and no other. A call that is not watched never stops.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Time between two polls: long enough to cost nothing, short enough to feel immediate.
const PAUSE: Duration = Duration::from_millis(50);

/// What a stopped kernel unwinds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// The call that this thread works for.
struct Watch {
    stop: Arc<AtomicBool>,
    /// The question and when it was last polled; only on the thread that made the call.
    question: Option<(Rc<dyn Fn() -> bool>, Instant)>,
}

thread_local! {
    static HERE: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Restores the thread's previous call, also when unwinding.
struct Restored(Option<Watch>);

impl Drop for Restored {
    fn drop(&mut self) {
        let before = self.0.take();
        HERE.with_borrow_mut(|here| *here = before);
    }
}

fn under<R>(watch: Watch, work: impl FnOnce() -> R) -> R {
    let _restored = Restored(HERE.with_borrow_mut(|here| here.replace(watch)));
    work()
}

/// Does `work`, polling `question` whether to stop; `Err` if it was stopped.
pub fn watched<R>(question: impl Fn() -> bool + 'static, work: impl FnOnce() -> R) -> Result<R, Interrupted> {
    let question: Rc<dyn Fn() -> bool> = Rc::new(question);
    let watch = Watch { stop: Arc::default(), question: Some((question, Instant::now())) };
    catch_unwind(AssertUnwindSafe(|| under(watch, work))).map_err(|panic| match panic.downcast::<Interrupted>() {
        Ok(interrupted) => *interrupted,
        Err(other) => resume_unwind(other),
    })
}

/// A call's stop sign, to be handed to the threads that work for it.
#[derive(Clone, Debug, Default)]
pub struct StopSign(Option<Arc<AtomicBool>>);

impl StopSign {
    /// The sign of the call that this thread works for.
    pub fn here() -> Self {
        Self(HERE.with_borrow(|here| here.as_ref().map(|watch| watch.stop.clone())))
    }

    /// Does `work` as part of the call.
    pub fn obeyed<R>(&self, work: impl FnOnce() -> R) -> R {
        match &self.0 {
            Some(stop) => under(Watch { stop: stop.clone(), question: None }, work),
            None => work(),
        }
    }
}

/// Whether this thread's call is to stop.
fn asked_to_stop() -> bool {
    let Some(question) = HERE.with_borrow_mut(|here| {
        let watch = here.as_mut()?;
        if watch.stop.load(Ordering::Relaxed) {
            return Some(None);
        }
        let (question, last) = watch.question.as_mut()?;
        let now = Instant::now();
        if now.duration_since(*last) < PAUSE {
            return None;
        }
        *last = now;
        Some(Some((question.clone(), watch.stop.clone())))
    }) else {
        return false;
    };
    // Polled while nothing is borrowed: the question may call other kernels.
    question.is_none_or(|(question, stop)| {
        let answer = question();
        stop.fetch_or(answer, Ordering::Relaxed);
        answer
    })
}

/// Unwinds if the call is to stop. Cheap enough for every tile of queries, not for every key.
#[inline]
pub fn check() {
    if asked_to_stop() {
        leave();
    }
}

/// [`check`] at one of every `every` steps of a loop.
#[inline]
pub fn check_each(step: usize, every: usize) {
    if step.is_multiple_of(every) {
        check();
    }
}

/// The panic that [`check`] would raise, for loops that must first stop other threads.
pub(crate) fn checked() -> Result<(), Box<dyn Any + Send>> {
    if asked_to_stop() { Err(Box::new(Interrupted)) } else { Ok(()) }
}

#[cold]
fn leave() -> ! {
    // Not `panic!`: nothing went wrong, so no hook should print anything.
    resume_unwind(Box::new(Interrupted))
}
