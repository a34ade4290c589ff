//! The thread's loop: take requests, do what is due, wait, read one event, in order of rank.

use super::group::{Member, Spare, Step};
use super::inbox::{Command, Shared, cost};
use super::services::{CfgRequest, CfgStep, ServiceState, cfg_lost};
use super::{Connection, Event, Key, Loss, Services, already_joined};
use crate::cpg::{CpgEvent, GroupName};
use crate::error::{Error, Result};
use crate::types::Dispatch;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::SigSet;
use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Requests that one group may do before others and the reading have their turn.
const STEPS_IN_A_TURN: usize = 16;
/// Answers that did not fit into the channel; so many at once are as good as nobody reading.
const BACKLOG_MAX: usize = 1024;

type Lost<K> = (Connection<K>, Loss);

/// A connection to read from, in the order of rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Quorum,
    Cfg,
    Group(usize),
}

/// A connection that poll has something to say about.
#[derive(Clone, Copy, Debug)]
struct Ready {
    source: Source,
    hung_up: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// Only what waits is still done.
    Ending,
}

#[derive(Debug)]
pub(super) struct Worker<K: Key> {
    shared: Arc<Shared<K>>,
    services: ServiceState,
    /// By rank.
    groups: Vec<Member<K>>,
    spare: Spare,
    events: mpsc::Sender<Event<K>>,
    /// Events that wait for room in the channel; nothing is read from corosync meanwhile.
    backlog: VecDeque<Event<K>>,
    mode: Mode,
}

impl<K: Key> Worker<K> {
    pub(super) fn new(
        shared: Arc<Shared<K>>,
        services: Services,
        events: mpsc::Sender<Event<K>>,
    ) -> Result<Self> {
        Ok(Self {
            shared,
            services: ServiceState::new(services)?,
            groups: Vec::new(),
            spare: Spare::new(Instant::now()),
            events,
            backlog: VecDeque::new(),
            mode: Mode::Serving,
        })
    }

    /// The whole life of the thread.
    pub(super) fn run(mut self) {
        // Signals are for the program's own threads. Should this fail, poll's EINTR is dealt with below.
        let _unblocked = SigSet::all().thread_block();
        let last = self.serve().err().map(|(connection, loss)| Event::Lost { connection, loss });
        let Self { shared, services, groups, spare, events, backlog, mode: _ } = self;
        // Whoever hears of the end may rely on it that the connections are closed.
        drop(groups);
        drop(spare);
        drop(services);
        for event in backlog {
            shared.event_given(&event);
            if events.try_send(event).is_err() {
                break;
            }
        }
        shared.leave_last_words(last);
    }

    fn serve(&mut self) -> std::result::Result<(), Lost<K>> {
        loop {
            let found = self.shared.look();
            if let Some(connection) = found.overflow {
                return Err((connection, self.shared.overflow()));
            }
            for command in found.commands {
                self.take(command);
            }
            self.do_requests()?;
            if self.mode == Mode::Ending && self.is_settled() {
                return Ok(());
            }
            self.empty_backlog()?;
            match self.wait()? {
                Some(ready) => self.read(ready)?,
                None if self.mode == Mode::Serving && self.is_idle() => {
                    self.spare.make(Instant::now());
                }
                None => {}
            }
        }
    }

    /// It was the time that ended the wait, not a request.
    fn is_idle(&self) -> bool {
        let mut wake = [PollFd::new(self.shared.wake_fd(), PollFlags::POLLIN)];
        poll(&mut wake, PollTimeout::ZERO) == Ok(0)
    }

    fn is_settled(&self) -> bool {
        self.services.is_settled() && self.groups.iter().all(Member::is_settled)
    }

    fn take(&mut self, command: Command<K>) {
        match command {
            Command::Join { key, name } => self.join(key, name),
            Command::Leave { key } => {
                if !self.member(&key).is_some_and(Member::leave) {
                    self.shared.release(Some(&key), 0);
                }
            }
            Command::Send { key, bytes } => {
                let length = bytes.len();
                if !self.member(&key).is_some_and(|member| member.send(bytes)) {
                    self.shared.release(Some(&key), length);
                }
            }
            Command::Kill { node, reason } => {
                self.services.push(CfgRequest::Kill { node, reason });
            }
            Command::AnswerShutdown(answer) => self.services.push(CfgRequest::Answer(answer)),
            Command::Addresses { node } => self.services.push(CfgRequest::Addresses { node }),
            Command::End { leave } => self.end(&leave),
        }
    }

