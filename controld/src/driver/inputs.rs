//! Where events come from.

use super::children::Children;
use super::clock;
use crate::control::Command;
use crate::feed::Feed;
use dlm_core::event::Event;
use dlm_core::types::Instant;
use std::future::{pending, poll_fn};
use tokio::sync::mpsc::Receiver;

/// The receiving ends of everything that can happen.
pub struct Inputs {
    /// The cluster seam's events.
    pub cluster: Box<dyn Feed>,
    /// The kernel seam's events.
    pub kernel: Box<dyn Feed>,
    /// Requests for POSIX locks.
    pub plocks: Box<dyn Feed>,
    /// What clients ask.
    pub commands: Receiver<Command>,
    /// Signals, as events.
    pub signals: Receiver<Event>,
}

/// One thing that happened.
pub(super) enum Input {
    Event(Event),
    Command(Command),
}

impl Inputs {
    /// Wait for the next one, at the latest until `deadline`.
    pub(super) async fn next(
        &mut self,
        children: &mut Children,
        deadline: Option<Instant>,
    ) -> Input {
        // Most waits have none: no timer is set then.
        let passes = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(clock::until(deadline)).await,
                None => pending().await,
            }
        };
        // A lost seam must not look like silence.
        let or_lost = |event: Option<Event>, what: &str| {
            event.unwrap_or_else(|| Event::ClusterLost { why: format!("the {what} has ended") })
        };
        // In a fixed order, which saves a random number for each lock. Nothing starves: after whatever comes first the loop
        // takes from every source that has plenty, so only those without a place there have to stand in front.
        tokio::select! {
            biased;
            () = passes => Input::Event(Event::Deadline),
            event = children.next() => Input::Event(event),
            Some(event) = self.signals.recv() => Input::Event(event),
            Some(command) = self.commands.recv() => Input::Command(command),
            event = poll_fn(|context| self.kernel.poll_next(context)) => {
                Input::Event(or_lost(event, "kernel seam"))
            }
            event = poll_fn(|context| self.cluster.poll_next(context)) => {
                Input::Event(or_lost(event, "cluster seam"))
            }
            event = poll_fn(|context| self.plocks.poll_next(context)) => {
                Input::Event(or_lost(event, "plock device"))
            }
        }
    }

    /// One that is there already, requests for POSIX locks apart.
    pub(super) fn ready(&mut self) -> Option<Input> {
        // The kernel first: the end of a stop is what all others wait for.
        let event = self
            .kernel
            .try_next()
            .or_else(|| self.cluster.try_next())
            .or_else(|| self.signals.try_recv().ok());
        event.map(Input::Event).or_else(|| self.commands.try_recv().ok().map(Input::Command))
    }

    /// A request for a POSIX lock that is there already.
    pub(super) fn ready_plock(&mut self) -> Option<Event> {
        self.plocks.try_next()
    }
}
