//! A lane: kernel writes in order, one at a time, retried a bounded number of times.
//!
//! A write can block for ever, so nothing here waits: the driver reports the end of each write as an event.

use crate::event::Token;
use crate::types::Instant;
use crate::waiting::{LaneState, LaneWait, WriteKind};
use alloc::collections::VecDeque;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// After so many failures a write is given up.
const ATTEMPTS_MAX: u32 = 6;

/// Pause before the first retry; each further one doubles it (0.1 s to 1.6 s, together 3.1 s).
const RETRY_PAUSE_MILLIS: u64 = 100;

/// The queue of one lane.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Queue<W> {
    waiting: VecDeque<W>,
    current: Option<Current<W>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Current<W> {
    write: W,
    failures: u32,
    /// What the kernel said last.
    error: String,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    /// With the driver.
    Running(Token),
    /// Not begun, or failed; to be handed out at this time.
    Pause(Instant),
}

/// What a completion means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finish<W> {
    /// Not this lane's token.
    Foreign,
    /// The write is done.
    Done(W),
    /// It failed and will be tried again.
    Retry(String),
    /// It failed for the last time.
    GaveUp(W, String),
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), current: None }
    }
}

impl<W: Clone> Queue<W> {
    /// Put a write behind the others.
    pub(crate) fn push(&mut self, write: W) {
        self.waiting.push_back(write);
    }

    /// Take back the writes that match and have not been handed out.
    pub(crate) fn cancel(&mut self, matches: impl Fn(&W) -> bool) -> VecDeque<W> {
        let (cancelled, kept) = core::mem::take(&mut self.waiting).into_iter().partition(matches);
        self.waiting = kept;
        cancelled
    }

    /// Nothing queued, nothing running.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.current.is_none()
    }

    /// The write that runs, or will be tried again.
    pub(crate) fn current(&self) -> Option<&W> {
        self.current.as_ref().map(|current| &current.write)
    }

    /// Every write that has not come to its end.
    pub(crate) fn outstanding(&self) -> impl Iterator<Item = &W> {
        self.current.iter().map(|current| &current.write).chain(&self.waiting)
    }

    /// Hand the next write to `issue` if there is one that may run now; `issue` answers with the token it got.
    pub(crate) fn pump(
        &mut self,
        now: Instant,
        ready: impl FnOnce(&W) -> bool,
        issue: impl FnOnce(&W) -> Token,
    ) {
        if self.current.is_none() {
            match self.waiting.front() {
                Some(write) if ready(write) => {}
                _ => return,
            }
            let Some(write) = self.waiting.pop_front() else { return };
            self.current = Some(Current {
                write,
                failures: 0,
                error: String::new(),
                state: State::Pause(now),
            });
        }
        if let Some(current) = &mut self.current {
            if matches!(current.state, State::Pause(until) if until <= now) {
                current.state = State::Running(issue(&current.write));
            }
        }
    }

    /// The write that the driver has.
    pub(crate) fn running(&self) -> Option<Token> {
        match self.current.as_ref()?.state {
            State::Running(token) => Some(token),
            State::Pause(_) => None,
        }
    }

    /// The token is of the write that runs now.
    pub(crate) fn owns(&self, token: Token) -> bool {
        self.running() == Some(token)
    }

    /// A completion has come.
    pub(crate) fn finish(
        &mut self,
        now: Instant,
        token: Token,
        result: Result<(), String>,
    ) -> Finish<W> {
        match self.current.take() {
            Some(current) if current.state == State::Running(token) => {
                self.conclude(now, current, result)
            }
            other => {
                self.current = other;
                Finish::Foreign
            }
        }
    }

    fn conclude(
        &mut self,
        now: Instant,
        mut current: Current<W>,
        result: Result<(), String>,
    ) -> Finish<W> {
        let Err(error) = result else { return Finish::Done(current.write) };
        current.failures = current.failures.saturating_add(1);
        if current.failures >= ATTEMPTS_MAX {
            return Finish::GaveUp(current.write, error);
        }
        let pause =
            RETRY_PAUSE_MILLIS.saturating_mul(1 << current.failures.saturating_sub(1).min(16));
        current.state = State::Pause(now.plus_millis(pause));
        current.error.clone_from(&error);
        self.current = Some(current);
        Finish::Retry(error)
    }

    /// How the first write gets on, its kind told by `kind`; `None`: the lane is empty.
    pub(crate) fn wait(&self, kind: impl Fn(&W) -> WriteKind) -> Option<LaneWait> {
        let queued = self.waiting.len();
        let Some(Current { write, failures, error, state }) = &self.current else {
            let write = kind(self.waiting.front()?);
            return Some(LaneWait {
                write,
                state: LaneState::Held,
                queued: queued.saturating_sub(1),
            });
        };
        let state = match state {
            State::Running(_) => LaneState::Running { failures: *failures },
            State::Pause(until) => {
                LaneState::Pause { until: *until, failures: *failures, error: error.clone() }
            }
        };
        Some(LaneWait { write: kind(write), state, queued })
    }

    /// When a paused write is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.current.as_ref()?.state {
            State::Pause(until) => Some(until),
            State::Running(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_run_one_at_a_time_and_are_given_up_after_a_bounded_time() {
        let mut queue = Queue::default();
        queue.push('a');
        queue.push('b');
        let mut now = Instant::from_nanos(0);
        for attempt in 1..=ATTEMPTS_MAX {
            let mut issued = None;
            queue.pump(
                now,
                |_| true,
                |write| {
                    issued = Some(*write);
                    Token(u64::from(attempt))
                },
            );
            assert_eq!(issued, Some('a'));
            let end = queue.finish(now, Token(u64::from(attempt)), Err("EIO".into()));
            if attempt < ATTEMPTS_MAX {
                assert_eq!(end, Finish::Retry("EIO".into()));
                now = queue.deadline().unwrap();
            } else {
                assert_eq!(end, Finish::GaveUp('a', "EIO".into()));
            }
        }
        assert_eq!(queue.finish(now, Token(1), Ok(())), Finish::Foreign);
        queue.pump(now, |_| true, |_| Token(9));
        assert_eq!(queue.finish(now, Token(9), Ok(())), Finish::Done('b'));
        assert!(queue.is_idle());
    }
}
