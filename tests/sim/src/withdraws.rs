//! File systems that withdraw, and users that leave behind what is to be recovered.

use crate::fault::Fault;
use crate::plan::{Plan, Step, lockspace_name};
use testbed::harness::Ending;
use testbed::random::Random;

/// One in so many steps is followed by a gfs2 that withdraws, or the like.
const WITHDRAW_ONE_IN: u64 = 5;

impl Plan {
    /// Among all else of a plan. Their users come back, perhaps.
    pub(crate) fn draw_withdraws(&mut self, random: &mut Random) {
        for Step { fault, pause, .. } in std::mem::take(&mut self.steps) {
            let joins = matches!(fault, Fault::Join(..)) && pause == 0;
            self.add(fault, pause);
            if joins || !random.one_in(WITHDRAW_ONE_IN) {
                continue;
            }
            let (node, name) = (self.any(random), lockspace_name(1));
            let withdraws = match random.between(0, 2) {
                0 => Fault::LeaveBehind(node, name.clone()),
                1 => Fault::Withdraw(node, name.clone(), Ending::Clean),
                _ => Fault::Withdraw(node, name.clone(), Ending::Recover),
            };
            self.add(withdraws, random.between(0, 3_000));
            if random.one_in(2) {
                self.add(Fault::Join(node, name), random.between(0, 10_000));
            }
        }
    }
}
