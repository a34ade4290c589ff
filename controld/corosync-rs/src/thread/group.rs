//! One group: connect, join, send in order, leave.
//!
//! States: `New` (no connection), `Connected`, `Joined`, `Left` (the leave is on its way; its configuration change is
//! the last event). One step does one call. A call that meets `CS_ERR_TRY_AGAIN` stays at the head and sets a pause.

use crate::cpg::{Cpg, GroupName, Process, Reason};
use crate::error::{Error, Result};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

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

#[derive(Debug)]
enum State {
    New,
    Connected(Cpg),
    Joined(Cpg),
    Left(Cpg),
}

#[derive(Debug)]
enum Request {
    Send(Vec<u8>),
    Leave,
}

/// What a step has done.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing is to be done, or not yet.
    Rest,
    /// Connected or joined.
    Went,
    /// A request with so many bytes was taken by corosync.
    Taken(usize),
    /// The group cannot be joined.
    JoinFailed(Error),
}

#[derive(Debug)]
pub(super) struct Member<K> {
    pub(super) key: K,
    pub(super) name: GroupName,
    state: State,
    requests: VecDeque<Request>,
    leave_asked: bool,
    retry: Retry,
}

impl<K> Member<K> {
    pub(super) const fn new(key: K, name: GroupName) -> Self {
        Self {
            key,
            name,
            state: State::New,
            requests: VecDeque::new(),
            leave_asked: false,
            retry: Retry(None),
        }
    }

    /// After a leave nothing more goes into the group; `false` says that the bytes were not queued.
    #[must_use]
    pub(super) fn send(&mut self, bytes: Vec<u8>) -> bool {
        if !self.leave_asked {
            self.requests.push_back(Request::Send(bytes));
        }
        !self.leave_asked
    }

    /// `false` where the leave was asked for already.
    #[must_use]
    pub(super) fn leave(&mut self) -> bool {
        let first = !self.leave_asked;
        if first {
            self.leave_asked = true;
            self.requests.push_back(Request::Leave);
        }
        first
    }

    pub(super) const fn leave_asked(&self) -> bool {
        self.leave_asked
    }

    pub(super) const fn is_new(&self) -> bool {
        matches!(self.state, State::New)
    }

    /// Corosync has taken the join.
    pub(super) const fn has_joined(&self) -> bool {
        matches!(self.state, State::Joined(_) | State::Left(_))
    }

    /// Corosync has taken everything.
    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    /// The connection, if there is one.
    pub(super) const fn cpg(&self) -> Option<&Cpg> {
        match &self.state {
            State::New => None,
            State::Connected(cpg) | State::Joined(cpg) | State::Left(cpg) => Some(cpg),
        }
    }

    /// When [`Member::step`] has something to do: `None` never, else not before this.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let busy = match self.state {
            State::New | State::Connected(_) => true,
            State::Joined(_) => !self.requests.is_empty(),
            State::Left(_) => false,
        };
        busy.then(|| self.retry.at().unwrap_or(now))
    }

    /// Do the next call, if it is time. An error means that the connection is lost. `spare` is taken where a connection is
    /// wanted.
    pub(super) fn step(&mut self, now: Instant, spare: &mut Spare) -> Result<Step> {
        if !self.retry.is_due(now) {
            return Ok(Step::Rest);
        }
        match std::mem::replace(&mut self.state, State::New) {
            State::New => match spare.take(now) {
                Ok(cpg) => Ok(self.went(State::Connected(cpg))),
                Err(error) => self.join_refused(State::New, error, now),
            },
            State::Connected(cpg) => match cpg.join(&self.name) {
                Ok(()) => Ok(self.went(State::Joined(cpg))),
                Err(error) => self.join_refused(State::Connected(cpg), error, now),
            },
            State::Joined(cpg) => self.request(cpg, now),
            State::Left(cpg) => {
                self.state = State::Left(cpg);
                Ok(Step::Rest)
            }
        }
    }

    fn went(&mut self, state: State) -> Step {
        self.state = state;
        self.retry.reset();
        Step::Went
    }

    fn join_refused(&mut self, state: State, error: Error, now: Instant) -> Result<Step> {
        self.state = state;
        if error.is_try_again() {
            self.retry.postpone(now, MEMBERSHIP_PAUSE);
            Ok(Step::Rest)
        } else if error.is_connection_loss() {
            Err(error)
        } else {
            Ok(Step::JoinFailed(error))
        }
    }

    fn request(&mut self, cpg: Cpg, now: Instant) -> Result<Step> {
        let (answer, pause, bytes) = match self.requests.front() {
            None => {
                self.state = State::Joined(cpg);
                return Ok(Step::Rest);
            }
            Some(Request::Send(bytes)) => (cpg.send(bytes), SEND_PAUSE, bytes.len()),
            Some(Request::Leave) => (cpg.leave(&self.name), MEMBERSHIP_PAUSE, 0),
        };
        match answer {
            Err(error) if error.is_try_again() => {
                self.retry.postpone(now, pause);
                self.state = State::Joined(cpg);
                Ok(Step::Rest)
            }
            Err(error) => Err(error),
            Ok(()) => {
                self.retry.reset();
                self.state = match self.requests.pop_front() {
                    Some(Request::Leave) => State::Left(cpg),
                    Some(Request::Send(_)) | None => State::Joined(cpg),
                };
                Ok(Step::Taken(bytes))
            }
        }
    }

    /// Whether a configuration change is the group's last: it names us as left after our leave.
    pub(super) fn is_last(&self, own: Process, left: &[(Process, Reason)]) -> bool {
        matches!(self.state, State::Left(_)) && left.iter().any(|(process, _)| *process == own)
    }

    /// Bytes of each request that will not be done any more.
    pub(super) fn unsent(&self) -> impl Iterator<Item = usize> {
        self.requests.iter().map(|request| match request {
            Request::Send(bytes) => bytes.len(),
            Request::Leave => 0,
        })
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
        let mut member = Member::new(1, name);
        assert!(member.send(vec![1]));
        assert!(member.leave());
        assert!(!member.leave());
        assert!(!member.send(vec![2]));
        assert_eq!(member.unsent().collect::<Vec<_>>(), [1, 0]);
    }
}