    fn end(&mut self, leave: &[K]) {
        // What nobody has seen join need not leave, and what waits for it goes nowhere.
        self.groups.retain(Member::has_joined);
        for key in leave {
            if let Some(member) = self.member(key) {
                let _asked_already = member.leave();
            }
        }
        self.mode = Mode::Ending;
    }

    fn join(&mut self, key: K, name: GroupName) {
        self.shared.release(Some(&key), 0);
        if self.member(&key).is_some_and(|member| !member.leave_asked()) {
            let error = already_joined(&key);
            self.backlog.push_back(Event::JoinFailed { key, error });
        } else {
            self.groups.push(Member::new(key, name));
        }
    }

    /// The group of a key; the newest, where an older one is still leaving.
    fn member(&mut self, key: &K) -> Option<&mut Member<K>> {
        self.groups.iter_mut().rev().find(|member| member.key == *key)
    }

    /// Whether an older group of the same name is still leaving: corosync would refuse the join.
    fn must_wait(&self, at: usize) -> bool {
        let is_same = |member: &Member<K>| {
            self.groups.get(at).is_some_and(|new| new.is_new() && new.name == member.name)
        };
        self.groups.iter().take(at).any(is_same)
    }

    /// Give every queue a turn.
    fn do_requests(&mut self) -> std::result::Result<(), Lost<K>> {
        let now = Instant::now();
        for _ in 0..STEPS_IN_A_TURN {
            match self.services.step(now).map_err(cfg_lost)? {
                CfgStep::Rest => break,
                CfgStep::Taken(event) => {
                    self.shared.release(None, 0);
                    self.backlog.extend(event);
                }
            }
        }
        let mut at = 0;
        while at < self.groups.len() {
            if self.must_wait(at) || self.do_group_requests(at, now)? {
                at += 1;
            }
        }
        Ok(())
    }

    /// `false` where the group is gone.
    fn do_group_requests(&mut self, at: usize, now: Instant) -> std::result::Result<bool, Lost<K>> {
        for _ in 0..STEPS_IN_A_TURN {
            let Some(member) = self.groups.get_mut(at) else { return Ok(false) };
            match member.step(now, &mut self.spare) {
                Ok(Step::Rest) => break,
                Ok(Step::Went) => {}
                Ok(Step::Taken(bytes)) => self.shared.release(Some(&member.key), bytes),
                Ok(Step::JoinFailed(error)) => {
                    let key = member.key.clone();
                    self.remove_group(at);
                    self.backlog.push_back(Event::JoinFailed { key, error });
                    return Ok(false);
                }
                Err(error) => {
                    return Err((Connection::Group(member.key.clone()), Loss::Failed(error)));
                }
            }
        }
        Ok(true)
    }

    fn remove_group(&mut self, at: usize) {
        let member = self.groups.remove(at);
        for bytes in member.unsent() {
            self.shared.release(Some(&member.key), bytes);
        }
    }

