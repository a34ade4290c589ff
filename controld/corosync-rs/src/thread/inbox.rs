//! What the thread and its users share: the queue of requests, how full everything is, and the last words.

use super::{Connection, Event, Key, Limits, Loss};
use crate::cfg::ShutdownAnswer;
use crate::cpg::GroupName;
use crate::error::{Error, Result};
use nix::sys::eventfd::{EfdFlags, EventFd};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// Counted for every request beside its bytes, so that empty ones are bounded too.
const REQUEST_OVERHEAD: usize = 64;

/// A request.
#[derive(Debug)]
pub(super) enum Command<K> {
    Join { key: K, name: GroupName },
    Leave { key: K },
    Send { key: K, bytes: Vec<u8> },
    Kill { node: u32, reason: String },
    AnswerShutdown(ShutdownAnswer),
    Addresses { node: u32 },
    End { leave: Vec<K> },
}

impl<K> Command<K> {
    /// Whose queue it waits in; `None` for the configuration service's.
    const fn owner(&self) -> Option<&K> {
        match self {
            Self::Join { key, .. } | Self::Leave { key } | Self::Send { key, .. } => Some(key),
            Self::Kill { .. }
            | Self::AnswerShutdown(_)
            | Self::Addresses { .. }
            | Self::End { .. } => None,
        }
    }

    fn cost(&self) -> usize {
        match self {
            Self::Send { bytes, .. } => cost(bytes.len()),
            Self::Join { .. }
            | Self::Leave { .. }
            | Self::Kill { .. }
            | Self::AnswerShutdown(_)
            | Self::Addresses { .. }
            | Self::End { .. } => cost(0),
        }
    }
}

/// What a request with so many bytes counts.
pub(super) const fn cost(bytes: usize) -> usize {
    bytes.saturating_add(REQUEST_OVERHEAD)
}

#[derive(Debug)]
struct Inbox<K> {
    commands: VecDeque<Command<K>>,
    /// Cost of all requests that corosync has not taken, those in the thread's own queues included.
    waiting: BTreeMap<Option<K>, usize>,
    overflow: Option<Connection<K>>,
    /// The thread has ended, and all connections are closed.
    ended: bool,
}

/// What the thread finds when it looks.
pub(super) struct Found<K> {
    pub(super) commands: VecDeque<Command<K>>,
    pub(super) overflow: Option<Connection<K>>,
}

#[derive(Debug)]
pub(super) struct Shared<K: Key> {
    inbox: Mutex<Inbox<K>>,
    /// With `inbox`: the thread has ended.
    ended: Condvar,
    wake: EventFd,
    limits: Limits,
    /// For the one event that does not come from the thread.
    channel: mpsc::WeakSender<Event<K>>,
    overflow_told: AtomicBool,
    /// The thread waits for the reader to take an event.
    stalled: AtomicBool,
    /// Nobody will take events any more.
    reader_gone: AtomicBool,
    /// Bytes of messages in the channel.
    event_bytes: AtomicUsize,
    /// The event after the channel's last; it needs no room there.
    last_words: Mutex<Option<Event<K>>>,
}

