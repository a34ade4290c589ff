//! Where events come from.

use super::awake::{Awake, Source};
use super::children::Children;
use super::clock;
use crate::control::Command;
use crate::feed::Feed;
use dlm_core::event::Event;
use dlm_core::types::Instant;
use std::future::{Future as _, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;
use tokio::time::Sleep;

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
        looks: &mut Looks,
        children: &mut Children,
        deadline: Option<Instant>,
    ) -> Input {
        poll_fn(|context| {
            looks.awake.listen(context);
            // In a fixed order. Nothing starves: after whatever comes first the loop takes from every source that has
            // plenty, so only those without a place there have to stand in front.
            let first = looks
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

/// Where the loop has looked, and what it waits for.
pub(super) struct Looks {
    awake: Awake,
    /// The timer, which is set anew only for another deadline: it is the same for many POSIX locks.
    timer: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Looks {
    pub(super) fn new() -> Self {
        Self { awake: Awake::new(), timer: None }
    }

    fn deadline(&mut self, deadline: Option<Instant>) -> Option<Input> {
        // Most waits have none.
        let Some(deadline) = deadline else {
            self.timer = None;
            return None;
        };
        if self.timer.as_ref().is_none_or(|(set, _)| *set != deadline) {
            self.awake.open(Source::Deadline);
            let timer = Box::pin(tokio::time::sleep(clock::until(deadline)));
            self.timer = Some((deadline, timer));
        }
        let (_, timer) = self.timer.as_mut()?;
        self.awake.ask(Source::Deadline, |context| timer.as_mut().poll(context))?;
        // Once: what has not been dealt with is a deadline anew.
        self.timer = None;
        Some(Input::Event(Event::Deadline))
    }
}
