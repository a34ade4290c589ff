//! Waits for the driver: for its descriptors, its next deadline, and whatever wakes it from other threads.
//!
//! The driver's own descriptors bring thousands of POSIX locks and messages a second, each of which costs little more than its
//! wait. So the driver has a wait of its own, one system call, without a scheduler around it. All else that is asynchronous,
//! clients, programs and signals, runs on tokio in another thread, and wakes the driver through its channels.

use dlm_core::types::Instant;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::io;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use crate::driver::clock;

/// What the kernel keeps with the descriptor that wakes the wait; descriptors that are watched have their place in the table.
const WAKE: u64 = u64::MAX;

/// Descriptors that one look tells of; more are told by the next.
const LOOK: usize = 16;

/// Nanoseconds in a millisecond.
const NANOS_PER_MS: u128 = 1_000_000;

/// The wait. Whoever has it runs one future, and that future's descriptors and deadline are watched here.
#[derive(Debug)]
pub struct Reactor {
    registry: Registry,
}

/// Where descriptors are registered, and the deadline is set. Clones are the same.
#[derive(Clone, Debug)]
pub struct Registry(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    epoll: Epoll,
    wake: EventFd,
    /// Something has happened since the future was last asked.
    woken: AtomicBool,
    /// The wait may have to be interrupted.
    waits: AtomicBool,
    /// By their place, which the kernel keeps for us.
    watched: Mutex<Vec<Option<Place>>>,
    /// Nanoseconds of the monotonic clock; [`NEVER`] without a deadline.
    alarm: AtomicU64,
    /// The alarm's time has come.
    rang: AtomicBool,
}

const NEVER: u64 = u64::MAX;

/// What is known of a descriptor.
#[derive(Debug, Default)]
struct Slot {
    readable: AtomicBool,
    /// Told of again before anybody has read: it is not watched until somebody has, or it would end every wait at once.
    muted: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

/// A place in the table.
#[derive(Debug)]
struct Place {
    slot: Arc<Slot>,
    descriptor: Arc<OwnedFd>,
}

impl Slot {
    fn waker(&self) -> MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if self.waits.swap(false, Ordering::SeqCst) {
            // Fails only where the counter is at its limit, and then the wait is over anyway.
            let _already_awake = self.wake.write(1);
        }
    }
}

impl Shared {
    fn watched(&self) -> MutexGuard<'_, Vec<Option<Place>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long nothing but an event may end the wait; rounded up, as one that ends too early would spin.
    fn until_the_alarm(&self) -> EpollTimeout {
        let alarm = self.alarm.load(Ordering::Relaxed);
        if alarm == NEVER {
            return EpollTimeout::NONE;
        }
        let left = clock::until(Instant::from_nanos(alarm)).as_nanos().div_ceil(NANOS_PER_MS);
        EpollTimeout::try_from(left).unwrap_or(EpollTimeout::MAX)
    }
}

impl Reactor {
    /// One without descriptors and deadline.
    ///
    /// # Errors
    /// The system gives no descriptor.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)?;
        epoll.add(&wake, EpollEvent::new(EpollFlags::EPOLLIN, WAKE))?;
        let shared = Shared {
            epoll,
            wake,
            woken: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            watched: Mutex::default(),
            alarm: AtomicU64::new(NEVER),
            rang: AtomicBool::new(false),
        };
        Ok(Self { registry: Registry(Arc::new(shared)) })
    }

    /// For the future's descriptors and deadline.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Run a future to its end on this thread. Its wakers may be used from any thread.
    pub fn block_on<F: Future>(&mut self, future: F) -> F::Output {
        let mut future = pin!(future);
        let waker = Waker::from(Arc::clone(&self.registry.0));
        let mut context = Context::from_waker(&waker);
        loop {
            // Before it is asked: what wakes it from here on counts anew.
            self.registry.0.woken.store(false, Ordering::SeqCst);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            self.wait();
        }
    }

    /// Until something happens, or at once where it has.
    fn wait(&mut self) {
        let shared = &self.registry.0;
        let alarm = shared.until_the_alarm();
        shared.waits.store(true, Ordering::SeqCst);
        // Looked at after it was said that we wait: a wake either sees that or is seen here.
        let timeout = if shared.woken.load(Ordering::SeqCst) { EpollTimeout::ZERO } else { alarm };
        let seen = self.look(timeout);
        let shared = &self.registry.0;
        let due = || shared.until_the_alarm() == EpollTimeout::ZERO;
        if alarm == EpollTimeout::ZERO || (alarm.is_some() && seen == 0 && due()) {
            shared.rang.store(true, Ordering::Relaxed);
        }
    }

    /// Tell the watchers of descriptors that are readable; how many were told of.
    pub(crate) fn look(&mut self, timeout: EpollTimeout) -> usize {
        let shared = &self.registry.0;
        let mut events = [EpollEvent::empty(); LOOK];
        // A signal ends the wait; nothing else can be wrong with these arguments.
        let seen = shared.epoll.wait(&mut events, timeout).unwrap_or(0);
        // Nobody has to interrupt it any more, least of all the wakers below.
        shared.waits.store(false, Ordering::SeqCst);
        for event in events.iter().take(seen) {
            if event.data() == WAKE {
                // Fails where another look has read it.
                let _not_woken = shared.wake.read();
                continue;
            }
            let place = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let watched = shared.watched();
            let Some(Place { slot, descriptor }) = watched.get(place).and_then(Option::as_ref)
            else {
                continue;
            };
            if slot.readable.swap(true, Ordering::Relaxed) {
                // By its removal: a hang-up is told of whatever is asked for.
                let muted = shared.epoll.delete(descriptor).is_ok();
                slot.muted.store(muted, Ordering::Relaxed);
            }
            slot.waker().iter().for_each(Waker::wake_by_ref);
        }
        seen
    }
}

