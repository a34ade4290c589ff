//! Which sources may have something: each is asked with a waker of its own. Whatever wakes the loop, most of the time a
//! single source, only that one is looked at; to ask all of them costs more than a POSIX lock.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A source of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Source {
    Signals,
    Commands,
    Kernel,
    Cluster,
    Plocks,
}

impl Source {
    const ALL: [Self; 5] =
        [Self::Signals, Self::Commands, Self::Kernel, Self::Cluster, Self::Plocks];

    const fn bit(self) -> u32 {
        match self {
            Self::Signals => 1,
            Self::Commands => 2,
            Self::Kernel => 4,
            Self::Cluster => 8,
            Self::Plocks => 16,
        }
    }
}

/// What the sources' wakers tell, from whatever thread.
#[derive(Default)]
struct Told {
    sources: AtomicU32,
    /// Of the task that has the loop.
    task: Mutex<Option<Waker>>,
}

impl Told {
    fn task(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The waker of one source.
struct OfSource {
    bit: u32,
    told: Arc<Told>,
}

impl Wake for OfSource {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Before the task is woken, which looks at it.
        self.told.sources.fetch_or(self.bit, Ordering::AcqRel);
        if let Some(task) = &*self.told.task() {
            task.wake_by_ref();
        }
    }
}

/// The sources that may have something.
pub(super) struct Awake {
    told: Arc<Told>,
    /// To be asked, or not asked to the end.
    open: u32,
    wakers: [Waker; Source::ALL.len()],
}

impl Awake {
    /// All of them: none was asked yet.
    pub(super) fn new() -> Self {
        let told = Arc::<Told>::default();
        let wakers = Source::ALL.map(|source| {
            Waker::from(Arc::new(OfSource { bit: source.bit(), told: Arc::clone(&told) }))
        });
        Self { told, open: u32::MAX, wakers }
    }

    /// Whoever has something from now on wakes this task.
    pub(super) fn listen(&self, context: &Context<'_>) {
        let mut task = self.told.task();
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
    }

    /// What `ask` finds in the source, if that may have something. One that has nothing calls when it has.
    pub(super) fn ask<T>(
        &mut self,
        source: Source,
        ask: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Option<T> {
        let bit = source.bit();
        if self.told.sources.load(Ordering::Acquire) & bit != 0 {
            self.told.sources.fetch_and(!bit, Ordering::AcqRel);
            self.open |= bit;
        }
        if self.open & bit == 0 {
            return None;
        }
        let [signals, commands, kernel, cluster, plocks] = &self.wakers;
        let waker = match source {
            Source::Signals => signals,
            Source::Commands => commands,
            Source::Kernel => kernel,
            Source::Cluster => cluster,
            Source::Plocks => plocks,
        };
        match ask(&mut Context::from_waker(waker)) {
            Poll::Ready(found) => Some(found),
            Poll::Pending => {
                self.open &= !bit;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    struct Counting(AtomicUsize);

    impl Wake for Counting {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_source_that_had_nothing_is_asked_again_when_it_calls() {
        let count = Arc::new(Counting(AtomicUsize::new(0)));
        let task = Waker::from(Arc::clone(&count));
        let mut awake = Awake::new();
        awake.listen(&Context::from_waker(&task));
        let mut waker = None;
        let mut asked = 0;
        let mut ask = |awake: &mut Awake, found: Poll<u32>| {
            awake.ask(Source::Cluster, |context| {
                asked += 1;
                waker = Some(context.waker().clone());
                found
            })
        };
        assert_eq!(ask(&mut awake, Poll::Ready(1)), Some(1));
        assert_eq!(ask(&mut awake, Poll::Pending), None);
        assert_eq!(ask(&mut awake, Poll::Ready(2)), None, "it has not called");
        assert_eq!(asked, 2);
        waker.expect("it was asked").wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let other = awake.ask(Source::Kernel, |_| Poll::<u32>::Pending);
        assert_eq!(other, None, "none has been asked yet");
        assert_eq!(awake.ask(Source::Kernel, |_| Poll::Ready(3)), None);
        assert_eq!(awake.ask(Source::Cluster, |_| Poll::Ready(4)), Some(4));
    }

    #[test]
    fn a_call_during_the_question_is_not_lost() {
        let mut awake = Awake::new();
        let ask = |awake: &mut Awake, calls| {
            awake.ask(Source::Plocks, |context| {
                if calls {
                    context.waker().wake_by_ref();
                }
                Poll::<u32>::Pending
            })
        };
        assert_eq!(ask(&mut awake, true), None);
        assert_eq!(awake.ask(Source::Plocks, |_| Poll::Ready(5)), Some(5));
        assert_eq!(ask(&mut awake, false), None);
        assert_eq!(awake.ask(Source::Plocks, |_| Poll::Ready(6)), None);
    }
}
