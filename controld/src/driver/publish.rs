//! What queries show: made when somebody asks, and told to be out of date as soon as it is.

use super::{Driver, Outputs, clock};
use crate::control::{Beside, BesideWait, Published};
use dlmcontrol::state::DaemonPhase;
use std::sync::Arc;

/// What is counted of POSIX locks is published at the earliest so long after the last time.
const COUNTS_AGE_MS: u64 = 200;

impl Driver {
    /// What was published is out of date; whoever asks sees that.
    pub(super) fn touch(&mut self) {
        if !self.changed {
            self.changed = true;
            self.outputs.published.borrow().outdate();
        }
    }

    /// Counts alone are not made anew for each of many queries.
    pub(super) fn is_old(&self) -> bool {
        clock::now().mono.millis_since(self.published) >= COUNTS_AGE_MS
    }

    /// What is waited for that the core does not know of.
    fn beside(&self) -> Vec<Beside> {
        let now = clock::now().mono;
        let Outputs { cluster, kernel, .. } = &self.outputs;
        let rate = kernel.plocks_held_back().map(|held| Beside {
            what: BesideWait::PlockRate { until: clock::after(now, held.next) },
            since: clock::before(now, held.lasted),
        });
        let queue = cluster.backlog().map(|backlog| Beside {
            what: BesideWait::CorosyncQueue { requests: backlog.requests },
            since: clock::before(now, backlog.lasted),
        });
        rate.into_iter().chain(queue).collect()
    }

    /// They come and go without an event, and each has times in it.
    pub(super) fn waits_beside_changed(&self) -> bool {
        !self.outputs.published.borrow().beside.is_empty() || !self.beside().is_empty()
    }

    pub(super) fn publish(&mut self) {
        self.changed = false;
        self.plocks_changed = false;
        self.published = clock::now().mono;
        self.publish_as(DaemonPhase::Running);
    }

    /// Queries ask no more.
    pub(super) fn publish_end(&self) {
        self.publish_as(DaemonPhase::Ending);
    }

    fn publish_as(&self, phase: DaemonPhase) {
        let (taken, begun) = (clock::now().mono, std::time::Instant::now());
        let published = Published {
            snapshot: self.core.snapshot(),
            taken,
            agents: self.children.agents.pids(),
            zombies: self.children.agents.killed(),
            config: Arc::clone(&self.config_text),
            phase,
            attempts: self.children.agents.attempts(),
            beside: self.beside(),
            made_in: begun.elapsed(),
            outdated: Arc::default(),
        };
        self.outputs.published.send_replace(Arc::new(published));
    }
}
