//! The model of the power switch: what a fence agent does, and how long it takes to do it.

use dlm_core::types::NodeId;
use std::collections::{BTreeMap, VecDeque};

/// What the next agent that is run for a victim does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// The victim loses power, then the agent reports success.
    Works,
    /// The agent reports failure with this exit status; the victim keeps its power.
    Fails(i32),
    /// The agent cannot be started.
    Missing,
    /// The agent never ends.
    Hangs,
    /// The agent reports success; the victim keeps its power.
    Lies,
}

/// Which agent runs do what. Without orders every run works.
#[derive(Clone, Debug, Default, Hash)]
pub struct PowerSwitch {
    orders: BTreeMap<NodeId, VecDeque<Behaviour>>,
    standing: BTreeMap<NodeId, Behaviour>,
}

impl PowerSwitch {
    /// The next run for this victim that has no order yet behaves so.
    pub fn order(&mut self, victim: NodeId, behaviour: Behaviour) {
        self.orders.entry(victim).or_default().push_back(behaviour);
    }

    /// All runs for this victim without an order behave so.
    pub fn stand(&mut self, victim: NodeId, behaviour: Behaviour) {
        self.standing.insert(victim, behaviour);
    }

    /// Every run works from now on.
    pub fn repair(&mut self) {
        self.orders.clear();
        self.standing.clear();
    }

    /// What the run that begins now does.
    pub fn next(&mut self, victim: NodeId) -> Behaviour {
        let ordered = self.orders.get_mut(&victim).and_then(VecDeque::pop_front);
        ordered.or_else(|| self.standing.get(&victim).copied()).unwrap_or(Behaviour::Works)
    }
}