    /// Put what waits into the channel as far as it fits.
    fn empty_backlog(&mut self) -> std::result::Result<(), Lost<K>> {
        while let Some(event) = self.backlog.pop_front() {
            if !self.has_room() {
                self.backlog.push_front(event);
                break;
            }
            self.shared.event_given(&event);
            if self.events.try_send(event).is_err() {
                // Nobody reads any more, and nobody misses it.
                break;
            }
        }
        if self.backlog.len() > BACKLOG_MAX {
            return Err((Connection::Cfg, self.shared.overflow()));
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.shared.has_room(|| self.events.capacity() > 0)
    }

    /// Wait for a request, a time or an event. The answer is the event to read.
    fn wait(&self) -> std::result::Result<Option<Ready>, Lost<K>> {
        let reading = self.mode == Mode::Serving && self.backlog.is_empty() && self.has_room();
        let sources = if reading { self.sources() } else { Vec::new() };
        let timeout = self.timeout(Instant::now());
        let found = poll_sources(Some(self.shared.wake_fd()), &sources, timeout);
        let Some(mut ready) = found.map_err(cfg_lost)? else { return Ok(None) };
        // Corosync may have served a group of a higher rank, and then this one, while poll went along the list: the
        // higher ones were empty when poll came by. Asked again after this one was seen to have something, they show
        // all that is older.
        while let Some(at) = sources.iter().position(|(source, _)| *source == ready.source) {
            let higher = sources.get(..at).unwrap_or_default();
            match poll_sources(None, higher, PollTimeout::ZERO).map_err(cfg_lost)? {
                Some(better) => ready = better,
                None => break,
            }
        }
        Ok(Some(ready))
    }

    fn sources(&self) -> Vec<(Source, BorrowedFd<'_>)> {
        let services = [
            (Source::Quorum, self.services.quorum.as_fd()),
            (Source::Cfg, self.services.cfg.as_fd()),
        ];
        let groups =
            self.groups.iter().enumerate().filter_map(|(at, member)| {
                member.cpg().map(|cpg| (Source::Group(at), cpg.as_fd()))
            });
        services.into_iter().chain(groups).collect()
    }

    /// Until the next request can be done.
    fn timeout(&self, now: Instant) -> PollTimeout {
        let groups = self.groups.iter().enumerate().filter(|(at, _)| !self.must_wait(*at));
        let due = groups
            .filter_map(|(_, member)| member.due(now))
            .chain(self.services.due(now))
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

    fn read(&mut self, ready: Ready) -> std::result::Result<(), Lost<K>> {
        let (connection, found) = match ready.source {
            Source::Quorum => (Connection::Quorum, self.services.dispatch_quorum()),
            Source::Cfg => (Connection::Cfg, self.services.dispatch_cfg()),
            Source::Group(at) => {
                let Some(member) = self.groups.get(at) else { return Ok(()) };
                (Connection::Group(member.key.clone()), self.read_group(at))
            }
        };
        match found {
            Ok(Some(events)) => {
                self.backlog.extend(events);
                self.empty_backlog()
            }
            Ok(None) if ready.hung_up => Err((connection, Loss::HangUp)),
            Ok(None) => Ok(()),
            Err(error) => Err((connection, Loss::Failed(error))),
        }
    }

    fn read_group(&mut self, at: usize) -> Result<Option<Vec<Event<K>>>> {
        let Some((member, cpg)) = self.groups.get(at).and_then(|m| Some((m, m.cpg()?))) else {
            return Ok(None);
        };
        let found = match cpg.dispatch_one()? {
            Dispatch::Idle => return Ok(None),
            Dispatch::Events(found) => found,
        };
        let own = self.services.own;
        let is_over = found.iter().any(|event| match event {
            CpgEvent::Confchg { left, .. } => member.is_last(own, left),
            CpgEvent::Ring { .. } | CpgEvent::Message { .. } => false,
        });
        let events = found.into_iter().map(|event| translate(&member.key, event)).collect();
        if is_over {
            self.remove_group(at);
        }
        Ok(Some(events))
    }
}

fn translate<K: Key>(key: &K, event: CpgEvent) -> Event<K> {
    let key = key.clone();
    match event {
        CpgEvent::Confchg { members, joined, left } => {
            Event::Confchg { key, members, joined, left }
        }
        CpgEvent::Ring { ring, members } => Event::Ring { key, ring, members },
        CpgEvent::Message { from, bytes } => Event::Message { key, from, bytes },
    }
}

/// The first of the sources that has something, or has hung up.
fn poll_sources(
    wake: Option<BorrowedFd<'_>>,
    sources: &[(Source, BorrowedFd<'_>)],
    timeout: PollTimeout,
) -> Result<Option<Ready>> {
    let mut fds: Vec<PollFd<'_>> =
        sources.iter().map(|(_, fd)| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    fds.extend(wake.map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
    match poll(&mut fds, timeout) {
        Ok(_) => {}
        Err(Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(Error::System { call: "poll", errno }),
    }
    Ok(sources.iter().zip(&fds).find_map(|((source, _), fd)| {
        let found = fd.revents().unwrap_or(PollFlags::POLLERR);
        let hang_up = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        (!found.is_empty()).then(|| Ready { source: *source, hung_up: found.intersects(hang_up) })
    }))
}

const _: () = assert!(cost(0) > 0, "requests without bytes count too");
