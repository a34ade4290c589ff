//! A world with the faults that may still happen in it.

use dlm_core::options::Switch;
use dlm_core::snapshot::Wait;
use dlm_core::waiting::FenceWait;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;
use testbed::harness::{Choice, MakeBrain, World};

/// The lockspace.
const NAME: &str = "ls";
/// What the bus draws when a node or the network fails mid-message: so many draws are tried.
const CHANCES: u64 = 3;

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// A node loses its power.
    Crash,
    /// A node's daemon is killed.
    Kill,
    /// A node is cut off from the others.
    Cut,
    /// The network is whole again.
    Heal,
    /// A node that has no power is switched on; its user wants the lockspace again.
    Boot,
    /// A user leaves, on a node that runs.
    Leave,
}

/// Every fault with its name.
const NAMES: [(Fault, &str); 6] = [
    (Fault::Crash, "crash"),
    (Fault::Kill, "kill"),
    (Fault::Cut, "cut"),
    (Fault::Heal, "heal"),
    (Fault::Boot, "boot"),
    (Fault::Leave, "leave"),
];

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = NAMES.iter().find(|(_, other)| *other == name);
        found.map(|(fault, _)| *fault).ok_or_else(|| format!("there is no fault {name}"))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(other, _)| other == self).map(|(_, name)| *name);
        f.write_str(name.unwrap_or_default())
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The cluster goes on by itself.
    Onward(Choice),
    /// A fault strikes a node.
    Fault {
        /// Which.
        fault: Fault,
        /// Where; 0 where there is no place.
        node: u32,
        /// What the bus draws.
        chance: u64,
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Onward(choice) => write!(f, "{choice:?}"),
            Self::Fault { fault, node, chance } => write!(f, "{fault} {node} ({chance})"),
        }
    }
}

/// What one step of the bus is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// One event is handed over, one message ordered.
    Event,
    /// All that waits in one queue.
    Queue,
}

/// A state.
pub struct State {
    world: World,
    nodes: u32,
    grain: Grain,
    /// Faults that may still happen, sorted.
    faults: Vec<Fault>,
}

impl State {
    /// All nodes run the lockspace; these faults may happen, each once for each time it is named, in any order.
    ///
    /// # Errors
    /// The lockspace does not come to run.
    pub fn begin(
        nodes: u32,
        faults: &[Fault],
        grain: Grain,
        brains: MakeBrain,
    ) -> Result<Self, String> {
        let mut world = World::with_brains(1, nodes, brains);
        // Locks would make more states and no other decisions about members.
        world.set_options(|fixed, _| fixed.plock = Switch::Off);
        world.settle();
        (1..=nodes).for_each(|node| world.join(node, NAME));
        world.settle();
        if let Some(why) = world.violations().iter().cloned().chain(world.complaints()).next() {
            return Err(why);
        }
        world.be_silent();
        let mut faults = faults.to_vec();
        faults.sort_unstable();
        Ok(Self { world, nodes, grain, faults })
    }

    /// A copy.
    #[must_use]
    pub fn fork(&self) -> Option<Self> {
        let world = self.world.fork()?;
        Some(Self { world, nodes: self.nodes, grain: self.grain, faults: self.faults.clone() })
    }

    /// Keep the story from here on.
    pub fn tell(&mut self) {
        self.world.begin_story();
    }

    /// What has happened since `tell`.
    #[must_use]
    pub fn story(&self) -> String {
        self.world.story()
    }

    /// Two states with one fingerprint go on alike.
    #[must_use]
    pub fn fingerprint(&self) -> u128 {
        let mut hasher = DefaultHasher::new();
        self.faults.hash(&mut hasher);
        self.world.fingerprint() ^ u128::from(hasher.finish())
    }

    /// What is broken here.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.world.violations().first().map(String::as_str)
    }

    /// Every daemon with quorum runs the lockspace with all who want it and can be reached, or waits for an operator because
    /// partitions with state have met.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.world.complaints().is_empty() || (1..=self.nodes).any(|node| self.is_merged(node))
    }

    /// What keeps it from being well, in words.
    #[must_use]
    pub fn complaint(&self) -> String {
        self.world.complaints().join("; ")
    }

    fn is_merged(&self, node: u32) -> bool {
        let Some(snapshot) = self.world.snapshot(node) else { return false };
        snapshot.stateful_merge_wait
            || snapshot.nodes.iter().any(|node| node.waits_for == Some(FenceWait::Merge))
            || snapshot.lockspaces.iter().any(|ls| matches!(ls.wait, Some(Wait::Disallowed(_))))
    }

    /// Every step from here: how the cluster goes on by itself, then the faults.
    pub fn steps(&mut self) -> Vec<Step> {
        let mut steps: Vec<Step> = self.world.choices().into_iter().map(Step::Onward).collect();
        let mut last = None;
        for fault in self.faults.clone() {
            if last != Some(fault) {
                self.strikes(fault, &mut steps);
            }
            last = Some(fault);
        }
        steps
    }

    fn strikes(&self, fault: Fault, steps: &mut Vec<Step>) {
        // What is under way may or may not get through. A torn ring, which cannot be taken up again, matters where it could be.
        let drawn = self.world.is_talking() || self.faults.contains(&Fault::Heal);
        let chances = match fault {
            Fault::Crash | Fault::Cut if drawn => CHANCES,
            Fault::Crash | Fault::Cut | Fault::Kill => 1,
            Fault::Heal | Fault::Boot | Fault::Leave => 1,
        };
        let places = match fault {
            Fault::Heal => 0..=0,
            // With two nodes both cuts are one.
            Fault::Cut if self.nodes == 2 => 1..=1,
            Fault::Cut | Fault::Crash | Fault::Kill | Fault::Boot | Fault::Leave => 1..=self.nodes,
        };
        let possible = |node: &u32| match fault {
            Fault::Crash => self.world.is_powered(*node),
            Fault::Kill | Fault::Leave => self.world.snapshot(*node).is_some(),
            Fault::Boot => !self.world.is_powered(*node),
            Fault::Cut => !self.world.is_cut(),
            Fault::Heal => self.world.is_cut(),
        };
        for node in places.filter(possible) {
            steps.extend((0..chances).map(|chance| Step::Fault { fault, node, chance }));
        }
    }

    /// Take a step.
    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Onward(choice) => match self.grain {
                Grain::Event => self.world.choose(choice),
                Grain::Queue => self.world.choose_whole_queue(choice),
            },
            Step::Fault { fault, node, chance } => {
                if let Some(place) = self.faults.iter().position(|other| other == fault) {
                    self.faults.remove(place);
                }
                self.world.time_passes(*chance);
                match fault {
                    Fault::Crash => self.world.crash(*node),
                    Fault::Kill => self.world.kill_daemon(*node),
                    Fault::Cut => self.world.partition(&[&[*node]]),
                    Fault::Heal => self.world.heal(),
                    Fault::Boot => {
                        self.world.boot(*node);
                        self.world.join(*node, NAME);
                    }
                    Fault::Leave => self.world.leave(*node, NAME),
                }
            }
        }
    }
}
