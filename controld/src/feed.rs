//! Where the driver takes events from: each source is asked in the driver's own turn, with nothing between the two.

use dlm_core::event::Event;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// A source of events.
pub trait Feed: Send {
    /// The next event; `None` where no more will come. A caller that goes away before it is there loses nothing.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>>;

    /// One that is there already.
    fn try_next(&mut self) -> Option<Event>;
}

impl Feed for Receiver<Event> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(context)
    }

    fn try_next(&mut self) -> Option<Event> {
        self.try_recv().ok()
    }
}

/// Both, the first one first.
#[must_use]
pub fn both(first: Box<dyn Feed>, second: Box<dyn Feed>) -> Box<dyn Feed> {
    Box::new(Both { first, second })
}

struct Both {
    first: Box<dyn Feed>,
    second: Box<dyn Feed>,
}

impl Feed for Both {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.first.poll_next(context) {
            Poll::Pending => self.second.poll_next(context),
            there => there,
        }
    }

    fn try_next(&mut self) -> Option<Event> {
        self.first.try_next().or_else(|| self.second.try_next())
    }
}
