//! How a call is told to stop: kernels look between pieces of their work, and leave by unwinding.
//!
//! Whoever makes a call may watch it ([`watched`]): its thread then asks a question now and then, such as whether the
//! user pressed Ctrl-C, and every thread that works for it sees the answer. A kernel that is stopped unwinds with
//! [`Interrupted`], so what it has half made is dropped on the way out; the watcher catches that and nothing else. A
//! call that nobody watches never stops.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the watcher is asked: seldom enough to cost nothing, often enough to feel immediate.
const PAUSE: Duration = Duration::from_millis(50);

/// What a stopped kernel unwinds with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

/// What this thread works for.
struct Watch {
    stop: Arc<AtomicBool>,
    /// The watcher's question and when it was last asked; only on the thread that made the call.
    question: Option<(Rc<dyn Fn() -> bool>, Instant)>,
}

thread_local! {
    static HERE: RefCell<Option<Watch>> = const { RefCell::new(None) };
}

/// Puts back what the thread worked for before, also when unwinding.
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

/// Does `work`, asking `question` now and then whether to stop; `Err` if it was stopped.
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
    /// That of the call this thread works for.
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
    // The question is asked while nothing is borrowed: the answer may be found by calling other kernels.
    question.is_none_or(|(question, stop)| {
        let answer = question();
        stop.fetch_or(answer, Ordering::Relaxed);
        answer
    })
}

/// Leaves the kernel if its call is to stop. Cheap enough for every tile of queries, not for every key.
#[inline]
pub fn check() {
    if asked_to_stop() {
        leave();
    }
}

/// [`check`] at every `every`-th of a loop's steps.
#[inline]
pub fn check_each(step: usize, every: usize) {
    if step.is_multiple_of(every) {
        check();
    }
}

/// The panic that [`check`] would leave with, for loops that must first tell others.
pub(crate) fn checked() -> Result<(), Box<dyn Any + Send>> {
    if asked_to_stop() { Err(Box::new(Interrupted)) } else { Ok(()) }
}

#[cold]
fn leave() -> ! {
    // Not `panic!`: nothing went wrong, so no hook prints anything.
    resume_unwind(Box::new(Interrupted))
}
