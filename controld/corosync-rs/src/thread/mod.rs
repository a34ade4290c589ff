//! All connections behind one place, for programs driven by events, whatever their event loop is.
//!
//! * Requests never block and never fail. Messages go straight to corosync where that cannot block; a thread does the rest:
//!   connections, joins, leaves, messages that corosync does not take at once. Each group may have a bounded number of
//!   bytes waiting; more than that means that corosync no longer takes our messages, and counts as its loss.
//! * Events are read when they are asked for, and never block: [`Events::try_recv`]; [`Events`] has a descriptor for the
//!   event loop. A reader that does not ask leaves them with corosync, and holds up no request.
//! * Groups keep step: they rank by the order of joining, and before one event of a group is read, everything that
//!   corosync delivered earlier to groups of a higher rank has been read. So what happens in the first group is never
//!   seen later than an event of another group that corosync delivered after it. (This holds as long as no connection's
//!   ring buffer of about a megabyte is full: corosync then keeps further events of that connection back.)
//! * `CS_ERR_TRY_AGAIN` is corosync's state during a change of the ring. The request at the head of a group's queue is
//!   then repeated after a growing, bounded pause, as often as it takes; other groups are not held up.
//! * The loss of any connection is one last [`Event::Lost`]. No group is left then: a leave would say to the others that
//!   nothing needs recovery.

mod addresses;
mod group;
mod inbox;
mod reader;
mod services;
mod worker;

use crate::cfg::{Cfg, ShutdownAnswer, ShutdownKind};
use crate::cpg::{GroupName, Process, Reason};
use crate::error::{Code, Error, Result};
use crate::quorum::Quorum;
use crate::types::RingId;
use inbox::{Command, Shared};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use reader::{Before, Reader};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use worker::Worker;

/// Of the thread. Corosync's libraries keep buffers of a megabyte on the stack, for answers (the address of a node) as for
/// dispatch, which is the reader's: its thread needs as much. Less than two, or a huge page may be given for what is used.
const STACK_BYTES: usize = 1536 << 10;
/// Pause between attempts to connect while corosync starts, which it announces to nobody.
const CONNECT_PAUSE: Duration = Duration::from_millis(50);

/// What a group is known by to the user of this module.
pub trait Key: Clone + Ord + fmt::Debug + Send + Sync + 'static {}
impl<K: Clone + Ord + fmt::Debug + Send + Sync + 'static> Key for K {}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of requests that corosync has not taken, for each group; more is [`Loss::Overflow`].
    pub request_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { request_bytes: 8 << 20 }
    }
}

/// One of the connections to corosync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connection<K> {
    /// The configuration service.
    Cfg,
    /// The quorum service.
    Quorum,
    /// That of a group.
    Group(K),
}

impl<K: fmt::Display> fmt::Display for Connection<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cfg => f.write_str("cfg"),
            Self::Quorum => f.write_str("quorum"),
            Self::Group(key) => key.fmt(f),
        }
    }
}

/// Why a connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Corosync has closed it.
    #[error("corosync hung up")]
    HangUp,
    /// A call failed for good.
    #[error(transparent)]
    Failed(#[from] Error),
    /// Corosync took requests too slowly for the limit.
    #[error("more than {limit} bytes of requests wait for corosync")]
    Overflow {
        /// [`Limits::request_bytes`]
        limit: usize,
    },
}

/// What has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event<K> {
    /// Nodes came and went; before the `Quorum` event of the same ring.
    Nodelist {
        /// The ring.
        ring: RingId,
        /// Came.
        joined: Vec<u32>,
        /// Went. A node in both lists was away in between.
        left: Vec<u32>,
    },
    /// Quorum as it is now.
    Quorum {
        /// This partition may act.
        quorate: bool,
        /// The ring.
        ring: RingId,
        /// Its nodes.
        members: Vec<u32>,
        /// Addresses of the members. A node is missing where corosync would not say; the next event tries again.
        addresses: BTreeMap<u32, Vec<SocketAddr>>,
    },
    /// A group's members have changed.
    Confchg {
        /// Which group.
        key: K,
        /// Members after the change, in corosync's order.
        members: Vec<Process>,
        /// Who came.
        joined: Vec<(Process, Reason)>,
        /// Who went; the own leave is the last event of a group.
        left: Vec<(Process, Reason)>,
    },
    /// A group's ring: after the own join, and after the configuration changes of every new ring.
    Ring {
        /// Which group.
        key: K,
        /// Its ring.
        ring: RingId,
        /// The ring's nodes.
        members: Vec<u32>,
    },
    /// A message of a group; one's own come back like any other.
    Message {
        /// Which group.
        key: K,
        /// Sender.
        from: Process,
        /// What was sent.
        bytes: Vec<u8>,
    },
    /// A group could not be joined and is forgotten. The connection to corosync is not at fault.
    JoinFailed {
        /// Which group.
        key: K,
        /// Why.
        error: Error,
    },
    /// Corosync asks whether it may shut down.
    ShutdownQuestion(ShutdownKind),
    /// Answer to [`Handle::node_addresses`].
    NodeAddresses {
        /// Whose.
        node: u32,
        /// One a link, without a port.
        result: Result<Vec<SocketAddr>>,
    },
    /// A connection is lost, and all others are closed. The last event.
    Lost {
        /// Which.
        connection: Connection<K>,
        /// Why.
        loss: Loss,
    },
}

