//! One group: connect, join, send in order, leave.
//!
//! Stages: `New` (no connection), `Connected`, `Joined`, `Left` (the leave is being asked for, or on its way; its
//! configuration change is the last event). The thread goes from stage to stage; one step does one call. A call that meets `CS_ERR_TRY_AGAIN`
//! stays at the head and sets a pause.
//!
//! Messages go straight to corosync from whoever sends them, as long as nothing waits in the queue and corosync has taken
//! what was sent before: libcpg's call blocks, without a limit, only where corosync leaves many requests lying. All else
//! is the thread's, which may block. Of one connection's request side there is one user at a time: the sender under the
//! lock while the queue is empty, the thread while it is not.

use super::Backlog;
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
    /// Since when there is one; kept for people.
    since: Option<Instant>,
    leave_asked: bool,
    retry: Retry,
    /// Own messages that corosync has taken and that have not come back.
    on_their_way: usize,
}

impl Queue {
    /// Whether a message may go to corosync past the thread: behind all others, and without blocking.
    fn goes_straight(&self, length: usize) -> bool {
        self.stage == Stage::Joined
            && self.requests.is_empty()
            && self.on_their_way < DIRECT_MAX
            && length <= DIRECT_BYTES_MAX
    }

    /// The request at the head, for the thread to do. It keeps its place meanwhile, so that nobody sends past it.
    fn begin(&mut self) -> Option<Request> {
        Some(match self.requests.front_mut()? {
            Request::Send(bytes) => {
                // Before it is sent: it may come back before the call does.
                self.on_their_way = self.on_their_way.saturating_add(1);
                Request::Send(std::mem::take(bytes))
            }
            Request::Leave => {
                // As early: its configuration change may be read before.
                self.stage = Stage::Left;
                Request::Leave
            }
        })
    }

    /// What corosync has answered to the request at the head.
    fn answered(&mut self, request: Request, answer: Result<()>, now: Instant) -> Result<Step> {
        let Err(error) = answer else {
            let length = if let Request::Send(bytes) = &request { bytes.len() } else { 0 };
            self.waiting = self.waiting.saturating_sub(cost(length));
            self.requests.pop_front();
            // The next one is waited for from now on: corosync takes something.
            self.since = self.requests.front().map(|_| now);
            self.retry.reset();
            return Ok(Step::Taken);
        };
        let pause = match request {
            Request::Send(_) => {
                self.on_their_way = self.on_their_way.saturating_sub(1);
                SEND_PAUSE
            }
            Request::Leave => {
                self.stage = Stage::Joined;
                MEMBERSHIP_PAUSE
            }
        };
        if !error.is_try_again() {
            return Err(error);
        }
        if let Some(head) = self.requests.front_mut() {
            *head = request;
        }
        self.retry.postpone(now, pause);
        Ok(Step::Again)
    }

