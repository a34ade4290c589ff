//! The thread's loop: do what was asked for, then wait for more, or for the time to try again.

use super::group::{Group, Spare, Step};
use super::inbox::{Command, Note, Shared};
use super::services::{CfgQueue, CfgRequest, CfgStep};
use super::{Connection, Event, Key, Loss};
use crate::cfg::Cfg;
use crate::error::Error;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests that one group may do before others have their turn.
const STEPS_IN_A_TURN: usize = 16;

type Lost<K> = (Connection<K>, Loss);

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// Only what waits is still done.
    Ending,
}

#[derive(Debug)]
pub(super) struct Worker<K: Key> {
    shared: Arc<Shared<K>>,
    cfg: CfgQueue,
    spare: Spare,
    mode: Mode,
}

impl<K: Key> Worker<K> {
    pub(super) fn new(shared: Arc<Shared<K>>, cfg: Arc<Cfg>) -> Self {
        let spare = Spare::new(Instant::now());
        Self { shared, cfg: CfgQueue::new(cfg), spare, mode: Mode::Serving }
    }

    /// The whole life of the thread.
    pub(super) fn run(mut self) {
        // Signals are for the program's own threads. Should this fail, poll's EINTR is dealt with below.
        let _unblocked = SigSet::all().thread_block();
        if let Err((connection, loss)) = self.serve() {
            self.shared.lose(connection, loss);
        }
        let Self { shared, cfg, spare, mode: _ } = self;
        drop(cfg);
        drop(spare);
        shared.thread_ended();
    }

    fn serve(&mut self) -> Result<(), Lost<K>> {
        while let Some(commands) = self.shared.look() {
            for command in commands {
                self.take(command);
            }
            let groups = self.shared.groups();
            self.do_requests(&groups)?;
            let is_settled = |group: &Arc<Group<K>>| group.is_settled();
            if self.mode == Mode::Ending && self.cfg.is_settled() && groups.iter().all(is_settled) {
                return Ok(());
            }
            if self.wait(&groups)? == Woken::ByTime && self.mode == Mode::Serving {
                self.spare.make(Instant::now());
            }
        }
        Ok(())
    }

    fn take(&mut self, command: Command<K>) {
        match command {
            Command::Kill { node, reason } => self.cfg.push(CfgRequest::Kill { node, reason }),
            Command::Answer(answer) => self.cfg.push(CfgRequest::Answer(answer)),
            Command::Addresses { node } => self.cfg.push(CfgRequest::Addresses { node }),
            Command::AddressesOf { nodes } => self.cfg.push(CfgRequest::AddressesOf { nodes }),
            Command::End { leave } => {
                self.shared.done();
                self.end(&leave);
            }
        }
    }

    fn end(&mut self, leave: &[K]) {
        // What nobody has seen join need not leave, and what waits for it goes nowhere.
        for group in self.shared.groups().iter().filter(|group| !group.has_joined()) {
            self.remove(group);
        }
        for key in leave {
            self.shared.leave(key);
        }
        self.mode = Mode::Ending;
    }

    fn remove(&self, group: &Arc<Group<K>>) {
        self.shared.remove(Arc::clone(group));
        self.shared.note(Note::Gone(Arc::clone(group)));
    }

    /// Give every queue a turn.
    fn do_requests(&mut self, groups: &[Arc<Group<K>>]) -> Result<(), Lost<K>> {
        let now = Instant::now();
        for _ in 0..STEPS_IN_A_TURN {
            match self.cfg.step(now).map_err(|error| (Connection::Cfg, Loss::Failed(error)))? {
                CfgStep::Rest => break,
                CfgStep::Taken(note) => {
                    self.shared.done();
                    note.into_iter().for_each(|note| self.shared.note(note));
                }
            }
        }
        for (at, group) in groups.iter().enumerate() {
            if !must_wait(groups.get(..at).unwrap_or_default(), group) {
                self.do_group_requests(group, now)
                    .map_err(|error| (Connection::Group(group.key.clone()), Loss::Failed(error)))?;
            }
        }
        Ok(())
    }

    fn do_group_requests(&mut self, group: &Arc<Group<K>>, now: Instant) -> Result<(), Error> {
        for _ in 0..STEPS_IN_A_TURN {
            match group.step(now, &mut self.spare)? {
                Step::Rest => break,
                Step::Again => {
                    self.shared.count_retry();
                    break;
                }
                // Before the join, so that the reader looks at it when the first event comes.
                Step::Connected => self.shared.note(Note::Connected(Arc::clone(group))),
                Step::Joined | Step::Taken => {}
                Step::JoinFailed(error) => {
                    self.remove(group);
                    let key = group.key.clone();
                    self.shared.note(Note::Event(Event::JoinFailed { key, error }));
                    break;
                }
            }
        }
        Ok(())
    }

    /// Wait for a request, or for a time.
    fn wait(&self, groups: &[Arc<Group<K>>]) -> Result<Woken, Lost<K>> {
        let mut fds = [PollFd::new(self.shared.wake_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, self.timeout(groups, Instant::now())) {
            Ok(0) => Ok(Woken::ByTime),
            Ok(_) | Err(Errno::EINTR) => Ok(Woken::ByRequest),
            Err(errno) => {
                let error = Error::System { call: "poll", errno };
                Err((Connection::Cfg, Loss::Failed(error)))
            }
        }
    }

    /// Until the next request can be done.
    fn timeout(&self, groups: &[Arc<Group<K>>], now: Instant) -> PollTimeout {
        let waits = |(at, group): (usize, &Arc<Group<K>>)| {
            let before = groups.get(..at).unwrap_or_default();
            if must_wait(before, group) { None } else { group.due(now) }
        };
        let due = groups
            .iter()
            .enumerate()
            .filter_map(waits)
            .chain(self.cfg.due(now))
            .chain(self.spare.due())
            .min();
        match due {
            None => PollTimeout::NONE,
            Some(at) => {
                // Rounded up: a wait that ends too early would spin.
                let pause = at.saturating_duration_since(now) + Duration::from_micros(999);
                PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)
            }
        }
    }
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    ByRequest,
    ByTime,
}

/// Whether an older group of the same name is still leaving: corosync would refuse the join.
fn must_wait<K>(before: &[Arc<Group<K>>], group: &Group<K>) -> bool {
    group.is_new() && before.iter().any(|other| other.name == group.name)
}
