//! The configuration service on the thread: its requests in order.

use super::group::{MEMBERSHIP_PAUSE, Retry};
use super::inbox::Note;
use super::{Event, Key};
use crate::cfg::{Cfg, ShutdownAnswer};
use crate::error::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// A request to the configuration service.
#[derive(Debug)]
pub(super) enum CfgRequest {
    Kill { node: u32, reason: String },
    Answer(ShutdownAnswer),
    Addresses { node: u32 },
    AddressesOf { nodes: Vec<u32> },
}

#[derive(Debug)]
pub(super) struct CfgQueue {
    cfg: Arc<Cfg>,
    requests: VecDeque<CfgRequest>,
    retry: Retry,
}

/// What became of the request at the head.
pub(super) enum CfgStep<K> {
    /// Nothing is to be done, or not yet.
    Rest,
    /// Done, perhaps with an answer.
    Taken(Option<Note<K>>),
}

impl CfgQueue {
    pub(super) fn new(cfg: Arc<Cfg>) -> Self {
        Self { cfg, requests: VecDeque::new(), retry: Retry::default() }
    }

    pub(super) fn push(&mut self, request: CfgRequest) {
        self.requests.push_back(request);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.requests.is_empty()
    }

    /// When [`CfgQueue::step`] has something to do: `None` never, else not before this.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        (!self.requests.is_empty()).then(|| self.retry.at().unwrap_or(now))
    }

    /// Do the next request, if it is time. An error means that the connection is lost.
    pub(super) fn step<K: Key>(&mut self, now: Instant) -> Result<CfgStep<K>> {
        if !self.retry.is_due(now) {
            return Ok(CfgStep::Rest);
        }
        let answer = match self.requests.front() {
            None => return Ok(CfgStep::Rest),
            Some(CfgRequest::Kill { node, reason }) => {
                self.cfg.kill_node(*node, reason).map(|()| None)
            }
            Some(CfgRequest::Answer(answer)) => {
                forgive_late(self.cfg.answer_shutdown(*answer)).map(|()| None)
            }
            Some(CfgRequest::Addresses { node }) => match self.cfg.node_addresses(*node) {
                Err(error) if error.is_try_again() || error.is_connection_loss() => Err(error),
                result => Ok(Some(Note::Event(Event::NodeAddresses { node: *node, result }))),
            },
            // An event waits for these: a node that corosync will not say now is asked for at the next event.
            Some(CfgRequest::AddressesOf { nodes }) => {
                let ask = |node: &u32| Some((*node, self.cfg.node_addresses(*node).ok()?));
                let known: BTreeMap<_, _> = nodes.iter().filter_map(ask).collect();
                Ok(Some(Note::Addresses(known)))
            }
        };
        match answer {
            Ok(note) => {
                self.retry.reset();
                self.requests.pop_front();
                Ok(CfgStep::Taken(note))
            }
            Err(error) if error.is_try_again() => {
                self.retry.postpone(now, MEMBERSHIP_PAUSE);
                Ok(CfgStep::Rest)
            }
            Err(error) => Err(error),
        }
    }
}

/// Corosync refuses an answer to a question that it has given up: that is no fault of the connection.
fn forgive_late(answer: std::result::Result<(), Error>) -> Result<()> {
    match answer {
        Err(error) if !error.is_try_again() && !error.is_connection_loss() => Ok(()),
        other => other,
    }
}
