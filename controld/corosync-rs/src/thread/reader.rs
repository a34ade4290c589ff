//! The reader: what corosync has to say, read in order of rank by whoever asks.
//!
//! The rank is: notes of the thread, quorum service, configuration service, groups in the order of their joins. Corosync
//! may serve a connection of a higher rank, and then the one that we see, while we look: so whatever is seen is looked
//! for again, and what the second look shows that ranks higher comes first. Seen before the second look, the lower one can
//! hide nothing older.

use super::addresses::Addresses;
use super::group::Group;
use super::inbox::{Command, Note, Shared};
use super::{Connection, Event, Key, Loss};
use crate::cfg::Cfg;
use crate::cpg::{CpgEvent, Process};
use crate::error::{Error, Result};
use crate::quorum::{Quorum, QuorumEvent};
use crate::types::{Dispatch, RingId};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

/// A connection to read from, in the order of rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Notes,
    Quorum,
    Cfg,
    /// By its rank.
    Group(u64),
}

impl Source {
    /// What the kernel keeps for us with the descriptor.
    const fn to_token(self) -> u64 {
        match self {
            Self::Notes => 0,
            Self::Quorum => 1,
            Self::Cfg => 2,
            Self::Group(rank) => rank.saturating_add(3),
        }
    }

    const fn from_token(token: u64) -> Self {
        match token {
            0 => Self::Notes,
            1 => Self::Quorum,
            2 => Self::Cfg,
            rank => Self::Group(rank.saturating_sub(3)),
        }
    }
}

/// A connection that has something, or has hung up.
#[derive(Clone, Copy, Debug)]
struct Ready {
    source: Source,
    hung_up: bool,
}

/// An event of the quorum service that waits for the addresses of new members; nothing is read meanwhile.
#[derive(Debug)]
struct Held {
    quorate: bool,
    ring: RingId,
    members: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct Reader<K: Key> {
    shared: Arc<Shared<K>>,
    /// All sources' descriptors.
    epoll: Epoll,
    quorum: Quorum,
    cfg: Arc<Cfg>,
    /// This process, as it appears in groups.
    own: Process,
    /// Those with a connection, by rank.
    groups: Vec<Arc<Group<K>>>,
    addresses: Addresses,
    held: Option<Held>,
    /// Of the quorum service, not looked at yet.
    notes_of_quorum: VecDeque<QuorumEvent>,
    /// Ready to be given.
    events: VecDeque<Event<K>>,
    /// The last event was given.
    over: bool,
    /// Room for a look at all sources.
    look: Vec<EpollEvent>,
}

impl<K: Key> Reader<K> {
    pub(super) fn new(
        shared: Arc<Shared<K>>,
        quorum: Quorum,
        cfg: Arc<Cfg>,
        own: Process,
    ) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(|errno| Error::System { call: "epoll_create1", errno })?;
        watch(&epoll, shared.reader_wake_fd(), Source::Notes)?;
        watch(&epoll, quorum.as_fd(), Source::Quorum)?;
        watch(&epoll, cfg.as_fd(), Source::Cfg)?;
        Ok(Self {
            shared,
            epoll,
            quorum,
            cfg,
            own,
            groups: Vec::new(),
            addresses: Addresses::default(),
            held: None,
            notes_of_quorum: VecDeque::new(),
            events: VecDeque::new(),
            over: false,
            look: vec![EpollEvent::empty(); SOURCES_WITHOUT_GROUPS],
        })
    }

    /// The last event was given.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    /// An event was read that was not given yet.
    pub(super) fn has_read_ahead(&self) -> bool {
        !self.events.is_empty()
    }

    /// The next event, if there is one.
    pub(super) fn next(&mut self, mut before: Before) -> Option<Event<K>> {
        while !self.over {
            if let Some(event) = self.events.pop_front() {
                if matches!(event, Event::Lost { .. }) {
                    self.end();
                }
                return Some(event);
            }
            if let Err((connection, loss)) = self.read(before) {
                self.shared.lose(connection, loss);
            } else if self.events.is_empty() {
                return None;
            }
            before = Before::Unknown;
        }
        None
    }

    fn end(&mut self) {
        self.over = true;
        for group in std::mem::take(&mut self.groups) {
            self.shared.remove(group);
        }
        self.events.clear();
    }

