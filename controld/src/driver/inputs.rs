//! Where events come from.

use super::awake::{Awake, Source};
use super::children::Children;
use crate::control::Command;
use crate::feed::Feed;
use crate::reactor::Registry;
use dlm_core::event::Event;
use dlm_core::types::Instant;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
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
    /// Where the next deadline is set: that of the reactor that runs the driver.
    pub registry: Registry,
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
        looks: &mut Looks,
        children: &mut Children,
        deadline: Option<Instant>,
    ) -> Input {
        poll_fn(|context| {
            looks.awake.listen(context);
            // In a fixed order. Nothing starves: after whatever comes first the loop takes from every source that has
            // plenty, so only those without a place there have to stand in front.
            let first = self
                .deadline(deadline)
                .or_else(|| children_next(children, context).map(Input::Event))
                .or_else(|| self.signal(looks).map(Input::Event))
                .or_else(|| self.command(looks).map(Input::Command))
                .or_else(|| self.seam(looks).map(Input::Event))
                .or_else(|| self.ready_plock(looks).map(Input::Event));
            first.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    fn deadline(&self, deadline: Option<Instant>) -> Option<Input> {
        self.registry.rang(deadline).then_some(Input::Event(Event::Deadline))
    }

    /// One that is there already, requests for POSIX locks apart.
    pub(super) fn ready(&mut self, looks: &mut Looks) -> Option<Input> {
        self.seam(looks)
            .or_else(|| self.signal(looks))
            .map(Input::Event)
            .or_else(|| self.command(looks).map(Input::Command))
    }

    /// The kernel first: the end of a stop is what all others wait for.
    fn seam(&mut self, looks: &mut Looks) -> Option<Event> {
        let kernel = looks.awake.ask(Source::Kernel, |context| self.kernel.poll_next(context));
        if let Some(event) = kernel {
            return Some(or_lost(event, "kernel seam"));
        }
        let cluster = looks.awake.ask(Source::Cluster, |context| self.cluster.poll_next(context));
        cluster.map(|event| or_lost(event, "cluster seam"))
    }

    fn signal(&mut self, looks: &mut Looks) -> Option<Event> {
        // Without a sender there are none.
        looks.awake.ask(Source::Signals, |context| some_or_pending(self.signals.poll_recv(context)))
    }

    fn command(&mut self, looks: &mut Looks) -> Option<Command> {
        looks
            .awake
            .ask(Source::Commands, |context| some_or_pending(self.commands.poll_recv(context)))
    }

    /// A request for a POSIX lock that is there already.
    pub(super) fn ready_plock(&mut self, looks: &mut Looks) -> Option<Event> {
        let plocks = looks.awake.ask(Source::Plocks, |context| self.plocks.poll_next(context));
        plocks.map(|event| or_lost(event, "plock device"))
    }
}

/// A lost seam must not look like silence.
fn or_lost(event: Option<Event>, what: &str) -> Event {
    event.unwrap_or_else(|| Event::ClusterLost { why: format!("the {what} has ended") })
}

fn some_or_pending<T>(found: Poll<Option<T>>) -> Poll<T> {
    match found {
        Poll::Ready(Some(found)) => Poll::Ready(found),
        Poll::Ready(None) | Poll::Pending => Poll::Pending,
    }
}

fn children_next(children: &mut Children, context: &mut Context<'_>) -> Option<Event> {
    if !children.any() {
        return None;
    }
    match pin!(children.next()).poll(context) {
        Poll::Ready(event) => Some(event),
        Poll::Pending => None,
    }
}

/// Where the loop has looked.
pub(super) struct Looks {
    awake: Awake,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { awake: Awake::new() }
    }
}