impl<K: Key> Shared<K> {
    pub(super) fn new(limits: Limits, channel: mpsc::WeakSender<Event<K>>) -> Result<Self> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = EventFd::from_value_and_flags(0, flags)
            .map_err(|errno| Error::System { call: "eventfd", errno })?;
        let inbox = Inbox {
            commands: VecDeque::new(),
            waiting: BTreeMap::new(),
            overflow: None,
            ended: false,
        };
        Ok(Self {
            inbox: Mutex::new(inbox),
            ended: Condvar::new(),
            wake,
            limits,
            channel,
            overflow_told: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            reader_gone: AtomicBool::new(false),
            event_bytes: AtomicUsize::new(0),
            last_words: Mutex::new(None),
        })
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox<K>> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // Fails only where the counter is at its limit, and then the thread is awake anyway.
        let _already_awake = self.wake.write(1);
    }

    /// Take a request. After the end or a loss it goes nowhere.
    pub(super) fn push(&self, command: Command<K>) {
        if !self.enqueue(command) {
            self.tell_overflow();
        }
        self.wake();
    }

    /// `false` where the queue has overflown.
    fn enqueue(&self, command: Command<K>) -> bool {
        let mut inbox = self.inbox();
        if inbox.ended || inbox.overflow.is_some() {
            return true;
        }
        let waiting = inbox.waiting.entry(command.owner().cloned()).or_default();
        *waiting = waiting.saturating_add(command.cost());
        if *waiting > self.limits.request_bytes {
            let owner = command.owner().cloned();
            inbox.overflow = Some(owner.map_or(Connection::Cfg, Connection::Group));
            return false;
        }
        inbox.commands.push_back(command);
        true
    }

    /// Tell the reader of an overflow, if there is one that it does not know of. Not by way of the thread: what makes
    /// requests pile up may be a call into a library in which the thread is stuck.
    fn tell_overflow(&self) {
        let Some(connection) = self.inbox().overflow.clone() else { return };
        if !self.overflow_told.swap(true, Ordering::SeqCst) {
            let event = Event::Lost { connection, loss: self.overflow() };
            let channel = self.channel.upgrade();
            if channel.is_some_and(|channel| channel.try_send(event).is_err()) {
                // No room: the reader's next taking of an event makes some, and comes here again.
                self.overflow_told.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Nobody will take events any more: nothing more is read from corosync.
    pub(super) fn reader_gone(&self) {
        self.reader_gone.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Wait for the end of the thread; `false` where `patience` is over before.
    pub(super) fn await_end(&self, patience: Duration) -> bool {
        let inbox = self.inbox();
        let waited = self.ended.wait_timeout_while(inbox, patience, |inbox| !inbox.ended);
        let (_inbox, result) = waited.unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }

    /// For poll.
    pub(super) fn wake_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// All requests since the last look.
    pub(super) fn look(&self) -> Found<K> {
        // Fails where nobody has woken us since. Before the look, so that what comes during it wakes us again.
        let _not_woken = self.wake.read();
        let mut inbox = self.inbox();
        Found { commands: std::mem::take(&mut inbox.commands), overflow: inbox.overflow.clone() }
    }

    /// A request with so many bytes no longer waits.
    pub(super) fn release(&self, owner: Option<&K>, bytes: usize) {
        let owner = owner.cloned();
        let mut inbox = self.inbox();
        if let Some(waiting) = inbox.waiting.get_mut(&owner) {
            *waiting = waiting.saturating_sub(cost(bytes));
            if *waiting == 0 {
                inbox.waiting.remove(&owner);
            }
        }
    }

    pub(super) const fn overflow(&self) -> Loss {
        Loss::Overflow { limit: self.limits.request_bytes }
    }

    /// The reader has taken an event.
    pub(super) fn event_taken(&self, event: &Event<K>) {
        self.event_bytes.fetch_sub(message_bytes(event), Ordering::SeqCst);
        if self.stalled.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        self.tell_overflow();
    }

    /// The thread is about to put an event into the channel.
    pub(super) fn event_given(&self, event: &Event<K>) {
        self.event_bytes.fetch_add(message_bytes(event), Ordering::SeqCst);
    }

    /// Whether somebody reads, and `has_slot` and the bytes leave room for an event. If not, taking one wakes the thread.
    pub(super) fn has_room(&self, has_slot: impl Fn() -> bool) -> bool {
        let room = || {
            !self.reader_gone.load(Ordering::SeqCst)
                && has_slot()
                && self.event_bytes.load(Ordering::SeqCst) < self.limits.event_bytes
        };
        if room() {
            return true;
        }
        self.stalled.store(true, Ordering::SeqCst);
        // The reader may have taken one before it could see that we wait.
        room()
    }

    pub(super) fn leave_last_words(&self, event: Option<Event<K>>) {
        *self.last_words.lock().unwrap_or_else(PoisonError::into_inner) = event;
        let mut inbox = self.inbox();
        inbox.ended = true;
        inbox.commands.clear();
        self.ended.notify_all();
    }

    pub(super) fn take_last_words(&self) -> Option<Event<K>> {
        self.last_words.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

fn message_bytes<K>(event: &Event<K>) -> usize {
    match event {
        Event::Message { bytes, .. } => bytes.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Receiver = mpsc::Receiver<Event<u32>>;

    fn shared(request_bytes: usize) -> (Shared<u32>, mpsc::Sender<Event<u32>>, Receiver) {
        let (sender, receiver) = mpsc::channel(1);
        let limits = Limits { events: 1, event_bytes: 10, request_bytes };
        (Shared::new(limits, sender.downgrade()).expect("an eventfd"), sender, receiver)
    }

    fn message() -> Event<u32> {
        let from = crate::cpg::Process { node: 1, pid: 1 };
        Event::Message { key: 1, from, bytes: vec![0; 10] }
    }

    #[test]
    fn requests_over_the_limit_are_an_overflow_of_their_group() {
        let (shared, _sender, mut receiver) = shared(cost(100));
        shared.push(Command::Send { key: 1, bytes: vec![0; 100] });
        shared.push(Command::Send { key: 2, bytes: vec![0; 100] });
        assert_eq!(shared.look().overflow, None);
        shared.push(Command::Leave { key: 2 });
        assert_eq!(shared.look().overflow, Some(Connection::Group(2)));
        let lost = Event::Lost { connection: Connection::Group(2), loss: shared.overflow() };
        assert_eq!(receiver.try_recv(), Ok(lost));
    }

    #[test]
    fn an_overflow_is_told_once_there_is_room_though_the_thread_is_stuck() {
        let (shared, sender, mut receiver) = shared(cost(100));
        shared.event_given(&message());
        sender.try_send(message()).expect("room for one");
        for _ in 0..3 {
            shared.push(Command::Send { key: 1, bytes: vec![0; 60] });
        }
        let event = receiver.try_recv().expect("the message");
        shared.event_taken(&event);
        assert!(matches!(receiver.try_recv(), Ok(Event::Lost { .. })));
        shared.push(Command::Leave { key: 1 });
        assert!(receiver.try_recv().is_err(), "told once");
    }

    #[test]
    fn requests_that_corosync_took_no_longer_count() {
        let (shared, _sender, _receiver) = shared(cost(100));
        for _ in 0..10 {
            shared.push(Command::Send { key: 1, bytes: vec![0; 100] });
            assert_eq!(shared.look().commands.len(), 1);
            shared.release(Some(&1), 100);
        }
        assert_eq!(shared.look().overflow, None);
    }

    #[test]
    fn taking_an_event_wakes_a_thread_that_found_no_room() {
        let (shared, _sender, _receiver) = shared(100);
        let event = message();
        shared.event_given(&event);
        let _nothing_yet = shared.look();
        assert!(!shared.has_room(|| true));
        assert!(shared.wake.read().is_err());
        shared.event_taken(&event);
        assert!(shared.wake.read().is_ok());
        assert!(shared.has_room(|| true));
    }
}
