//! Who decides in a world: the real core, or whatever a test puts in its place.

use dlm_core::Core;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::options::Setup;
use dlm_core::plock::PlockResource;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, LockspaceName, Now};

/// The decisions of a daemon.
pub trait Brain {
    /// Take one event, queue what is to be done.
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>);
    /// When to wake it if nothing else happens.
    fn next_deadline(&self) -> Option<Instant>;
    /// Its state.
    fn snapshot(&self) -> Snapshot;

    /// A copy, for those who look at every way on; `None` where there can be none.
    fn fork(&self) -> Option<Box<dyn Brain>> {
        None
    }

    /// Puts all that it will decide by into `hasher`. Needed where there can be copies.
    fn hash_state(&self, _hasher: &mut dyn std::hash::Hasher) {}

    /// The POSIX locks of a lockspace; `None` where nobody can look at them.
    fn plocks(&self, _lockspace: &LockspaceName) -> Option<Vec<PlockResource>> {
        None
    }
}

impl Brain for Core {
    fn step(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        Self::step(self, now, event, effects);
    }

    fn next_deadline(&self) -> Option<Instant> {
        Self::next_deadline(self)
    }

    fn snapshot(&self) -> Snapshot {
        Self::snapshot(self)
    }

    fn fork(&self) -> Option<Box<dyn Brain>> {
        Some(Box::new(self.clone()))
    }

    fn hash_state(&self, mut hasher: &mut dyn std::hash::Hasher) {
        std::hash::Hash::hash(self, &mut hasher);
    }

    fn plocks(&self, lockspace: &LockspaceName) -> Option<Vec<PlockResource>> {
        Self::plocks(self, lockspace).map(Iterator::collect)
    }
}

/// Makes the decisions of a daemon that starts.
pub type MakeBrain = Box<dyn Fn(Setup) -> Box<dyn Brain>>;