    /// Read until there is an event, or nothing more.
    fn read(&mut self, mut before: Before) -> std::result::Result<(), (Connection<K>, Loss)> {
        let failed = |connection| move |error| (connection, Loss::Failed(error));
        self.take_notes().map_err(failed(Connection::Cfg))?;
        while self.events.is_empty() && self.held.is_none() && !self.over {
            let ready = self.ready(before).map_err(failed(Connection::Cfg))?;
            let Some(ready) = ready else { break };
            before = Before::Unknown;
            let (connection, found) = match ready.source {
                Source::Notes => {
                    self.shared.reader_woken();
                    (Connection::Cfg, self.take_notes().map(|()| true))
                }
                Source::Quorum => (Connection::Quorum, self.read_quorum()),
                Source::Cfg => (Connection::Cfg, self.read_cfg()),
                Source::Group(rank) => {
                    let at = self.groups.binary_search_by_key(&rank, |group| group.rank);
                    // One that is forgotten is not watched.
                    let group = at.ok().and_then(|at| self.groups.get(at)).cloned();
                    let Some(group) = group else { break };
                    (Connection::Group(group.key.clone()), self.read_group(group))
                }
            };
            match found {
                Ok(false) if ready.hung_up => return Err((connection, Loss::HangUp)),
                Ok(_) => {}
                Err(error) => return Err((connection, Loss::Failed(error))),
            }
        }
        Ok(())
    }

    fn take_notes(&mut self) -> Result<()> {
        for note in self.shared.notes() {
            match note {
                Note::Connected(group) => {
                    if let Some(cpg) = group.cpg() {
                        watch(&self.epoll, cpg.as_fd(), Source::Group(group.rank))?;
                        let at = self.groups.partition_point(|other| other.rank < group.rank);
                        self.groups.insert(at, group);
                        self.look.push(EpollEvent::empty());
                        if self.held.is_some() {
                            self.listen(false)?;
                        }
                    }
                }
                Note::Gone(group) => self.forget(group),
                Note::Addresses(answers) => {
                    self.addresses.learn(answers);
                    if let Some(Held { quorate, ring, members }) = self.held.take() {
                        self.listen(true)?;
                        let addresses = self.addresses.known();
                        self.events.push_back(Event::Quorum { quorate, ring, members, addresses });
                    }
                    self.translate_quorum()?;
                }
                Note::Event(event) => self.events.push_back(event),
            }
        }
        // What was told before is given before the end.
        if self.events.is_empty() && self.shared.is_over() && !self.shared.has_notes() {
            self.end();
        }
        Ok(())
    }

    /// The highest of the sources that have something.
    fn ready(&mut self, before: Before) -> Result<Option<Ready>> {
        highest(before, || {
            let count = loop {
                match self.epoll.wait(&mut self.look, EpollTimeout::ZERO) {
                    Ok(count) => break count,
                    Err(Errno::EINTR) => {}
                    Err(errno) => return Err(Error::System { call: "epoll_wait", errno }),
                }
            };
            let ready = |event: &EpollEvent| Ready {
                source: Source::from_token(event.data()),
                hung_up: event.events().intersects(EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR),
            };
            let best = self.look.iter().take(count).map(ready).min_by_key(|ready| ready.source);
            Ok(best.map(|best| (best, count == 1)))
        })
    }

    /// `false` where nothing was there.
    fn read_quorum(&mut self) -> Result<bool> {
        match self.quorum.dispatch_one()? {
            Dispatch::Idle => Ok(false),
            Dispatch::Events(events) => {
                self.notes_of_quorum.extend(events);
                self.translate_quorum().map(|()| true)
            }
        }
    }