impl Registry {
    /// Watch a descriptor for something to read, or its end. It must be non-blocking.
    ///
    /// # Errors
    /// It cannot be watched, for example a plain file.
    pub fn watch(&self, descriptor: OwnedFd) -> io::Result<Watched> {
        let (slot, descriptor) = (Arc::<Slot>::default(), Arc::new(descriptor));
        let mut watched = self.0.watched();
        let place = watched.iter().position(Option::is_none).unwrap_or(watched.len());
        self.0.epoll.add(&descriptor, EpollEvent::new(EpollFlags::EPOLLIN, data_of(place)))?;
        let taken = Place { slot: Arc::clone(&slot), descriptor: Arc::clone(&descriptor) };
        match watched.get_mut(place) {
            Some(free) => *free = Some(taken),
            None => watched.push(Some(taken)),
        }
        drop(watched);
        Ok(Watched { descriptor, slot, place, registry: self.clone() })
    }

    /// Have the future asked then; `None`: not because of the time. True where that time has come: once for each deadline.
    pub(crate) fn rang(&self, deadline: Option<Instant>) -> bool {
        let at = deadline.map_or(NEVER, Instant::as_nanos);
        let same = self.0.alarm.swap(at, Ordering::Relaxed) == at;
        self.0.rang.swap(false, Ordering::Relaxed) && same && deadline.is_some()
    }
}

fn data_of(place: usize) -> u64 {
    u64::try_from(place).unwrap_or(WAKE)
}

/// A descriptor that is watched, as long as this lives.
#[derive(Debug)]
pub struct Watched {
    descriptor: Arc<OwnedFd>,
    slot: Arc<Slot>,
    place: usize,
    registry: Registry,
}

