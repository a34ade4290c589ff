//! What will be done to a cluster: drawn from one seed before anything runs, so that parts of it can be left out.

use dlm_core::options::Switch;
use std::fmt;
use testbed::harness::{Pace, World};
use testbed::power::Behaviour;
use testbed::random::Random;

/// Keeps a plan's draws apart from those of its world, which has the same seed.
const PLAN_SALT: u64 = 0x5349_4d50_4c41_4e31;
/// Faults of a storm on a few nodes; larger clusters get one more for every eighth node.
const FAULTS: u64 = 14;

/// Something done to the cluster from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A user on this node wants this lockspace.
    Join(u32, String),
    /// That user leaves.
    Leave(u32, String),
    /// Loss of power.
    Crash(u32),
    /// Two nodes lose power at once.
    CrashBoth(u32, u32),
    /// Power on.
    Boot(u32),
    /// Power off and on.
    Reset(u32),
    /// SIGKILL for a daemon.
    KillDaemon(u32),
    /// A daemon is started on a node that has none.
    StartDaemon(u32),
    /// These nodes are cut off from the others.
    Cut(Vec<u32>),
    /// The network is whole again.
    Heal,
    /// The next agent for this victim fails.
    AgentFails(u32),
    /// The next agent for this victim hangs.
    AgentHangs(u32),
    /// SIGTERM for a daemon.
    Terminate(u32),
    /// Stops on this node take so many milliseconds from now on.
    SlowStops(u32, u64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(node, name) => write!(f, "a user of node {node} joins {name}"),
            Self::Leave(node, name) => write!(f, "a user of node {node} leaves {name}"),
            Self::Crash(node) => write!(f, "node {node} loses power"),
            Self::CrashBoth(node, other) => write!(f, "nodes {node} and {other} lose power"),
            Self::Boot(node) => write!(f, "node {node} is switched on, if it is off"),
            Self::Reset(node) => write!(f, "node {node} is reset"),
            Self::KillDaemon(node) => write!(f, "the daemon of node {node} is killed"),
            Self::StartDaemon(node) => {
                write!(f, "the daemon of node {node} is started, if it is gone")
            }
            Self::Cut(nodes) => write!(f, "nodes {nodes:?} are cut off from the others"),
            Self::Heal => write!(f, "the network is mended"),
            Self::AgentFails(node) => write!(f, "the next fence agent for node {node} fails"),
            Self::AgentHangs(node) => write!(f, "the next fence agent for node {node} hangs"),
            Self::Terminate(node) => write!(f, "the daemon of node {node} gets SIGTERM"),
            Self::SlowStops(node, millis) => {
                write!(f, "stops of node {node} take {millis} ms from now on")
            }
        }
    }
}

/// A fault and what passes before the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Number in the whole plan, kept when others are left out.
    pub number: usize,
    /// What.
    pub fault: Fault,
    /// Virtual milliseconds after it.
    pub pause: u64,
}

/// What the user fixed; the rest is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Number of nodes.
    pub nodes: Option<u32>,
    /// Number of lockspaces.
    pub lockspaces: Option<u32>,
}

/// Options of the daemons that differ from run to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// `enable_startup_fencing`.
    pub startup_fencing: bool,
    /// `enable_concurrent_fencing`.
    pub concurrent_fencing: bool,
    /// `post_join_delay`.
    pub post_join_delay: u64,
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Seed of the plan and of its world.
    pub seed: u64,
    /// Number of nodes, from 1.
    pub nodes: u32,
    /// Number of lockspaces.
    pub lockspaces: u32,
    /// Everything may take seconds.
    pub wild: bool,
    /// Of all daemons.
    pub options: Options,
    /// In order.
    pub steps: Vec<Step>,
}

impl Plan {
    /// The plan of one seed.
    #[must_use]
    pub fn draw(seed: u64, shape: Shape) -> Self {
        let mut random = Random::new(seed ^ PLAN_SALT);
        let drawn_nodes = random.pick(&[2, 3, 3, 3, 4, 5]).unwrap_or(3);
        let drawn_lockspaces = random.pick(&[1, 2, 2, 3]).unwrap_or(1);
        let wild = !random.one_in(4);
        let options = Options {
            startup_fencing: !random.one_in(4),
            concurrent_fencing: random.one_in(4),
            post_join_delay: random.pick(&[30, 30, 30, 3]).unwrap_or(30),
        };
        let mut plan = Self {
            seed,
            nodes: shape.nodes.unwrap_or(drawn_nodes),
            lockspaces: shape.lockspaces.unwrap_or(drawn_lockspaces),
            wild,
            options,
            steps: Vec::new(),
        };
        plan.draw_joins(&mut random);
        for _ in 0..FAULTS + u64::from(plan.nodes) / 8 {
            let fault = plan.draw_fault(&mut random);
            let long = random.one_in(3);
            let pause = random.between(0, if long { 40_000 } else { 3_000 });
            plan.add(fault, pause);
        }
        plan
    }

    fn add(&mut self, fault: Fault, pause: u64) {
        let number = self.steps.len() + 1;
        self.steps.push(Step { number, fault, pause });
    }

