//! What will be done to a cluster: drawn from one seed before anything runs, so that parts of it can be left out.

use crate::fault::Fault;
use dlm_core::options::Switch;
use dlm_core::plock::Mode;
use testbed::harness::{Ask, Pace, Want, World, node};
use testbed::random::Random;

/// Keeps a plan's draws apart from those of its world, which has the same seed.
const PLAN_SALT: u64 = 0x5349_4d50_4c41_4e31;
/// Keeps the draws of POSIX locks apart: a plan is the same with and without them.
const LOCK_SALT: u64 = 0x504c_4f43_4b53_2131;
/// The same for daemons like the C daemon.
const C_SALT: u64 = 0x0c0c_0c0c_0c0c_0c0c;
/// The same for rare faults.
const RARE_SALT: u64 = 0x5241_5245_5241_5245;
/// The same for faults that are aimed.
const AIM_SALT: u64 = 0xa1a1_a1a1_a1a1_a1a1;
/// The same for one more scene of those.
const AIM_AGAIN_SALT: u64 = 0x4147_4149_4e41_474e;
/// The same for gfs2 that withdraws, and for what is left to be recovered.
const WITHDRAW_SALT: u64 = 0x5749_5448_4452_4157;
/// Requests for POSIX locks between two faults, at most.
const ASKS: u64 = 6;
/// Processes of each node, and files.
const PROCESSES: u64 = 2;
const FILES: u64 = 2;
/// The last byte of a file.
const LAST_BYTE: u64 = 3;
/// Faults of a storm on a few nodes; larger clusters get one more for every eighth node.
const FAULTS: u64 = 14;

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
    /// Processes that use POSIX locks, or none.
    pub locks: Option<bool>,
    /// Rare faults too: hangs, flapping, loss in one direction, clocks that are set.
    pub rare: Option<bool>,
    /// gfs2 withdraws, and users leave behind what is to be recovered.
    pub withdraws: bool,
    /// Faults at the moment at which they hurt most.
    pub aimed: bool,
    /// Fence agents lie now and then.
    pub lies: bool,
    /// Some daemons are like the C daemon; needs the feature `mutants`.
    pub c_peers: bool,
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
    /// Two devices have to work to fence a node.
    pub two_feeds: bool,
    /// `plock_ownership` is off; else it is not set.
    pub replicated: bool,
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
    /// Everything is done within milliseconds.
    pub quick: bool,
    /// Faults are aimed, and nobody who lives may wait for one that is dead when they are over.
    pub aimed: bool,
    /// Nodes whose daemon is like the C daemon.
    pub c_nodes: Vec<u32>,
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
            two_feeds: false,
            replicated: false,
        };
        let mut plan = Self {
            seed,
            nodes: shape.nodes.unwrap_or(drawn_nodes),
            lockspaces: shape.lockspaces.unwrap_or(drawn_lockspaces),
            wild,
            quick: false,
            aimed: shape.aimed,
            c_nodes: Vec::new(),
            options,
            steps: Vec::new(),
        };
        plan.draw_joins(&mut random);
        for _ in 0..FAULTS + u64::from(plan.nodes) / 8 {
            let fault = match plan.draw_fault(&mut random) {
                Fault::AgentFails(node) | Fault::AgentHangs(node) if shape.lies => {
                    Fault::AgentLies(node)
                }
                fault => fault,
            };
            let long = random.one_in(3);
            let pause = random.between(0, if long { 40_000 } else { 3_000 });
            plan.add(fault, pause);
        }
        if shape.c_peers {
            let mut random = Random::new(seed ^ C_SALT);
            let ours = plan.any(&mut random);
            plan.c_nodes =
                (1..=plan.nodes).filter(|node| *node != ours && random.one_in(2)).collect();
        }
        let mut random = Random::new(seed ^ RARE_SALT);
        let rare = random.one_in(2);
        if shape.rare.unwrap_or(rare) {
            plan.options.two_feeds = random.one_in(3);
            plan.draw_rare(&mut random);
        }
        if shape.aimed {
            plan.aim(&mut Random::new(seed ^ AIM_SALT));
            plan.aim_again(&mut Random::new(seed ^ AIM_AGAIN_SALT));
        }
        let mut random = Random::new(seed ^ LOCK_SALT);
        let locks = random.one_in(2);
        if shape.locks.unwrap_or(locks) {
            plan.options.replicated = random.one_in(2);
            plan.draw_locks(&mut random);
        }
        if shape.withdraws {
            let mut random = Random::new(seed ^ WITHDRAW_SALT);
            // Seeds that are told of elsewhere were drawn behind it.
            let _one_of_four = random.one_in(4);
            plan.draw_withdraws(&mut random);
        }
        plan
    }

    /// Rare faults among the others.
    fn draw_rare(&mut self, random: &mut Random) {
        for Step { fault, pause, .. } in std::mem::take(&mut self.steps) {
            let joins = matches!(fault, Fault::Join(..)) && pause == 0;
            self.add(fault, pause);
            if joins || !random.one_in(5) {
                continue;
            }
            let node = self.any(random);
            match random.between(0, 6) {
                0 => self.add(Fault::Hang(node, random.between(0, 60_000)), pause),
                1 => {
                    let (far, back) = (random.one_in(2), random.one_in(2));
                    let seconds = random.between(1, if far { 100_000 } else { 5 }).cast_signed();
                    self.add(Fault::SetClock(node, if back { -seconds } else { seconds }), pause);
                }
                2 => self.draw_flapping(node, random),
                3 => {
                    let times = u32::try_from(random.between(1, 3)).unwrap_or(1);
                    self.add(Fault::WritesFail(node, times), pause);
                }
                4 => self.draw_loss(node, random),
                5 => self.draw_start_over(node, random),
                _ => self.draw_twins(node, random),
            }
        }
    }

    /// All but one, which is cut off and runs on, begin anew, and cannot fence it at once.
    fn draw_start_over(&mut self, node: u32, random: &mut Random) {
        let others: Vec<u32> = (1..=self.nodes).filter(|other| *other != node).collect();
        self.add(Fault::Cut(vec![node]), random.between(0, 1000));
        others.iter().for_each(|other| self.add(Fault::Crash(*other), 0));
        for other in &others {
            self.add(Fault::Boot(*other), random.between(0, 3000));
            self.add(Fault::AgentFails(node), 0);
        }
        if let Some(last) = self.steps.last_mut() {
            last.pause = random.between(0, 40_000);
        }
        for other in &others {
            let name = self.any_lockspace(random);
            self.add(Fault::Join(*other, name), random.between(0, 2000));
        }
        if let Some(other) = random.pick(&others) {
            self.add(Fault::Hang(other, random.between(0, 60_000)), random.between(0, 40_000));
        }
        if let Some(other) = random.pick(&others) {
            self.add(Fault::Crash(other), random.between(0, 40_000));
        }
    }

    /// A node joins twice while another one holds up the barrier: changes that look alike.
    pub(crate) fn draw_twins(&mut self, node: u32, random: &mut Random) {
        let name = self.any_lockspace(random);
        let other = self.any(random);
        self.add(Fault::Hang(other, random.between(20_000, 60_000)), 0);
        for _ in 0..2 {
            self.add(Fault::Reset(node), random.between(1000, 20_000));
            self.add(Fault::Join(node, name.clone()), random.between(0, 10_000));
        }
    }

    /// A node comes and goes faster than its recovery.
    fn draw_flapping(&mut self, node: u32, random: &mut Random) {
        for _ in 0..random.between(2, 4) {
            self.add(Fault::Cut(vec![node]), random.between(0, 3000));
            self.add(Fault::Heal, random.between(0, 3000));
        }
    }

    /// Nodes that hear each other in one direction alone: corosync's rings find no set that lasts.
    fn draw_loss(&mut self, node: u32, random: &mut Random) {
        for _ in 0..random.between(2, 5) {
            let others = (1..=self.nodes).filter(|other| *other != node && random.one_in(3));
            let side = others.chain([node]).collect();
            self.add(Fault::Cut(side), random.between(0, 2000));
        }
        self.add(Fault::Heal, random.between(0, 5000));
    }

    /// Requests for POSIX locks among the faults.
    fn draw_locks(&mut self, random: &mut Random) {
        for Step { fault, pause, .. } in std::mem::take(&mut self.steps) {
            let joins = matches!(fault, Fault::Join(..)) && pause == 0;
            let asks = if joins { 0 } else { random.between(0, ASKS) };
            let share = pause / (asks + 1);
            self.add(fault, share);
            for _ in 0..asks {
                let ask = self.draw_ask(random);
                self.add(Fault::Lock(ask), share);
            }
        }
    }

    pub(crate) fn draw_ask(&self, random: &mut Random) -> Ask {
        let (one, other) = (random.between(0, LAST_BYTE), random.between(0, LAST_BYTE));
        let mode = if random.one_in(3) { Mode::Read } else { Mode::Write };
        let want = match random.between(0, 9) {
            0..=2 => Want::Try(mode),
            3..=5 => Want::Wait(mode),
            6..=8 => Want::Unlock,
            _ => Want::Close,
        };
        Ask {
            node: node(self.any(random)),
            process: u32::try_from(random.between(1, PROCESSES)).unwrap_or(1),
            file: random.between(1, FILES),
            bytes: (one.min(other), one.max(other)),
            want,
        }
    }

    pub(crate) fn add(&mut self, fault: Fault, pause: u64) {
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

    pub(crate) fn draw_fault(&self, random: &mut Random) -> Fault {
        let node = self.any(random);
        let name = if random.one_in(4) { self.any_lockspace(random) } else { lockspace_name(1) };
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

    pub(crate) fn any_lockspace(&self, random: &mut Random) -> String {
        let number = random.between(1, u64::from(self.lockspaces));
        lockspace_name(u32::try_from(number).unwrap_or(1))
    }

    pub(crate) fn any(&self, random: &mut Random) -> u32 {
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
        if self.quick {
            Pace::QUICK
        } else if self.wild {
            Pace::WILD
        } else {
            Pace::CALM
        }
    }

    /// Sets the options of a world that has not begun.
    pub fn set_options(&self, world: &mut World) {
        let on = |yes| if yes { Switch::On } else { Switch::Off };
        world.set_options(|fixed, dynamic| {
            fixed.startup_fencing = on(self.options.startup_fencing);
            fixed.concurrent_fencing = on(self.options.concurrent_fencing);
            dynamic.post_join_delay_seconds = self.options.post_join_delay;
            fixed.plock_ownership = self.options.replicated.then_some(Switch::Off);
        });
        if self.options.two_feeds {
            world.has_two_feeds();
        }
        world.are_foreign(&self.c_nodes);
    }

    /// In words.
    #[must_use]
    pub fn title(&self) -> String {
        format!(
            "seed {}: {} nodes, {} lockspaces, {}, startup fencing {}, concurrent fencing {}, post_join_delay {} s{}{}{}",
            self.seed,
            self.nodes,
            self.lockspaces,
            if self.quick {
                "quick"
            } else if self.wild {
                "wild"
            } else {
                "calm"
            },
            if self.options.startup_fencing { "on" } else { "off" },
            if self.options.concurrent_fencing { "on" } else { "off" },
            self.options.post_join_delay,
            if self.options.two_feeds { ", two feeds" } else { "" },
            if self.c_nodes.is_empty() {
                String::new()
            } else {
                format!(", {:?} like C", self.c_nodes)
            },
            if self.options.replicated { ", plock_ownership off" } else { "" }
        )
    }
}

/// The first is `ls`.
pub(crate) fn lockspace_name(number: u32) -> String {
    if number <= 1 { "ls".to_owned() } else { format!("ls{number}") }
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
        let shape = Shape { nodes: Some(128), lockspaces: Some(5), ..Shape::default() };
        let plan = Plan::draw(1, shape);
        assert_eq!((plan.nodes, plan.lockspaces), (128, 5));
        assert!(plan.steps.contains(&Step {
            number: 1,
            fault: Fault::Join(1, "ls".into()),
            pause: 0
        }));
    }
}
