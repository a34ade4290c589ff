//! One group: connect, join, send in order, leave.
//!
//! Stages: `New` (no connection), `Connected`, `Joined`, `Left` (the leave is on its way; its configuration change is
//! the last event). The thread goes from stage to stage; one step does one call. A call that meets `CS_ERR_TRY_AGAIN`
//! stays at the head and sets a pause.
//!
//! Messages go straight to corosync from whoever sends them, as long as nothing waits in the queue and corosync has taken
//! what was sent before: libcpg's call blocks, without a limit, only where corosync leaves many requests lying. All else
//! is the thread's, which may block. Of one connection's request side there is one user at a time: the sender under the
//! lock while the queue is empty, the thread while it is not.

use super::inbox::cost;
use crate::cpg::{Cpg, GroupName, Process, Reason};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Own messages on their way, above which the thread does the sending. The way to corosync has room for more than twice
/// as many.
const DIRECT_MAX: usize = 128;
/// A message longer than this is the thread's: libcpg sends one of a megabyte in pieces and waits between them.
const DIRECT_BYTES_MAX: usize = 128 << 10;

/// Bounds of the pause between attempts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    first: Duration,
    longest: Duration,
}

/// Join and leave wait for a change of the ring, which takes some time.
pub(super) const MEMBERSHIP_PAUSE: Pause =
    Pause { first: Duration::from_millis(10), longest: Duration::from_millis(50) };
/// A multicast mostly waits for a place in corosync's queue, which is free after a turn of the token.
const SEND_PAUSE: Pause =
    Pause { first: Duration::from_millis(1), longest: Duration::from_millis(10) };

/// When the head of a queue is tried again.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Retry(Option<(Instant, Duration)>);

impl Retry {
    /// Not before this; `None` for at once.
    pub(super) fn at(self) -> Option<Instant> {
        self.0.map(|(at, _)| at)
    }

    pub(super) fn is_due(self, now: Instant) -> bool {
        self.at().is_none_or(|at| at <= now)
    }

    /// Corosync said `CS_ERR_TRY_AGAIN`.
    pub(super) fn postpone(&mut self, now: Instant, pause: Pause) {
        let length = self.0.map_or(pause.first, |(_, last)| (last * 2).min(pause.longest));
        self.0 = Some((now + length, length));
    }

    pub(super) fn reset(&mut self) {
        self.0 = None;
    }
}

/// A connection that is made before it is wanted: to set one up takes longer than the join itself, and whoever creates a
/// lockspace waits for both.
#[derive(Debug)]
pub(super) struct Spare {
    cpg: Option<Cpg>,
    /// When one is to be made; `None` while there is one.
    due: Option<Instant>,
}

/// After the last one was taken: the group that has it gets its first exchange of messages done before.
const SPARE_PAUSE: Duration = Duration::from_millis(100);

impl Spare {
    /// None yet.
    pub(super) fn new(now: Instant) -> Self {
        Self { cpg: None, due: Some(now + SPARE_PAUSE) }
    }

    /// When [`Spare::make`] has something to do.
    pub(super) const fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Make one if it is time. Blocks until corosync has answered, so call it when nothing else is to be done. A failure
    /// is no loss: who wants a connection will make one and see.
    pub(super) fn make(&mut self, now: Instant) {
        if self.due.is_some_and(|due| due <= now) {
            self.cpg = Cpg::connect().ok();
            self.due = None;
        }
    }

    /// The spare one, or a new one.
    fn take(&mut self, now: Instant) -> Result<Cpg> {
        self.due = Some(now + SPARE_PAUSE);
        self.cpg.take().map_or_else(Cpg::connect, Ok)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    New,
    Connected,
    Joined,
    Left,
}

#[derive(Debug)]
enum Request {
    /// Empty while the thread sends it.
    Send(Vec<u8>),
    Leave,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Corosync has it.
    Taken,
    /// The thread has to do it.
    Queued,
    /// After a leave nothing more goes into the group.
    Refused,
    /// More waits than may.
    Overflow,
}

/// What a step has done.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing is to be done, or not yet.
    Rest,
    /// Corosync said `CS_ERR_TRY_AGAIN`: not yet, either.
    Again,
    /// Connected: there will be something to read.
    Connected,
    /// Joined.
    Joined,
    /// A request was taken by corosync.
    Taken,
    /// The group cannot be joined.
    JoinFailed(Error),
}