    fn draw_joins(&mut self, random: &mut Random) {
        for node in 1..=self.nodes {
            self.add(Fault::Join(node, "ls".to_owned()), 0);
            for other in 2..=self.lockspaces {
                if random.one_in(2) {
                    self.add(Fault::Join(node, lockspace_name(other)), 0);
                }
            }
        }
        if let Some(last) = self.steps.last_mut() {
            last.pause = random.between(0, 30_000);
        }
    }

    fn draw_fault(&self, random: &mut Random) -> Fault {
        let node = self.any(random);
        let name = if random.one_in(4) {
            lockspace_name(
                u32::try_from(random.between(1, u64::from(self.lockspaces))).unwrap_or(1),
            )
        } else {
            lockspace_name(1)
        };
        match random.between(0, 18) {
            0 | 1 => Fault::Crash(node),
            2..=4 => Fault::Boot(node),
            5 => Fault::KillDaemon(node),
            6 => Fault::StartDaemon(node),
            7 | 8 => Fault::Cut((1..=self.nodes).filter(|_| random.one_in(2)).collect()),
            9 => Fault::Heal,
            10 | 11 => Fault::Join(node, name),
            12 => Fault::Leave(node, name),
            13 => Fault::AgentFails(node),
            14 => Fault::AgentHangs(node),
            15 => Fault::Reset(node),
            16 => Fault::Terminate(node),
            17 => Fault::SlowStops(node, random.between(0, 20_000)),
            _ => Fault::CrashBoth(node, self.any(random)),
        }
    }

    fn any(&self, random: &mut Random) -> u32 {
        u32::try_from(random.between(1, u64::from(self.nodes))).unwrap_or(1)
    }

    /// The same plan with these steps alone.
    #[must_use]
    pub fn keeping(&self, numbers: &[usize]) -> Self {
        let kept = |step: &&Step| numbers.contains(&step.number);
        Self { steps: self.steps.iter().filter(kept).cloned().collect(), ..self.clone() }
    }

    /// How long things take in its world.
    #[must_use]
    pub const fn pace(&self) -> Pace {
        if self.wild { Pace::WILD } else { Pace::CALM }
    }

    /// Sets the options of a world that has not begun.
    pub fn set_options(&self, world: &mut World) {
        let on = |yes| if yes { Switch::On } else { Switch::Off };
        world.set_options(|fixed, dynamic| {
            fixed.startup_fencing = on(self.options.startup_fencing);
            fixed.concurrent_fencing = on(self.options.concurrent_fencing);
            dynamic.post_join_delay_seconds = self.options.post_join_delay;
        });
    }

    /// In words.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "seed {}: {} nodes, {} lockspaces, {}, startup fencing {}, concurrent fencing {}, post_join_delay {} s",
            self.seed,
            self.nodes,
            self.lockspaces,
            if self.wild { "wild" } else { "calm" },
            if self.options.startup_fencing { "on" } else { "off" },
            if self.options.concurrent_fencing { "on" } else { "off" },
            self.options.post_join_delay
        )
    }
}

/// The first is `ls`.
fn lockspace_name(number: u32) -> String {
    if number <= 1 { "ls".to_owned() } else { format!("ls{number}") }
}

impl Fault {
    /// Do it.
    pub fn happen(&self, world: &mut World) {
        match self {
            Self::Join(node, name) => world.join(*node, name),
            Self::Leave(node, name) => world.leave(*node, name),
            Self::Crash(node) => world.crash(*node),
            Self::CrashBoth(node, other) => {
                world.crash(*node);
                world.crash(*other);
            }
            Self::Boot(node) => world.boot(*node),
            Self::Reset(node) => {
                world.crash(*node);
                world.boot(*node);
            }
            Self::KillDaemon(node) => world.kill_daemon(*node),
            Self::StartDaemon(node) => world.start_daemon(*node),
            Self::Cut(nodes) => world.partition(&[nodes]),
            Self::Heal => world.heal(),
            Self::AgentFails(node) => world.fail_fencing(*node, 1),
            Self::AgentHangs(node) => world.order_fencing(*node, Behaviour::Hangs),
            Self::Terminate(node) => world.terminate(*node),
            Self::SlowStops(node, millis) => world.stops_take(*node, Some(*millis)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_one_plan_and_parts_keep_their_numbers() {
        let plan = Plan::draw(7, Shape::default());
        assert_eq!(plan, Plan::draw(7, Shape::default()));
        assert_ne!(plan.steps, Plan::draw(8, Shape::default()).steps);
        let part = plan.keeping(&[2, 5]);
        assert_eq!(part.steps, [plan.steps[1].clone(), plan.steps[4].clone()]);
    }

    #[test]
    fn the_shape_of_a_plan_can_be_fixed() {
        let shape = Shape { nodes: Some(128), lockspaces: Some(5) };
        let plan = Plan::draw(1, shape);
        assert_eq!((plan.nodes, plan.lockspaces), (128, 5));
        assert!(plan.steps.contains(&Step {
            number: 1,
            fault: Fault::Join(1, "ls".into()),
            pause: 0
        }));
    }
}
