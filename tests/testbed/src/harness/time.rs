//! Virtual time goes on, from one thing that happens to the next.

use super::node::Node;
use super::{SECOND, World};
use dlm_core::event::Event;
use dlm_core::types::NodeId;

/// A world in which nothing has happened for this long (virtual seconds) has settled; longer than every delay and
/// time limit that the daemons use.
const QUIET_SECONDS: u64 = 400;
/// Deadlines at one and the same moment without anything else happening: more is a daemon that spins.
const DEADLINE_STORM: u32 = 200;

impl World {
    /// Let the next thing happen. False if there is nothing left, or something is broken.
    pub fn step(&mut self) -> bool {
        if !self.violations.is_empty() {
            return false;
        }
        let deadline = self.next_deadline();
        let action = self.agenda.next_time();
        match (action, deadline) {
            (None, None) => return false,
            (Some(at), other) if other.is_none_or(|(due, _)| at <= due) => {
                self.now = self.now.max(at);
                if let Some(action) = self.agenda.pop() {
                    self.act(action);
                }
            }
            (_, Some((due, id))) => {
                self.now = self.now.max(due);
                self.count_deadlines();
                self.feed(id, Event::Deadline);
            }
            (Some(_), None) => {}
        }
        self.collect_news();
        true
    }

    pub(super) fn next_deadline(&self) -> Option<(u64, NodeId)> {
        let due = |(id, node): (&NodeId, &Node)| {
            let deadline = node.daemon.as_ref()?.deadline?;
            Some((self.hung.get(id).map_or(deadline, |until| deadline.max(*until)), *id))
        };
        self.nodes.iter().filter_map(due).min()
    }

    pub(super) fn count_deadlines(&mut self) {
        self.storm =
            if self.storm.0 == self.now { (self.now, self.storm.1 + 1) } else { (self.now, 0) };
        if self.storm.1 > DEADLINE_STORM {
            self.broken("a daemon's deadline stays in the past: it spins".to_owned());
        }
    }

    /// Step until the condition holds; false if it does not within so many steps.
    pub fn run_until(&mut self, condition: impl Fn(&Self) -> bool, max_steps: u32) -> bool {
        for _ in 0..max_steps {
            if condition(self) {
                return true;
            }
            if !self.step() {
                break;
            }
        }
        condition(self)
    }

    /// Step until the condition holds, or this much virtual time has passed.
    pub fn await_millis(&mut self, condition: impl Fn(&Self) -> bool, millis: u64) {
        let end = self.now + millis * (SECOND / 1000);
        while self.now < end && !condition(self) && self.step() {}
    }

    /// Let this much virtual time pass.
    pub fn run_millis(&mut self, millis: u64) {
        let end = self.now + millis * (SECOND / 1000);
        let due = |world: &Self| {
            let deadline = world.next_deadline().map(|(at, _)| at);
            world.agenda.next_time().into_iter().chain(deadline).min().is_some_and(|at| at <= end)
        };
        while due(self) && self.step() {}
        self.now = self.now.max(end);
    }

    /// Step until nothing happens any more. False if things go on happening for an hour of virtual time.
    pub fn settle(&mut self) -> bool {
        let begin = self.now;
        self.last_activity = self.now;
        while self.now < begin + 3600 * SECOND {
            let idle = self.agenda.next_time().is_none();
            let deadline = self.next_deadline().map(|(at, _)| at);
            let quiet = deadline.is_none_or(|at| at > self.last_activity + QUIET_SECONDS * SECOND);
            if (idle && quiet) || !self.step() {
                return self.violations.is_empty();
            }
        }
        false
    }

    /// Nothing is under way: no message, no kernel write, no agent. A deadline may be to come.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.agenda.next_time().is_none()
    }
}
