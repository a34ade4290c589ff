//! What the thread, the senders and the reader share: the groups, the thread's other requests, notes for the reader, and
//! how much waits.

use super::group::{Asked, Group};
use super::{Backlog, Connection, Event, Key, Limits, Loss, already_joined};
use crate::cfg::ShutdownAnswer;
use crate::cpg::GroupName;
use crate::error::{Error, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Counted for every request beside its bytes, so that empty ones are bounded too.
const REQUEST_OVERHEAD: usize = 64;

/// A request that does not belong to a group.
#[derive(Debug)]
pub(super) enum Command<K> {
    Kill {
        node: u32,
        reason: String,
    },
    Answer(ShutdownAnswer),
    Addresses {
        node: u32,
    },
    /// For the reader, whose event waits for them.
    AddressesOf {
        nodes: Vec<u32>,
    },
    End {
        leave: Vec<K>,
    },
}

/// What the thread has for the reader.
#[derive(Debug)]
pub(super) enum Note<K> {
    /// There will be something to read.
    Connected(Arc<Group<K>>),
    /// The group is no more.
    Gone(Arc<Group<K>>),
    /// The answer to [`Command::AddressesOf`]; a node is missing where corosync would not say.
    Addresses(BTreeMap<u32, Vec<SocketAddr>>),
    /// To be passed on.
    Event(Event<K>),
}

/// What a request with so many bytes counts.
pub(super) const fn cost(bytes: usize) -> usize {
    bytes.saturating_add(REQUEST_OVERHEAD)
}

#[derive(Debug)]
struct State<K> {
    /// In the order of the joins that were asked for. One that leaves may be followed by another of the same key.
    groups: Vec<Arc<Group<K>>>,
    /// Forgotten: the thread lets go of them last, as the end of a connection waits for corosync.
    gone: Vec<Arc<Group<K>>>,
    /// Rank of the next one.
    next_rank: u64,
    commands: VecDeque<Command<K>>,
    /// What the commands count that are not done, in bytes.
    waiting: usize,
    /// No more is done: a connection is lost, or the end was reached.
    over: bool,
    /// The thread has ended, and holds no connection any more.
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Shared<K: Key> {
    state: Mutex<State<K>>,
    /// With `state`: the thread has ended.
    ended: Condvar,
    /// Wakes the thread.
    wake: EventFd,
    limits: Limits,
    /// Never more than answers to requests, and one loss.
    notes: Mutex<VecDeque<Note<K>>>,
    /// There are some, or it is over: saves the reader a system call.
    noted: AtomicBool,
    /// Wakes the reader.
    reader_wake: EventFd,
    /// Requests of groups that corosync would not take yet.
    retries: Arc<AtomicU64>,
}

impl<K: Key> Shared<K> {
    pub(super) fn new(limits: Limits) -> Result<Self> {
        let eventfd = || {
            EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)
                .map_err(|errno| Error::System { call: "eventfd", errno })
        };
        let state = State {
            groups: Vec::new(),
            gone: Vec::new(),
            next_rank: 0,
            commands: VecDeque::new(),
            waiting: 0,
            over: false,
            ended: false,
        };
        Ok(Self {
            state: Mutex::new(state),
            ended: Condvar::new(),
            wake: eventfd()?,
            limits,
            notes: Mutex::default(),
            noted: AtomicBool::new(false),
            reader_wake: eventfd()?,
            retries: Arc::default(),
        })
    }

    /// See [`super::Handle::retries`].
    pub(super) fn retries(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.retries)
    }

    pub(super) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    fn state(&self) -> MutexGuard<'_, State<K>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting_notes(&self) -> MutexGuard<'_, VecDeque<Note<K>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only where the counter is at its limit, and then the thread is awake anyway.
        let _already_awake = self.wake.write(1);
    }

    /// See [`super::Handle::backlog`].
    pub(super) fn backlog(&self) -> Option<Backlog> {
        let state = self.state();
        let of_groups = state.groups.iter().filter_map(|group| group.backlog());
        of_groups.reduce(|all, one| Backlog {
            requests: all.requests.saturating_add(one.requests),
            since: all.since.min(one.since),
        })
    }

    /// Take a request of no group. After the end or a loss it goes nowhere.
    pub(super) fn push(&self, command: Command<K>) {
        let mut state = self.state();
        if state.over {
            return;
        }
        state.waiting = state.waiting.saturating_add(cost(0));
        let overflow = state.waiting > self.limits.request_bytes;
        state.commands.push_back(command);
        drop(state);
        if overflow {
            self.overflow(Connection::Cfg);
        }
        self.wake();
    }

    /// A command is done.
    pub(super) fn done(&self) {
        let mut state = self.state();
        state.waiting = state.waiting.saturating_sub(cost(0));
    }

    /// Not by way of the thread: what makes requests pile up may be a call in which it is stuck.
    fn overflow(&self, connection: Connection<K>) {
        self.lose(connection, Loss::Overflow { limit: self.limits.request_bytes });
    }

    /// Join, behind all groups that there are.
    pub(super) fn join(&self, key: K, name: GroupName) {
        let mut state = self.state();
        if state.over {
            return;
        }
        if state.newest(&key).is_some_and(|group| !group.leave_asked()) {
            drop(state);
            let error = already_joined(&key);
            self.note(Note::Event(Event::JoinFailed { key, error }));
            return;
        }
        let rank = state.next_rank;
        state.next_rank = rank.saturating_add(1);
        state.groups.push(Arc::new(Group::new(key, name, rank)));
        drop(state);
        self.wake();
    }

    /// Leave, behind what was sent before.
    pub(super) fn leave(&self, key: &K) {
        self.ask(key, |group| group.leave(self.limits.request_bytes));
    }

    /// Multicast.
    pub(super) fn send(&self, key: &K, bytes: Vec<u8>) {
        self.ask(key, |group| group.send(bytes, self.limits.request_bytes));
    }

    fn ask(&self, key: &K, request: impl FnOnce(&Group<K>) -> Asked) {
        let group = {
            let state = self.state();
            if state.over {
                return;
            }
            state.newest(key)
        };
        match group.as_deref().map(request) {
            Some(Asked::Queued) => self.wake(),
            Some(Asked::Overflow) => self.overflow(Connection::Group(key.clone())),
            Some(Asked::Taken | Asked::Refused) | None => {}
        }
    }

    /// All groups, by rank.
    pub(super) fn groups(&self) -> Vec<Arc<Group<K>>> {
        self.state().groups.clone()
    }

    /// Forget a group and what waits for it. The caller keeps nothing of it, so that its connection is ended by the thread.
    pub(super) fn remove(&self, group: Arc<Group<K>>) {
        let mut state = self.state();
        state.groups.retain(|other| other.rank != group.rank);
        // Without a thread the group goes here.
        if !state.ended {
            state.gone.push(group);
        }
        drop(state);
        // One of the same name may have waited for this one's end.
        self.wake();
    }

    /// What the thread has to do beside the groups' requests; `None` where it is over. Ends the connections of groups that
    /// are gone.
    pub(super) fn look(&self) -> Option<VecDeque<Command<K>>> {
        // Fails where nobody has woken us since. Before the look, so that what comes during it wakes us again.
        let _not_woken = self.wake.read();
        let mut state = self.state();
        let gone = std::mem::take(&mut state.gone);
        let commands = (!state.over).then(|| std::mem::take(&mut state.commands));
        drop(state);
        drop(gone);
        commands
    }

    /// For the thread's poll.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// For the reader's.
    pub(super) fn reader_wake_fd(&self) -> BorrowedFd<'_> {
        self.reader_wake.as_fd()
    }

    /// Something for the reader.
    pub(super) fn note(&self, note: Note<K>) {
        self.waiting_notes().push_back(note);
        self.call_reader();
    }

    fn call_reader(&self) {
        self.noted.store(true, Ordering::SeqCst);
        // As for `wake`.
        let _already_awake = self.reader_wake.write(1);
    }

    /// What there is for the reader.
    pub(super) fn notes(&self) -> VecDeque<Note<K>> {
        if !self.noted.swap(false, Ordering::SeqCst) {
            return VecDeque::new();
        }
        std::mem::take(&mut *self.waiting_notes())
    }

    /// The reader has been woken: notes that come from now on wake it anew.
    pub(super) fn reader_woken(&self) {
        let _not_woken = self.reader_wake.read();
    }

    /// There is more for the reader.
    pub(super) fn has_notes(&self) -> bool {
        !self.waiting_notes().is_empty()
    }

    /// A connection is lost, and with it all. Only the first loss is told.
    pub(super) fn lose(&self, connection: Connection<K>, loss: Loss) {
        self.stop(Some(Note::Event(Event::Lost { connection, loss })));
    }

    /// Nothing more is to be done. If that is new, `last` is there before anybody can see it: a reader that found the end
    /// and no reason would not look again.
    fn stop(&self, last: Option<Note<K>>) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.over, true) {
            self.waiting_notes().extend(last);
        }
        drop(state);
        self.wake();
        self.call_reader();
    }

    /// Nothing more is to be done.
    pub(super) fn is_over(&self) -> bool {
        self.state().over
    }

    /// The thread ends, and lets go of its connections. Not under the lock: corosync may take its time, and whoever waits for
    /// the end does not wait for ever.
    pub(super) fn thread_ended(&self) {
        self.stop(None);
        loop {
            let mut state = self.state();
            let mut groups = std::mem::take(&mut state.groups);
            groups.append(&mut state.gone);
            state.ended = groups.is_empty();
            if state.ended {
                break;
            }
            drop(state);
            drop(groups);
        }
        self.ended.notify_all();
    }

    /// Wait for the end of the thread; `false` where `patience` is over before.
    pub(super) fn await_end(&self, patience: Duration) -> bool {
        let state = self.state();
        let waited = self.ended.wait_timeout_while(state, patience, |state| !state.ended);
        let (_state, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

impl<K: Key> State<K> {
    /// The group of a key; the newest, where an older one is still leaving.
    fn newest(&self, key: &K) -> Option<Arc<Group<K>>> {
        self.groups.iter().rev().find(|group| group.key == *key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(request_bytes: usize) -> Shared<u32> {
        let shared = Shared::new(Limits { request_bytes }).expect("eventfds");
        for key in [1, 2] {
            shared.join(key, GroupName::new(b"g").expect("a name"));
        }
        shared
    }

    fn told(shared: &Shared<u32>) -> Vec<Event<u32>> {
        let event = |note| if let Note::Event(event) = note { Some(event) } else { None };
        shared.notes().into_iter().filter_map(event).collect()
    }

    #[test]
    fn requests_over_the_limit_are_an_overflow_of_their_group_though_the_thread_is_stuck() {
        let shared = shared(cost(100));
        shared.send(&1, vec![0; 100]);
        shared.send(&2, vec![0; 100]);
        assert_eq!(told(&shared), []);
        shared.leave(&2);
        let loss = Loss::Overflow { limit: cost(100) };
        assert_eq!(told(&shared), [Event::Lost { connection: Connection::Group(2), loss }]);
        assert!(shared.look().is_none() && shared.is_over());
        shared.send(&1, vec![0; 100]);
        assert_eq!(told(&shared), [], "told once");
    }

    #[test]
    fn whoever_sees_that_it_is_over_finds_the_reason() {
        for _ in 0..200 {
            let shared = Arc::new(shared(100));
            let thread = Arc::clone(&shared);
            let lost = std::thread::spawn(move || thread.lose(Connection::Cfg, Loss::HangUp));
            while !shared.is_over() {
                std::hint::spin_loop();
            }
            assert!(shared.has_notes());
            lost.join().expect("no panic");
        }
    }

    #[test]
    fn the_thread_lets_go_of_a_group_last() {
        let shared = shared(100);
        let take = || {
            let group = shared.groups().pop().expect("a group");
            (Arc::downgrade(&group), group)
        };
        let (seen, group) = take();
        shared.remove(group);
        assert_eq!((seen.strong_count(), shared.groups().len()), (1, 1));
        assert!(shared.look().is_some_and(|commands| commands.is_empty()));
        assert_eq!(seen.strong_count(), 0);

        let (seen, group) = take();
        shared.thread_ended();
        assert_eq!(seen.strong_count(), 1, "the reader's");
        assert!(shared.await_end(Duration::ZERO));
        shared.remove(group);
        assert_eq!(seen.strong_count(), 0, "nobody else is left to do it");
    }

    #[test]
    fn commands_that_are_done_no_longer_count() {
        let shared = shared(cost(0));
        for _ in 0..10 {
            shared.push(Command::Addresses { node: 1 });
            assert_eq!(shared.look().map(|commands| commands.len()), Some(1));
            shared.done();
        }
        shared.push(Command::Addresses { node: 1 });
        shared.push(Command::Addresses { node: 1 });
        let loss = Loss::Overflow { limit: cost(0) };
        assert_eq!(told(&shared), [Event::Lost { connection: Connection::Cfg, loss }]);
    }

    #[test]
    fn a_group_that_is_there_is_not_joined_again() {
        let shared = shared(cost(100));
        shared.join(1, GroupName::new(b"g").expect("a name"));
        assert_eq!(told(&shared), [Event::JoinFailed { key: 1, error: already_joined(&1) }]);
        shared.leave(&1);
        shared.join(1, GroupName::new(b"g").expect("a name"));
        assert_eq!((told(&shared), shared.groups().len()), (Vec::new(), 3));
    }
}
