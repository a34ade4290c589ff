//! The POSIX locks of one lockspace: requests of our kernel, messages of the group (spec/plocks.md sections 2 to 4).
//!
//! A request is multicast, and every synchronised member carries it out at its place in the group's order; the member that
//! read it tells its kernel the result when it does. So all of them have the same state without further talk.
//!
//! As long as we are not synchronised, requests of our kernel are held here, not multicast: what a member does not see
//! carried out it could never answer. The kernel has none then, but where a transfer fails.

use crate::message::Message;
use crate::out::Out;
use crate::plock::agreement::Word;
use crate::plock::count::Count;
use crate::plock::errno::{EINVAL, ENOENT, ENOSYS};
use crate::plock::handover::Handovers;
use crate::plock::in_flight::InFlight;
use crate::plock::ownership::Drops;
use crate::plock::resources::Resources;
use crate::plock::results::{Asked, Results};
use crate::plock::transfer::{Outgoing, Progress, Saved};
use crate::plock::voice::{Shown, Voice};
use crate::plock::{Op, PlockInfo, PlockMeters, PlockText};
use crate::types::NodeId;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// How POSIX locks are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Service {
    /// `enable_plock=0`.
    Off,
    /// Every request goes to every member.
    Replicated,
    /// A file that one member alone locks is answered there.
    Owned,
}

/// What a member says about POSIX locks after a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Said {
    Plock(PlockInfo),
    Own { number: u64, owner: Option<NodeId> },
    Drop { number: u64 },
    SyncLock(PlockInfo),
    SyncWaiter(PlockInfo),
}

impl Said {
    /// The message's name in the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Plock(_) => "plock",
            Self::Own { .. } => "plock_own",
            Self::Drop { .. } => "plock_drop",
            Self::SyncLock(_) => "plock_sync_lock",
            Self::SyncWaiter(_) => "plock_sync_waiter",
        }
    }
}

/// Why a request of our kernel can only be refused. Without its numbers: a line that repeats is counted.
fn senseless(info: &PlockInfo) -> Option<String> {
    match info.op {
        Op::Lock | Op::Unlock | Op::Get | Op::Cancel => backwards(info).map(String::from),
        // A known one comes as unknown where its version is; that has been told with its number.
        Op::Unknown(number) => Some(match Op::from_wire(number) {
            Op::Unknown(_) => {
                format!("operation {number} is unknown; is this daemon too old for the kernel?")
            }
            _ => String::from("its version is unknown"),
        }),
    }
}

fn backwards(info: &PlockInfo) -> Option<&'static str> {
    (info.start > info.end).then_some("its range ends before it begins")
}

/// The POSIX locks of a lockspace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Plocks {
    /// What we tell the others about ownership.
    word: Word,
    /// As the members have agreed.
    pub(super) service: Service,
    pub(super) progress: Progress,
    /// What recordings can leave out is encoded apart, see `contents`.
    #[serde(skip)]
    pub(super) resources: Resources,
    #[serde(skip)]
    pub(super) results: Results,
    #[serde(skip)]
    pub(super) in_flight: InFlight,
    /// Read before we were synchronised.
    #[serde(skip)]
    pub(super) held: VecDeque<Asked>,
    /// Files of ours that become everybody's.
    #[serde(skip)]
    pub(super) handovers: Handovers,
    pub(super) outgoing: Outgoing,
    pub(super) data_node: Option<NodeId>,
    pub(super) drops: Drops,
    /// Every member runs a daemon of ours, and understands CANCEL. A C daemon would keep the waiter, and grant it later.
    pub(super) all_ours: bool,
    /// Until the next barrier nothing is carried out as an owner, and no resource asked for; see `agreement`.
    pub(super) yielding: bool,
    /// Ownership may have ended with the last barrier: what is said of owners was said before that.
    pub(super) strays: bool,
    read: Count,
    received: Count,
}

