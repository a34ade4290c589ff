//! The configuration and quorum services on the thread: their requests in order, their events with addresses.

use super::addresses::Addresses;
use super::group::{MEMBERSHIP_PAUSE, Retry};
use super::{Connection, Event, Loss, Services};
use crate::cfg::{Cfg, ShutdownAnswer};
use crate::cpg::Process;
use crate::error::{Error, Result};
use crate::quorum::{Quorum, QuorumEvent};
use crate::types::Dispatch;
use std::collections::VecDeque;
use std::time::Instant;

/// A request to the configuration service.
#[derive(Debug)]
pub(super) enum CfgRequest {
    Kill { node: u32, reason: String },
    Answer(ShutdownAnswer),
    Addresses { node: u32 },
}

#[derive(Debug)]
pub(super) struct ServiceState {
    pub(super) cfg: Cfg,
    pub(super) quorum: Quorum,
    /// This process, as it appears in groups.
    pub(super) own: Process,
    addresses: Addresses,
    requests: VecDeque<CfgRequest>,
    retry: Retry,
}

/// What became of the request at the head.
pub(super) enum CfgStep<K> {
    /// Nothing is to be done, or not yet.
    Rest,
    /// Done, perhaps with an answer.
    Taken(Option<Event<K>>),
}

impl ServiceState {
    pub(super) fn new(services: Services) -> Result<Self> {
        let Services { cfg, quorum } = services;
        let own = Process { node: cfg.local_node()?, pid: std::process::id() };
        Ok(Self {
            cfg,
            quorum,
            own,
            addresses: Addresses::default(),
            requests: VecDeque::new(),
            retry: Retry::default(),
        })
    }

    pub(super) fn push(&mut self, request: CfgRequest) {
        self.requests.push_back(request);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    /// When [`ServiceState::step`] has something to do: `None` never, else not before this.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.requests.is_empty()).then(|| self.retry.at().unwrap_or(now))
    }

    /// Do the next request, if it is time. An error means that the connection is lost.
    pub(super) fn step<K>(&mut self, now: Instant) -> Result<CfgStep<K>> {
        if !self.retry.is_due(now) {
            return Ok(CfgStep::Rest);
        }
        let (event, answer) = match self.requests.front() {
            None => return Ok(CfgStep::Rest),
            Some(CfgRequest::Kill { node, reason }) => (None, self.cfg.kill_node(*node, reason)),
            Some(CfgRequest::Answer(answer)) => {
                (None, forgive_late(self.cfg.answer_shutdown(*answer)))
            }
            Some(CfgRequest::Addresses { node }) => match self.cfg.node_addresses(*node) {
                Err(error) if error.is_try_again() || error.is_connection_loss() => {
                    (None, Err(error))
                }
                result => (Some(Event::NodeAddresses { node: *node, result }), Ok(())),
            },
        };
        match answer {
            Ok(()) => {
                self.retry.reset();
                self.requests.pop_front();
                Ok(CfgStep::Taken(event))
            }
            Err(error) if error.is_try_again() => {
                self.retry.postpone(now, MEMBERSHIP_PAUSE);
                Ok(CfgStep::Rest)
            }
            Err(error) => Err(error),
        }
    }

    /// Read one note of the quorum service's; `None` where nothing was there.
    pub(super) fn dispatch_quorum<K>(&mut self) -> Result<Option<Vec<Event<K>>>> {
        match self.quorum.dispatch_one()? {
            Dispatch::Idle => Ok(None),
            Dispatch::Events(events) => {
                Ok(Some(events.into_iter().map(|event| self.translate(event)).collect()))
            }
        }
    }

    fn translate<K>(&mut self, event: QuorumEvent) -> Event<K> {
        match event {
            QuorumEvent::Nodelist { ring, members: _, joined, left } => {
                self.addresses.forget(&left);
                Event::Nodelist { ring, joined, left }
            }
            QuorumEvent::Quorum { quorate, ring, members } => {
                let cfg = &self.cfg;
                let addresses = self.addresses.of(&members, |node| cfg.node_addresses(node));
                Event::Quorum { quorate, ring, members, addresses }
            }
        }
    }

    /// Read one note of the configuration service's; `None` where nothing was there.
    pub(super) fn dispatch_cfg<K>(&self) -> Result<Option<Vec<Event<K>>>> {
        Ok(match self.cfg.dispatch_one()? {
            Dispatch::Idle => None,
            Dispatch::Events(kinds) => {
                Some(kinds.into_iter().map(Event::ShutdownQuestion).collect())
            }
        })
    }
}

/// Corosync refuses an answer to a question that it has given up: that is no fault of the connection.
fn forgive_late(answer: Result<()>) -> Result<()> {
    match answer {
        Err(error) if !error.is_try_again() && !error.is_connection_loss() => Ok(()),
        other => other,
    }
}

/// A failed call of the configuration service as the end of everything.
pub(super) const fn cfg_lost<K>(error: Error) -> (Connection<K>, Loss) {
    (Connection::Cfg, Loss::Failed(error))
}
