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