impl Plocks {
    pub(crate) fn new(word: Word) -> Self {
        Self {
            word,
            service: if word == Word::Nothing { Service::Off } else { Service::Replicated },
            progress: Progress::Needing,
            resources: Resources::default(),
            results: Results::default(),
            in_flight: InFlight::default(),
            held: VecDeque::new(),
            handovers: Handovers::default(),
            outgoing: Outgoing::default(),
            data_node: None,
            drops: Drops::default(),
            all_ours: false,
            yielding: false,
            strays: false,
            read: Count::default(),
            received: Count::default(),
        }
    }

    pub(crate) fn word(&self) -> Word {
        self.word
    }

    pub(crate) fn service(&self) -> Service {
        self.service
    }

    /// Our state is complete.
    pub(crate) fn is_synchronised(&self) -> bool {
        self.progress == Progress::Synchronised
    }

    /// Once the lockspace runs: who sends us the state that we lack. `Some(None)`: nobody, until the next change.
    pub(crate) fn awaited(&self) -> Option<Option<NodeId>> {
        match (self.service, &self.progress) {
            (Service::Off, _) | (_, Progress::Synchronised) => None,
            (_, Progress::Needing) => Some(None),
            (_, Progress::Receiving(incoming)) => Some(Some(incoming.sender())),
        }
    }

    /// A request of our kernel.
    pub(crate) fn request(&mut self, info: PlockInfo, voice: &Voice<'_>, out: &mut Out<'_>) {
        voice.detail(PlockText::Read(info), out);
        if let Some((number, millis)) = self.read.one_more(out.now.mono) {
            voice.detail(PlockText::ReadCount { number, millis }, out);
        }
        let asked = self.results.asked(info, out.now.mono);
        if info.is_close() {
            self.results.close(&info, out);
        }
        if let Some(why) = senseless(&info) {
            let text = format!("plock request refused with EINVAL: {why} (see dlm_tool log_plock)");
            voice.error(text, out);
            self.results.finish(&asked, -EINVAL, out);
        } else if self.service == Service::Off {
            self.results.finish(&asked, -ENOSYS, out);
        } else if self.goes_on(&asked, voice, out) {
            if self.is_synchronised() {
                self.take(asked, voice, out);
            } else {
                self.held.push_back(asked);
            }
        }
    }

    /// A request of our kernel that cannot be served, answered in its turn.
    pub(crate) fn refuse(&mut self, info: PlockInfo, errno: i32, out: &mut Out<'_>) {
        let asked = self.results.asked(info, out.now.mono);
        self.results.finish(&asked, -errno, out);
    }

    /// We are out of the lockspace's group: whoever waits in the kernel gets an error, or would wait for ever, and the file
    /// system of a lockspace that a withdraw releases could not even be unmounted.
    pub(crate) fn abandon(&mut self, us: NodeId, errno: i32, out: &mut Out<'_>) {
        let gone = core::mem::replace(self, Self::new(self.word));
        let entries = gone.resources.in_order();
        let queued = entries.iter().flat_map(|(_, entry)| entry.resource.waiters());
        let queued = queued.map(|(info, _)| *info).filter(|info| info.node == us);
        let pending = entries.iter().flat_map(|(_, entry)| &entry.pending);
        let asked = gone.in_flight.iter().chain(&gone.held).chain(pending).map(|asked| asked.info);
        let waiting = queued.chain(asked.filter(|info| info.wait));
        gone.results.abandon(waiting.filter(|info| !info.is_close()), errno, out);
    }

    fn take(&mut self, asked: Asked, voice: &Voice<'_>, out: &mut Out<'_>) {
        let info = &asked.info;
        // A lock of ours that is still on its way may be what is meant.
        let nothing_there = matches!(info.op, Op::Unlock | Op::Cancel)
            && self.in_flight.is_empty()
            && !self.resources.contains(info.number);
        if nothing_there {
            self.results.finish(&asked, -ENOENT, out);
        } else if self.service == Service::Owned {
            self.take_owned(asked, voice, out);
        } else {
            self.multicast(asked, voice, out);
        }
    }