impl Watched {
    /// There may be something to read, or the context is woken when there is.
    pub(crate) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        if self.is_readable() {
            return Poll::Ready(());
        }
        let mut waker = self.slot.waker();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
        Poll::Pending
    }

    /// There may be something to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.slot.readable.load(Ordering::Relaxed)
    }

    /// Enough was read: what is left, if anything, is told of by the next look.
    pub(crate) fn leave(&self) {
        let slot = &self.slot;
        if slot.muted.load(Ordering::Relaxed) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, data_of(self.place));
            if self.registry.0.epoll.add(&*self.descriptor, event).is_err() {
                // No memory: it stays readable, so that somebody asks, and leaves it, again.
                return;
            }
            slot.muted.store(false, Ordering::Relaxed);
        }
        slot.readable.store(false, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> &OwnedFd {
        &self.descriptor
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        // Fails only where it was muted.
        let _unwatched = self.registry.0.epoll.delete(&*self.descriptor);
        if let Some(slot) = self.registry.0.watched().get_mut(self.place) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use std::os::fd::AsFd as _;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    fn event_fd() -> EventFd {
        EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).unwrap()
    }

    #[test]
    fn what_is_left_is_told_of_again_and_what_is_read_is_not() {
        let mut reactor = Reactor::new().unwrap();
        let sign = event_fd();
        let watched = reactor.registry().watch(sign.as_fd().try_clone_to_owned().unwrap()).unwrap();
        assert!(!watched.is_readable());
        sign.write(1).unwrap();
        reactor.block_on(poll_fn(|context| watched.poll_readable(context)));
        watched.leave();
        // Nobody has read it.
        reactor.block_on(poll_fn(|context| watched.poll_readable(context)));
        watched.leave();
        sign.read().unwrap();
        assert_eq!(reactor.look(EpollTimeout::ZERO), 0);
        assert!(!watched.is_readable());
        drop(watched);
        sign.write(1).unwrap();
        assert_eq!(reactor.look(EpollTimeout::ZERO), 0, "it is not watched any more");
    }

    /// What ends a wait would otherwise end the next one too, for nothing.
    #[test]
    fn a_wait_that_is_over_is_not_interrupted() {
        let mut reactor = Reactor::new().unwrap();
        let sign = event_fd();
        let watched = reactor.registry().watch(sign.as_fd().try_clone_to_owned().unwrap()).unwrap();
        sign.write(1).unwrap();
        reactor.block_on(poll_fn(|context| watched.poll_readable(context)));
        sign.read().unwrap();
        watched.leave();
        assert_eq!(reactor.look(EpollTimeout::ZERO), 0);
    }

    /// It would end every wait at once, and take the processor from those who are waited for.
    #[test]
    fn what_nobody_reads_is_told_of_twice_and_again_when_somebody_has() {
        let mut reactor = Reactor::new().unwrap();
        let sign = event_fd();
        let watched = reactor.registry().watch(sign.as_fd().try_clone_to_owned().unwrap()).unwrap();
        sign.write(1).unwrap();
        let mut looks = || [0; 4].map(|_| reactor.look(EpollTimeout::ZERO));
        assert_eq!(looks(), [1, 1, 0, 0]);
        assert!(watched.is_readable());
        watched.leave();
        assert_eq!(looks(), [1, 1, 0, 0], "it is still there");
        sign.read().unwrap();
        watched.leave();
        assert_eq!(looks(), [0; 4]);
        sign.write(1).unwrap();
        assert_eq!(looks(), [1, 1, 0, 0]);
    }

    #[test]
    fn a_hang_up_that_nobody_reads_ends_no_wait_for_long() {
        let mut reactor = Reactor::new().unwrap();
        let (reading, writing) = nix::unistd::pipe().unwrap();
        let watched = reactor.registry().watch(reading).unwrap();
        drop(writing);
        assert_eq!([0; 4].map(|_| reactor.look(EpollTimeout::ZERO)), [1, 1, 0, 0]);
        assert!(watched.is_readable());
    }

    #[test]
    fn a_place_in_the_table_is_used_again() {
        let mut reactor = Reactor::new().unwrap();
        let sign = event_fd();
        let watch = |reactor: &Reactor| {
            reactor.registry().watch(sign.as_fd().try_clone_to_owned().unwrap()).unwrap()
        };
        let (first, second) = (watch(&reactor), watch(&reactor));
        drop(first);
        let third = watch(&reactor);
        assert_eq!((second.place, third.place), (1, 0));
        sign.write(1).unwrap();
        assert_eq!(reactor.look(EpollTimeout::ZERO), 2);
        assert!(second.is_readable() && third.is_readable());
    }

    #[test]
    fn another_thread_ends_the_wait() {
        let mut reactor = Reactor::new().unwrap();
        let (send, receive) = mpsc::channel::<Waker>();
        let told = Arc::new(AtomicBool::new(false));
        let tell = Arc::clone(&told);
        let other = thread::spawn(move || {
            let waker = receive.recv().unwrap();
            tell.store(true, Ordering::SeqCst);
            waker.wake();
        });
        reactor.block_on(poll_fn(|context| {
            if told.load(Ordering::SeqCst) {
                return Poll::Ready(());
            }
            // Once: the second time the receiver may be gone.
            let _gone = send.send(context.waker().clone());
            Poll::Pending
        }));
        other.join().unwrap();
    }

    #[test]
    fn a_deadline_rings_once_when_it_is_due() {
        let mut reactor = Reactor::new().unwrap();
        let registry = reactor.registry().clone();
        let begin = clock::now().mono;
        let due = clock::after(begin, Duration::from_millis(30));
        let mut asked = 0;
        reactor.block_on(poll_fn(|_| {
            asked += 1;
            if registry.rang(Some(due)) { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(clock::now().mono >= due);
        assert_eq!(asked, 2, "it does not spin");
        // Another one, long past, rings at once, and none never.
        reactor.block_on(poll_fn(|_| {
            if registry.rang(Some(begin)) { Poll::Ready(()) } else { Poll::Pending }
        }));
        assert!(!registry.rang(None) && !registry.rang(Some(due)));
    }
}