/// The connections that every user needs.
#[derive(Debug)]
pub struct Services {
    cfg: Cfg,
    quorum: Quorum,
}

impl Services {
    /// Connect to the configuration and the quorum service and ask both for their events. Blocks, at most about
    /// `patience` where corosync is only just starting.
    ///
    /// # Errors
    /// Corosync's: `CS_ERR_LIBRARY` where it does not run.
    pub fn connect(patience: Duration) -> Result<Self> {
        let until = Instant::now() + patience;
        let cfg = retry(until, Cfg::connect)?;
        let quorum = retry(until, Quorum::connect)?;
        retry(until, || cfg.track())?;
        retry(until, || quorum.track())?;
        Ok(Self { cfg, quorum })
    }

    /// The configuration service, for questions before the thread has it.
    #[must_use]
    pub const fn cfg(&self) -> &Cfg {
        &self.cfg
    }
}

/// Repeat while corosync says `CS_ERR_TRY_AGAIN`.
///
/// # Errors
/// Of the last attempt.
pub fn retry<T>(until: Instant, mut attempt: impl FnMut() -> Result<T>) -> Result<T> {
    loop {
        match attempt() {
            Err(error) if error.is_try_again() && Instant::now() < until => {
                std::thread::sleep(CONNECT_PAUSE);
            }
            other => return other,
        }
    }
}

/// Start the thread; `begin` is the first that it does, such as taking a priority.
///
/// # Errors
/// [`Error::System`] where the operating system gives no descriptor or no thread.
pub fn start<K: Key>(
    services: Services,
    limits: Limits,
    begin: impl FnOnce() + Send + 'static,
) -> Result<(Handle<K>, Events<K>)> {
    let Services { cfg, quorum } = services;
    let own = Process { node: cfg.local_node()?, pid: std::process::id() };
    let cfg = Arc::new(cfg);
    let shared = Arc::new(Shared::new(limits)?);
    let reader = Reader::new(Arc::clone(&shared), quorum, Arc::clone(&cfg), own)?;
    let worker = Worker::new(Arc::clone(&shared), cfg);
    std::thread::Builder::new()
        .name("corosync".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            begin();
            worker.run();
        })
        .map_err(|error| Error::System {
            call: "thread creation",
            errno: nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or_default()),
        })?;
    Ok((Handle { shared, ended: false }, Events { reader }))
}

/// Joins, messages and leaves that corosync has not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// How many.
    pub requests: usize,
    /// Since when nothing moves in the group that has waited longest.
    pub since: Instant,
}

/// Takes requests. Dropping it ends the thread as [`Handle::end`] does, leaving no other group than was asked for.
#[derive(Debug)]
pub struct Handle<K: Key> {
    shared: Arc<Shared<K>>,
    ended: bool,
}

impl<K: Key> Handle<K> {
    /// Join a group. Answered by its first [`Event::Confchg`], or by [`Event::JoinFailed`], also for a key whose group
    /// was joined before and not left.
    pub fn join(&self, key: K, name: GroupName) {
        self.shared.join(key, name);
    }

    /// Leave a group in order, behind what was sent to it before. Answered by an [`Event::Confchg`] that names us as
    /// left. Nothing for a group that is not there.
    pub fn leave(&self, key: &K) {
        self.shared.leave(key);
    }

    /// Multicast, behind what was sent to this group before. Nothing for a group that is not there.
    pub fn send(&self, key: &K, bytes: Vec<u8>) {
        self.shared.send(key, bytes);
    }

    /// Have corosync on a node end itself, possibly our own.
    ///
    /// # Errors
    /// [`Error::Nul`]
    pub fn kill_node(&self, node: u32, reason: &str) -> Result<()> {
        if reason.contains('\0') {
            return Err(Error::Nul { what: "reason", text: reason.to_owned() });
        }
        self.shared.push(Command::Kill { node, reason: reason.to_owned() });
        Ok(())
    }