    /// Up to the first that has to wait for addresses.
    fn translate_quorum(&mut self) -> Result<()> {
        while self.held.is_none()
            && let Some(event) = self.notes_of_quorum.pop_front()
        {
            match event {
                QuorumEvent::Nodelist { ring, members: _, joined, left } => {
                    self.addresses.forget(&left);
                    self.events.push_back(Event::Nodelist { ring, joined, left });
                }
                QuorumEvent::Quorum { quorate, ring, members } => {
                    let nodes = self.addresses.missing(&members);
                    if nodes.is_empty() {
                        let addresses = self.addresses.known();
                        self.events.push_back(Event::Quorum { quorate, ring, members, addresses });
                    } else {
                        self.shared.push(Command::AddressesOf { nodes });
                        self.held = Some(Held { quorate, ring, members });
                        self.listen(false)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Watch corosync's connections, or, while something is held, what wakes us alone.
    fn listen(&self, on: bool) -> Result<()> {
        let set = |fd: BorrowedFd<'_>, source: Source| {
            let flags = if on { EpollFlags::EPOLLIN } else { EpollFlags::empty() };
            self.epoll
                .modify(fd, &mut EpollEvent::new(flags, source.to_token()))
                .map_err(|errno| Error::System { call: "epoll_ctl", errno })
        };
        set(self.quorum.as_fd(), Source::Quorum)?;
        set(self.cfg.as_fd(), Source::Cfg)?;
        self.groups.iter().try_for_each(|group| {
            let Some(cpg) = group.cpg() else { return Ok(()) };
            set(cpg.as_fd(), Source::Group(group.rank))
        })
    }

    fn read_cfg(&mut self) -> Result<bool> {
        match self.cfg.dispatch_one()? {
            Dispatch::Idle => Ok(false),
            Dispatch::Events(kinds) => {
                self.events.extend(kinds.into_iter().map(Event::ShutdownQuestion));
                Ok(true)
            }
        }
    }

    fn read_group(&mut self, group: Arc<Group<K>>) -> Result<bool> {
        let Some(cpg) = group.cpg() else { return Ok(false) };
        let found = match cpg.dispatch_one()? {
            Dispatch::Idle => return Ok(false),
            Dispatch::Events(found) => found,
        };
        let mut is_last = false;
        for event in found {
            let key = group.key.clone();
            let event = match event {
                CpgEvent::Confchg { members, joined, left } => {
                    is_last |= group.is_last(self.own, &left);
                    Event::Confchg { key, members, joined, left }
                }
                CpgEvent::Ring { ring, members } => Event::Ring { key, ring, members },
                CpgEvent::Message { from, bytes } => {
                    if from == self.own {
                        group.came_back();
                    }
                    Event::Message { key, from, bytes }
                }
            };
            self.events.push_back(event);
        }
        if is_last {
            self.forget(group);
        }
        Ok(true)
    }

    fn forget(&mut self, group: Arc<Group<K>>) {
        if let Some(cpg) = group.cpg() {
            // Before its end closes the descriptor. It may never have been watched.
            let _unwatched = self.epoll.delete(cpg.as_fd());
        }
        let before = self.groups.len();
        self.groups.retain(|other| other.rank != group.rank);
        if self.groups.len() < before {
            self.look.pop();
        }
        self.shared.remove(group);
    }
}

impl<K: Key> AsFd for Reader<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// What is known before the first look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Before {
    Unknown,
    /// A source had something, and nothing was read since.
    Seen,
}

/// The highest of the sources that have something; `look` gives the highest at the moment, and whether it is the only one, and
/// is asked until it gives none that ranks higher than the last. The only one that a look shows after something was seen is
/// what was seen.
fn highest(
    before: Before,
    mut look: impl FnMut() -> Result<Option<(Ready, bool)>>,
) -> Result<Option<Ready>> {
    let mut best: Option<Ready> = None;
    loop {
        let better = look()?.filter(|(new, _)| best.is_none_or(|old| new.source < old.source));
        match better {
            // Nothing that is corosync's ranks higher.
            Some((better, _)) if better.source <= Source::Quorum => return Ok(Some(better)),
            Some((only, true)) if before == Before::Seen && best.is_none() => {
                return Ok(Some(only));
            }
            Some((better, _)) => best = Some(better),
            None => return Ok(best),
        }
    }
}

/// Notes, quorum service and configuration service.
const SOURCES_WITHOUT_GROUPS: usize = 3;

fn watch(epoll: &Epoll, fd: BorrowedFd<'_>, source: Source) -> Result<()> {
    epoll
        .add(fd, EpollEvent::new(EpollFlags::EPOLLIN, source.to_token()))
        .map_err(|errno| Error::System { call: "epoll_ctl", errno })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_ordered_by_rank_and_come_back_from_the_kernel() {
        let all = [Source::Notes, Source::Quorum, Source::Cfg, Source::Group(0), Source::Group(7)];
        assert!(all.is_sorted());
        assert_eq!(all.map(|source| Source::from_token(source.to_token())), all);
    }

    /// What is chosen where the looks show these, the highest first, one after the other, and how many looks it takes.
    fn chosen(before: Before, looks: &[&[Source]]) -> (Option<Source>, usize) {
        let mut shown = looks.iter();
        let ready = |source: &Source| Ready { source: *source, hung_up: false };
        let found = highest(before, || {
            let sources = shown.next().expect("a look");
            Ok(sources.first().map(|source| (ready(source), sources.len() == 1)))
        });
        (found.expect("no fault").map(|ready| ready.source), looks.len() - shown.len())
    }

    #[test]
    fn what_comes_during_the_look_and_ranks_higher_is_read_first() {
        let [first, second, third] = [0, 1, 2].map(Source::Group);
        let chosen = |looks: &[&[Source]]| chosen(Before::Unknown, looks);
        assert_eq!(chosen(&[&[]]), (None, 1));
        assert_eq!(chosen(&[&[third], &[third]]), (Some(third), 2));
        assert_eq!(chosen(&[&[third], &[second, third], &[first, second], &[]]), (Some(first), 4));
        assert_eq!(chosen(&[&[third], &[Source::Quorum]]), (Some(Source::Quorum), 2));
        assert_eq!(chosen(&[&[Source::Notes]]), (Some(Source::Notes), 1));
        // A lower one may have come since, or the higher one have been a false alarm.
        assert_eq!(chosen(&[&[second], &[third]]), (Some(second), 2));
    }

    #[test]
    fn one_look_is_enough_for_what_was_seen_before_and_is_alone() {
        let [first, second] = [0, 1].map(Source::Group);
        assert_eq!(chosen(Before::Seen, &[&[second], &[first]]), (Some(second), 1));
        // Which of them was seen is not known.
        assert_eq!(
            chosen(Before::Seen, &[&[second, Source::Group(2)], &[first], &[]]),
            (Some(first), 3)
        );
        assert_eq!(chosen(Before::Seen, &[&[]]), (None, 1));
    }
}
