//! Where the driver takes events from: each source is asked in the driver's own turn, with nothing between the two.

use dlm_core::event::Event;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// A source of events.
pub trait Feed: Send {
    /// The next event; `None` where no more will come. A caller that goes away before it is there loses nothing.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>>;
}

impl Feed for Receiver<Event> {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.poll_recv(context)
    }
}

/// One whose end is nobody's loss: from then on nothing comes.
pub struct Dispensable(pub Receiver<Event>);

impl Feed for Dispensable {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        match self.0.poll_recv(context) {
            Poll::Ready(None) => Poll::Pending,
            come_or_not => come_or_not,
        }
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use tokio::sync::mpsc::channel;

    #[test]
    fn without_the_dispensable_one_the_other_goes_on() {
        let mut context = Context::from_waker(Waker::noop());
        let (vital, first) = channel(1);
        let (slots, second) = channel(1);
        let mut feed = both(Box::new(first), Box::new(Dispensable(second)));
        slots.try_send(Event::Begin).expect("room");
        drop(slots);
        assert_eq!(feed.poll_next(&mut context), Poll::Ready(Some(Event::Begin)));
        assert_eq!(feed.poll_next(&mut context), Poll::Pending);
        vital.try_send(Event::Terminate).expect("room");
        assert_eq!(feed.poll_next(&mut context), Poll::Ready(Some(Event::Terminate)));
        drop(vital);
        assert_eq!(feed.poll_next(&mut context), Poll::Ready(None));
    }
}