    /// Answer [`Event::ShutdownQuestion`]. An answer that comes too late has no effect.
    pub fn answer_shutdown(&self, answer: ShutdownAnswer) {
        self.shared.push(Command::Answer(answer));
    }

    /// How often corosync has answered a join, leave or multicast by `CS_ERR_TRY_AGAIN`; it goes on counting.
    #[must_use]
    pub fn retries(&self) -> Arc<AtomicU64> {
        self.shared.retries()
    }

    /// What corosync has not taken yet, if anything.
    #[must_use]
    pub fn backlog(&self) -> Option<Backlog> {
        self.shared.backlog()
    }

    /// Ask for a node's addresses. Answered by [`Event::NodeAddresses`].
    pub fn node_addresses(&self, node: u32) {
        self.shared.push(Command::Addresses { node });
    }

    /// The orderly end: leave these groups in order, behind all requests made before, then close all connections. A
    /// group that is not named sees our process end: once [`Events`] is dropped, or has given its last event.
    pub fn end(mut self, leave: Vec<K>) -> Ending<K> {
        self.ended = true;
        self.shared.push(Command::End { leave });
        Ending { shared: Arc::clone(&self.shared) }
    }
}

impl<K: Key> Drop for Handle<K> {
    fn drop(&mut self) {
        if !self.ended {
            self.shared.push(Command::End { leave: Vec::new() });
        }
    }
}

/// An end on its way.
#[derive(Debug)]
pub struct Ending<K: Key> {
    shared: Arc<Shared<K>>,
}

impl<K: Key> Ending<K> {
    /// Wait until corosync has taken all requests, or was lost. `false` where `patience` is over before: the end of the
    /// process closes what is left.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        self.shared.await_end(patience)
    }
}

/// Gives events. After its drop nothing more is read from corosync; requests are still carried out.
#[derive(Debug)]
pub struct Events<K: Key> {
    reader: Reader<K>,
}

impl<K: Key> Events<K> {
    /// The next event, if it is there.
    pub fn try_recv(&mut self) -> Option<Event<K>> {
        self.reader.next(Before::Unknown)
    }

    /// The same for a caller who has seen the descriptor readable, and has read nothing since: with fewer system calls, mostly.
    pub fn recv_seen(&mut self) -> Option<Event<K>> {
        self.reader.next(Before::Seen)
    }

    /// The next event was read from corosync: it is there, whatever the descriptor says.
    #[must_use]
    pub fn has_read_ahead(&self) -> bool {
        self.reader.has_read_ahead()
    }

    /// No more will come.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.reader.is_over()
    }

    /// The next event; `None` after the last. For a thread that waits for nothing else.
    pub fn blocking_recv(&mut self) -> Option<Event<K>> {
        loop {
            let event = self.try_recv();
            if event.is_some() || self.is_over() {
                return event;
            }
            // A failure other than a signal would be one of the next look too, which tells it.
            let mut fds = [PollFd::new(self.reader.as_fd(), PollFlags::POLLIN)];
            let _woken = poll(&mut fds, PollTimeout::NONE);
        }
    }
}

impl<K: Key> AsFd for Events<K> {
    /// Readable as long as [`Events::try_recv`] would give something, or be over, that is not read ahead; now and then without
    /// that. An event loop may take that by level or, if it asks until there is nothing, by edge.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }
}

/// The group is in use already: corosync's own word for it.
fn already_joined<K: fmt::Debug>(key: &K) -> Error {
    Error::Call { call: "cpg_join", about: format!("{key:?}"), code: Code::EXIST }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    /// Answers of a corosync that is asked once more at each call; the last one stays.
    fn answers(codes: &[Option<Code>]) -> impl FnMut() -> Result<()> {
        let mut codes = codes.iter().copied().peekable();
        move || {
            let now = codes.peek().copied().flatten();
            if codes.len() > 1 {
                codes.next();
            }
            now.map_or(Ok(()), |code| {
                Err(Error::Call { call: "cfg_initialize", about: String::new(), code })
            })
        }
    }

    #[test]
    fn corosync_that_is_only_starting_is_asked_again_and_one_that_is_not_there_is_not() {
        let far = Instant::now() + Duration::from_secs(60);
        let busy = Some(Code::TRY_AGAIN);
        assert_eq!(retry(far, answers(&[busy, busy, None])), Ok(()));
        let refused = retry(far, answers(&[busy, Some(Code::LIBRARY), None]));
        assert_eq!(refused.unwrap_err().code(), Some(Code::LIBRARY));
        let over = retry(Instant::now() + CONNECT_PAUSE, answers(&[busy]));
        assert_eq!(over.unwrap_err().code(), busy);
    }
}