    pub(super) fn multicast(&mut self, asked: Asked, voice: &Voice<'_>, out: &mut Out<'_>) {
        if asked.info.op == Op::Cancel && !self.all_ours {
            self.results.finish(&asked, -EINVAL, out);
            return;
        }
        voice.send(Message::Plock(asked.info), out);
        self.in_flight.push(asked);
    }

    /// A message of the group.
    pub(crate) fn message(
        &mut self,
        from: NodeId,
        said: Said,
        length: usize,
        voice: &Voice<'_>,
        out: &mut Out<'_>,
    ) {
        match &mut self.progress {
            // What the next transfer brings contains its effect.
            Progress::Needing => {}
            Progress::Receiving(incoming) => {
                voice.detail(format!("save {} from {from} len {length}", said.name()), out);
                if let Err(why) = incoming.save(Saved::Said(from, said)) {
                    self.fail_transfer(why, voice, out);
                }
            }
            Progress::Synchronised => self.hear(from, said, voice, out),
        }
    }

    /// A message that we act upon.
    pub(super) fn hear(&mut self, from: NodeId, said: Said, voice: &Voice<'_>, out: &mut Out<'_>) {
        match said {
            Said::Plock(info) => self.hear_plock(from, &info, voice, out),
            said if self.service == Service::Owned => self.hear_owned(from, said, voice, out),
            said if self.strays => {
                voice
                    .detail(format!("receive {} from {from} of ended ownership", said.name()), out);
            }
            said => voice.error(
                format!("receive {} from {from} ignored: plock_ownership is off here", said.name()),
                out,
            ),
        }
    }

    fn hear_plock(&mut self, from: NodeId, info: &PlockInfo, voice: &Voice<'_>, out: &mut Out<'_>) {
        voice.detail(PlockText::Received(*info), out);
        self.results.meters.received();
        if let Some((number, millis)) = self.received.one_more(out.now.mono) {
            let (seconds, millis) = (millis / 1000, millis % 1000);
            voice.detail(format!("plock_recv_count {number} time {seconds}.{millis:03} s"), out);
        }
        let foreign = info.node != from;
        let why = foreign.then_some("it is about a process of another node");
        if let Some(why) = why.or_else(|| backwards(info)) {
            voice.error(format!("receive plock from {from} ignored: {why}: {}", Shown(info)), out);
            return;
        }
        let asked = if from == voice.us { self.in_flight.pop() } else { None };
        match (asked, self.service) {
            (None, _) if from == voice.us => {
                voice.error(format!("receive plock {} that was never sent", Shown(info)), out);
            }
            // Sent before a C daemon came, which will not carry it out.
            (asked, _) if info.op == Op::Cancel && !self.all_ours => {
                voice.detail(format!("receive_plock error from {from} optype 4"), out);
                self.results.finish_ours(asked.as_ref(), -EINVAL, out);
            }
            (asked, Service::Owned) => self.hear_owned_plock(info, asked, voice, out),
            (asked, _) => self.apply(info, asked.as_ref(), voice, out),
        }
    }

    /// What was counted.
    pub(crate) fn meters(&self) -> PlockMeters {
        PlockMeters {
            resources: self.resources.len(),
            in_flight: self.in_flight.len(),
            ..self.results.meters.counts()
        }
    }

    /// A member has failed: until the next start our kernel sees no result.
    pub(crate) fn hold_results(&mut self) {
        self.results.hold();
    }

    /// Requests that were held until we are synchronised.
    pub(super) fn take_held(&mut self, voice: &Voice<'_>, out: &mut Out<'_>) {
        for asked in core::mem::take(&mut self.held) {
            self.take(asked, voice, out);
        }
    }
}