    fn push(&mut self, cost: usize, request: Request, limit: usize) -> Asked {
        let waiting = self.waiting.saturating_add(cost);
        if waiting > limit {
            return Asked::Overflow;
        }
        self.waiting = waiting;
        self.since = self.since.or_else(|| Some(Instant::now()));
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
    /// When its join was asked for.
    made: Instant,
    cpg: OnceLock<Cpg>,
    queue: Mutex<Queue>,
}

impl<K> Group<K> {
    pub(super) fn new(key: K, name: GroupName, rank: u64) -> Self {
        let queue = Queue {
            stage: Stage::New,
            requests: VecDeque::new(),
            waiting: 0,
            since: None,
            leave_asked: false,
            retry: Retry(None),
            on_their_way: 0,
        };
        Self {
            key,
            name,
            rank,
            made: Instant::now(),
            cpg: OnceLock::new(),
            queue: Mutex::new(queue),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Multicast, at once if that cannot block. Requests that wait may count `limit` bytes.
    pub(super) fn send(&self, bytes: Vec<u8>, limit: usize) -> Asked {
        self.send_by(|bytes| self.cpg().map(|cpg| cpg.send(bytes)), bytes, limit)
    }

    fn send_by(
        &self,
        send: impl FnOnce(&[u8]) -> Option<Result<()>>,
        bytes: Vec<u8>,
        limit: usize,
    ) -> Asked {
        let mut queue = self.queue();
        if queue.leave_asked {
            return Asked::Refused;
        }
        // A failure is the thread's to deal with, which will meet it again.
        if queue.goes_straight(bytes.len()) && matches!(send(&bytes), Some(Ok(()))) {
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

    /// How many requests corosync has not taken, and since when it has taken none; a join that it has not taken counts.
    pub(super) fn backlog(&self) -> Option<Backlog> {
        let queue = self.queue();
        let joining = matches!(queue.stage, Stage::New | Stage::Connected);
        let requests = queue.requests.len().saturating_add(usize::from(joining));
        let since = if joining { Some(self.made) } else { queue.since };
        since.filter(|_| requests > 0).map(|since| Backlog { requests, since })
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
            (Stage::Joined, Some(cpg)) => self.request(now, |request| match request {
                Request::Send(bytes) => cpg.send(bytes),
                Request::Leave => cpg.leave(&self.name),
            }),
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

    /// The request at the head. The lock is not held meanwhile, so that nobody waits for a call that blocks.
    fn request(&self, now: Instant, call: impl FnOnce(&Request) -> Result<()>) -> Result<Step> {
        let Some(request) = self.queue().begin() else { return Ok(Step::Rest) };
        let answer = call(&request);
        self.queue().answered(request, answer, now)
    }

    /// Whether a configuration change is the group's last: it names us as left after our leave.
    pub(super) fn is_last(&self, own: Process, left: &[(Process, Reason)]) -> bool {
        left.iter().any(|(process, _)| *process == own) && self.queue().stage == Stage::Left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

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

    fn joined() -> Group<u32> {
        let group = Group::new(1, GroupName::new(b"g").expect("a name"), 0);
        group.went(Stage::Joined, Step::Joined);
        group
    }

    fn send(group: &Group<u32>, number: u8, answer: Result<()>) -> Asked {
        group.send_by(|_| Some(answer), vec![number], 1000)
    }

    const fn refusal(code: Code) -> Result<()> {
        Err(Error::Call { call: "cpg_mcast_joined", about: String::new(), code })
    }

    /// The thread's next call: what it asks for, and what came of it.
    fn thread(group: &Group<u32>, answer: Result<()>) -> (Option<Vec<u8>>, Result<Step>) {
        let mut asked = None;
        let step = group.request(Instant::now(), |request| {
            asked = Some(match request {
                Request::Send(bytes) => bytes.clone(),
                Request::Leave => Vec::new(),
            });
            answer
        });
        (asked, step)
    }

    #[test]
    fn no_message_goes_past_one_that_waits() {
        let group = joined();
        assert_eq!(send(&group, 1, Ok(())), Asked::Taken);
        assert_eq!(send(&group, 2, refusal(Code::TRY_AGAIN)), Asked::Queued);
        let mut called = false;
        let mut behind = |number| {
            group.send_by(
                |_| {
                    called = true;
                    Some(Ok(()))
                },
                vec![number],
                1000,
            )
        };
        assert_eq!(behind(3), Asked::Queued);
        let (asked, step) = thread(&group, refusal(Code::TRY_AGAIN));
        assert!(matches!((asked.as_deref(), step), (Some([2]), Ok(Step::Again))));
        // Nor past one that the thread is just sending.
        let step = group.request(Instant::now(), |request| {
            assert!(matches!(request, Request::Send(bytes) if *bytes == [2]), "{request:?}");
            assert_eq!(behind(4), Asked::Queued);
            Ok(())
        });
        assert!(matches!(step, Ok(Step::Taken)));
        for number in [3, 4] {
            let (asked, step) = thread(&group, Ok(()));
            assert_eq!(asked, Some(vec![number]));
            assert!(matches!(step, Ok(Step::Taken)));
        }
        assert!(!called && group.is_settled());
        assert_eq!(group.queue().waiting, 0);
        assert_eq!(send(&group, 5, Ok(())), Asked::Taken);
    }

    #[test]
    fn what_fails_for_good_is_told_by_the_thread_that_meets_it_again() {
        let group = joined();
        assert_eq!(send(&group, 1, refusal(Code::LIBRARY)), Asked::Queued);
        let (asked, step) = thread(&group, refusal(Code::LIBRARY));
        assert_eq!(asked, Some(vec![1]));
        assert!(step.is_err_and(|error| error.is_connection_loss()));
    }

    #[test]
    fn corosync_is_given_no_more_than_it_takes_without_blocking() {
        let group = joined();
        for _ in 0..DIRECT_MAX {
            assert_eq!(send(&group, 1, Ok(())), Asked::Taken);
        }
        assert_eq!(send(&group, 2, Ok(())), Asked::Queued);
        // Its message comes back before the thread's call does: it is counted all the same.
        let step = group.request(Instant::now(), |_| {
            (0..=DIRECT_MAX).for_each(|_| group.came_back());
            Ok(())
        });
        assert!(matches!(step, Ok(Step::Taken)));
        assert_eq!(group.queue().on_their_way, 0);
        let long = vec![0; DIRECT_BYTES_MAX + 1];
        assert_eq!(group.send_by(|_| Some(Ok(())), long, 1 << 20), Asked::Queued);
        let (_, step) = thread(&group, refusal(Code::TRY_AGAIN));
        assert!(matches!(step, Ok(Step::Again)));
        assert_eq!(group.queue().on_their_way, 0);
    }

    #[test]
    fn the_last_event_is_known_though_it_is_read_before_the_call_for_it_is_over() {
        let group = joined();
        let own = Process { node: 1, pid: 2 };
        let left = [(own, Reason::Leave)];
        assert_eq!(group.leave(1000), Asked::Queued);
        assert!(!group.is_last(own, &left));
        let ask = |answer| {
            group.request(Instant::now(), |_| {
                assert!(group.is_last(own, &left));
                answer
            })
        };
        assert!(matches!(ask(refusal(Code::TRY_AGAIN)), Ok(Step::Again)));
        assert!(!group.is_last(own, &left) && group.due(Instant::now()).is_some());
        assert!(matches!(ask(Ok(())), Ok(Step::Taken)));
        assert!(group.is_last(own, &left) && group.is_settled());
        assert!(!group.is_last(Process { node: 2, ..own }, &left));
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

    #[test]
    fn what_corosync_has_not_taken_is_a_backlog_since_the_join_was_asked_for() {
        let before = Instant::now();
        let group = Group::new(1, GroupName::new(b"g").expect("a name"), 0);
        let backlog = group.backlog().expect("the join");
        assert_eq!(backlog.requests, 1);
        assert!((before..=Instant::now()).contains(&backlog.since));
        assert_eq!(group.send(vec![1], 1000), Asked::Queued);
        assert_eq!(group.backlog(), Some(Backlog { requests: 2, ..backlog }));
        group.queue().stage = Stage::Joined;
        let sent = group.backlog().expect("a message");
        assert_eq!(sent.requests, 1);
        assert!(sent.since >= backlog.since);
        group.queue().requests.clear();
        assert_eq!(group.backlog(), None);
    }
}