#[derive(Debug)]
struct Queue {
    stage: Stage,
    requests: VecDeque<Request>,
    /// What the requests count, in bytes.
    waiting: usize,
    leave_asked: bool,
    retry: Retry,
    /// Own messages that corosync has taken and that have not come back.
    on_their_way: usize,
}

impl Queue {
    fn push(&mut self, cost: usize, request: Request, limit: usize) -> Asked {
        let waiting = self.waiting.saturating_add(cost);
        if waiting > limit {
            return Asked::Overflow;
        }
        self.waiting = waiting;
        self.requests.push_back(request);
        Asked::Queued
    }
}

/// A group, of the sender, the thread and the reader.
#[derive(Debug)]
pub(super) struct Group<K> {
    pub(super) key: K,
    pub(super) name: GroupName,
    /// Its place among all groups, in the order of the joins that were asked for.
    pub(super) rank: u64,
    cpg: OnceLock<Cpg>,
    queue: Mutex<Queue>,
}

impl<K> Group<K> {
    pub(super) const fn new(key: K, name: GroupName, rank: u64) -> Self {
        let queue = Queue {
            stage: Stage::New,
            requests: VecDeque::new(),
            waiting: 0,
            leave_asked: false,
            retry: Retry(None),
            on_their_way: 0,
        };
        Self { key, name, rank, cpg: OnceLock::new(), queue: Mutex::new(queue) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Multicast, at once if that cannot block. Requests that wait may count `limit` bytes.
    pub(super) fn send(&self, bytes: Vec<u8>, limit: usize) -> Asked {
        let mut queue = self.queue();
        if queue.leave_asked {
            return Asked::Refused;
        }
        let direct = queue.stage == Stage::Joined
            && queue.requests.is_empty()
            && queue.on_their_way < DIRECT_MAX
            && bytes.len() <= DIRECT_BYTES_MAX;
        // A failure is the thread's to deal with, which will meet it again.
        if direct && self.cpg().is_some_and(|cpg| cpg.send(&bytes).is_ok()) {
            queue.on_their_way = queue.on_their_way.saturating_add(1);
            return Asked::Taken;
        }
        queue.push(cost(bytes.len()), Request::Send(bytes), limit)
    }

    /// Leave; refused where that was asked for already.
    pub(super) fn leave(&self, limit: usize) -> Asked {
        let mut queue = self.queue();
        if std::mem::replace(&mut queue.leave_asked, true) {
            return Asked::Refused;
        }
        queue.push(cost(0), Request::Leave, limit)
    }

    pub(super) fn leave_asked(&self) -> bool {
        self.queue().leave_asked
    }

    pub(super) fn is_new(&self) -> bool {
        self.queue().stage == Stage::New
    }

    /// Corosync has taken the join.
    pub(super) fn has_joined(&self) -> bool {
        matches!(self.queue().stage, Stage::Joined | Stage::Left)
    }

    /// Corosync has taken everything.
    pub(super) fn is_settled(&self) -> bool {
        self.queue().requests.is_empty()
    }

    /// The connection, if there is one.
    pub(super) fn cpg(&self) -> Option<&Cpg> {
        self.cpg.get()
    }

    /// An own message has come back.
    pub(super) fn came_back(&self) {
        let mut queue = self.queue();
        queue.on_their_way = queue.on_their_way.saturating_sub(1);
    }

    /// When [`Group::step`] has something to do: `None` never, else not before this.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let queue = self.queue();
        let busy = match queue.stage {
            Stage::New | Stage::Connected => true,
            Stage::Joined => !queue.requests.is_empty(),
            Stage::Left => false,
        };
        busy.then(|| queue.retry.at().unwrap_or(now))
    }

    /// The thread's next call, if it is time. An error means that the connection is lost. `spare` is taken where a
    /// connection is wanted.
    pub(super) fn step(&self, now: Instant, spare: &mut Spare) -> Result<Step> {
        let stage = {
            let queue = self.queue();
            if !queue.retry.is_due(now) {
                return Ok(Step::Rest);
            }
            queue.stage
        };
        match (stage, self.cpg()) {
            (Stage::New, _) => match spare.take(now) {
                Ok(cpg) => {
                    // The thread alone sets it, once.
                    let _only_one = self.cpg.set(cpg);
                    Ok(self.went(Stage::Connected, Step::Connected))
                }
                Err(error) => self.join_refused(error, now),
            },
            (Stage::Connected, Some(cpg)) => match cpg.join(&self.name) {
                Ok(()) => Ok(self.went(Stage::Joined, Step::Joined)),
                Err(error) => self.join_refused(error, now),
            },
            (Stage::Joined, Some(cpg)) => self.request(cpg, now),
            (Stage::Left, _) | (Stage::Connected | Stage::Joined, None) => Ok(Step::Rest),
        }
    }

    fn went(&self, stage: Stage, step: Step) -> Step {
        let mut queue = self.queue();
        queue.stage = stage;
        queue.retry.reset();
        step
    }

    fn join_refused(&self, error: Error, now: Instant) -> Result<Step> {
        if error.is_try_again() {
            self.queue().retry.postpone(now, MEMBERSHIP_PAUSE);
            Ok(Step::Again)
        } else if error.is_connection_loss() {
            Err(error)
        } else {
            Ok(Step::JoinFailed(error))
        }
    }

    /// The request at the head. It keeps its place meanwhile, so that nobody sends past it; the lock is not held, so that
    /// nobody waits for a call that blocks.
    fn request(&self, cpg: &Cpg, now: Instant) -> Result<Step> {
        let bytes = match self.queue().requests.front_mut() {
            None => return Ok(Step::Rest),
            Some(Request::Send(bytes)) => Some(std::mem::take(bytes)),
            Some(Request::Leave) => None,
        };
        let (answer, pause) = match &bytes {
            Some(bytes) => (cpg.send(bytes), SEND_PAUSE),
            None => (cpg.leave(&self.name), MEMBERSHIP_PAUSE),
        };
        let mut queue = self.queue();
        match (answer, bytes) {
            (Ok(()), sent) => {
                queue.retry.reset();
                queue.requests.pop_front();
                let length = sent.as_ref().map_or(0, Vec::len);
                queue.waiting = queue.waiting.saturating_sub(cost(length));
                match sent {
                    Some(_) => queue.on_their_way = queue.on_their_way.saturating_add(1),
                    None => queue.stage = Stage::Left,
                }
                Ok(Step::Taken)
            }
            (Err(error), unsent) if error.is_try_again() => {
                if let (Some(Request::Send(bytes)), Some(unsent)) =
                    (queue.requests.front_mut(), unsent)
                {
                    *bytes = unsent;
                }
                queue.retry.postpone(now, pause);
                Ok(Step::Again)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether a configuration change is the group's last: it names us as left after our leave.
    pub(super) fn is_last(&self, own: Process, left: &[(Process, Reason)]) -> bool {
        left.iter().any(|(process, _)| *process == own) && self.queue().stage == Stage::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_start_anew_after_success() {
        let now = Instant::now();
        let mut retry = Retry::default();
        assert!(retry.is_due(now));
        let mut pauses = Vec::new();
        for _ in 0..5 {
            retry.postpone(now, MEMBERSHIP_PAUSE);
            pauses.push(retry.at().map(|at| (at - now).as_millis()));
        }
        assert_eq!(pauses, [Some(10), Some(20), Some(40), Some(50), Some(50)]);
        assert!(!retry.is_due(now));
        retry.reset();
        retry.postpone(now, SEND_PAUSE);
        assert_eq!(retry.at(), Some(now + Duration::from_millis(1)));
    }

    #[test]
    fn nothing_is_queued_behind_a_leave() {
        let name = GroupName::new(b"g").expect("a name");
        let group = Group::new(1, name, 0);
        assert_eq!(group.send(vec![1], 1000), Asked::Queued);
        assert_eq!(group.leave(1000), Asked::Queued);
        assert_eq!(group.leave(1000), Asked::Refused);
        assert_eq!(group.send(vec![2], 1000), Asked::Refused);
        assert_eq!(group.queue().requests.len(), 2);
    }
}
