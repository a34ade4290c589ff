//! Faults at the moment at which they hurt most: what draws of any fault at any time meet once in ten thousand runs.

use crate::fault::Fault;
use crate::plan::{Plan, lockspace_name};
use testbed::random::Random;

/// Scenes of a plan.
const SCENES: u64 = 4;
/// The lockspace that one node alone runs.
const APART: u32 = 9;

impl Plan {
    /// Scenes instead of any faults, with a few of those in between.
    pub(crate) fn aim(&mut self, random: &mut Random) {
        self.steps.retain(|step| matches!(step.fault, Fault::Join(..)) && step.pause == 0);
        self.quick = random.one_in(3);
        for node in 1..=self.nodes {
            self.add(Fault::Join(node, lockspace_name(1)), 0);
        }
        self.wait(random, 30_000);
        for _ in 0..SCENES {
            self.draw_scene(random);
            if random.one_in(2) {
                let fault = self.draw_fault(random);
                self.add(fault, random.between(0, 5_000));
            }
        }
    }

    /// One more scene, of another draw, so that those who tell of a seed go on telling of the same.
    pub(crate) fn aim_again(&mut self, random: &mut Random) {
        let node = self.any(random);
        let other = self.any(random);
        match random.between(0, 3) {
            0 => self.draw_unheard(node, other, random),
            1 if node != other => self.draw_apart(node, other, random),
            _ => {}
        }
    }

    /// A victim whose agent hangs comes back and dies before it is heard. One of the others sees both at once, and later.
    fn draw_unheard(&mut self, node: u32, other: u32, random: &mut Random) {
        self.add(Fault::AgentHangs(node), 0);
        self.add(Fault::Crash(node), random.between(5_000, 20_000));
        self.add(Fault::Hang(other, random.between(10_000, 60_000)), 0);
        self.add(Fault::Boot(node), 0);
        self.add(Fault::DiesUnheard(node), random.between(0, 60_000));
    }

    /// A node that has no state is cut off, and misses that another one, of whom it knows nothing any more, comes back to the others
    /// and runs a lockspace of its own. That one is cut off in turn, while the first meets the others and wants the same lockspace.
    fn draw_apart(&mut self, node: u32, other: u32, random: &mut Random) {
        let name = lockspace_name(APART);
        (1..=self.nodes).for_each(|any| self.add(Fault::Boot(any), 0));
        self.add(Fault::Heal, random.between(40_000, 80_000));
        self.add(Fault::Crash(node), random.between(20_000, 40_000));
        self.add(Fault::Reset(other), random.between(15_000, 40_000));
        self.add(Fault::AgentHangs(other), 0);
        self.add(Fault::Cut(vec![other]), random.between(3_000, 8_000));
        self.add(Fault::Boot(node), random.between(10_000, 40_000));
        self.add(Fault::Join(node, name.clone()), random.between(5_000, 20_000));
        self.add(Fault::Join(other, name), random.between(0, 3_000));
        self.add(Fault::AgentFails(node), 0);
        self.add(Fault::AgentFails(node), 0);
        self.add(Fault::Cut(vec![node]), random.between(5_000, 20_000));
        self.add(Fault::Heal, random.between(0, 10_000));
    }

    fn wait(&mut self, random: &mut Random, millis: u64) {
        if let Some(last) = self.steps.last_mut() {
            last.pause = random.between(0, millis);
        }
    }

    fn draw_scene(&mut self, random: &mut Random) {
        let node = self.any(random);
        match random.between(0, 8) {
            0 | 1 => self.draw_transfer(node, random),
            2 => self.draw_twins(node, random),
            3 | 4 => self.draw_quick_return(node, random),
            5 => self.draw_meeting(node, random),
            6 => self.draw_actors(node, random),
            7 => {
                self.add(Fault::AgentMissing(node), 0);
                self.add(Fault::Crash(node), random.between(0, 30_000));
            }
            _ => self.add(Fault::ShutCorosync(node), random.between(0, 5_000)),
        }
    }

    /// Whoever sends POSIX locks to a joiner dies of it, twice perhaps; locks are asked for meanwhile.
    fn draw_transfer(&mut self, node: u32, random: &mut Random) {
        self.add(Fault::Reset(node), random.between(0, 20_000));
        for _ in 0..random.between(2, 8) {
            let ask = self.draw_ask(random);
            self.add(Fault::Lock(ask), random.between(0, 500));
        }
        self.add(Fault::Join(node, lockspace_name(1)), 0);
        for _ in 0..random.between(1, 2) {
            self.add(Fault::SenderDies(random.between(0, 30)), 0);
        }
        self.wait(random, 10_000);
    }

    /// A node is fenced, comes back at once, and is lost again before the second is over.
    fn draw_quick_return(&mut self, node: u32, random: &mut Random) {
        for _ in 0..random.between(2, 5) {
            self.add(Fault::Cut(vec![node]), random.between(100, 1_500));
            self.add(Fault::Heal, 0);
            self.add(Fault::Boot(node), random.between(0, 300));
            self.add(Fault::Join(node, lockspace_name(1)), random.between(0, 600));
        }
        self.add(Fault::Cut(vec![node]), random.between(0, 3_000));
        self.add(Fault::Heal, random.between(0, 3_000));
    }

    /// A node begins anew beyond a cut, and wants what runs on this side; then they meet.
    fn draw_meeting(&mut self, node: u32, random: &mut Random) {
        self.add(Fault::Cut(vec![node]), random.between(0, 3_000));
        self.add(Fault::Reset(node), random.between(0, 30_000));
        self.add(Fault::Join(node, lockspace_name(1)), random.between(0, 20_000));
        self.add(Fault::Heal, random.between(0, 3_000));
    }

    /// A node dies, agents for it fail or hang, and so do those who run them.
    fn draw_actors(&mut self, node: u32, random: &mut Random) {
        for _ in 0..random.between(1, 3) {
            let hangs = random.one_in(3);
            self.add(if hangs { Fault::AgentHangs(node) } else { Fault::AgentFails(node) }, 0);
        }
        self.add(Fault::Crash(node), random.between(0, 20_000));
        let other = self.any(random);
        self.add(Fault::Crash(other), random.between(0, 20_000));
        let third = self.any(random);
        self.add(Fault::Boot(third), random.between(0, 5_000));
    }
}
