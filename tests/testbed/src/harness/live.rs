//! A world whose daemons are processes and whose time is real: the same bus, kernels and power, driven from outside.
//!
//! The brains of such a world pass events on and ask for nothing; what their daemons ask for comes by
//! [`World::asked`], later. The promises are not checked here: an onlooker cannot know how far a process has come with
//! what it was sent.

use super::{Agenda, MONO_START, MakeBrain, World};
use crate::kernel::Callback;
use dlm_core::effect::Effect;
use dlm_core::types::{LockspaceName, NodeId};

impl World {
    /// A cluster of nodes 1 to `nodes`, all without power.
    #[must_use]
    pub fn live(seed: u64, nodes: u32, make_brain: MakeBrain) -> Self {
        let mut world = Self::with_brains(seed, nodes, make_brain);
        world.agenda = Agenda::default();
        for host in world.nodes.values_mut() {
            host.powered = false;
        }
        world.story.clear();
        world
    }

    /// A daemon begins. Its node is switched on if it is not.
    ///
    /// # Errors
    /// Why it cannot begin, in words.
    pub fn daemon_begins(&mut self, id: NodeId) -> Result<(), &'static str> {
        let host = self.nodes.get_mut(&id).ok_or("no such node")?;
        if host.daemon.is_some() {
            return Err("its daemon runs already");
        }
        if !host.powered {
            host.powered = true;
            host.boot += 1;
            self.bus.start(id);
            self.notice_neighbours();
        }
        let boot = self.nodes.get(&id).map_or(0, |host| host.boot);
        if !self.bus.is_up(id) {
            return Err("its corosync has ended");
        }
        self.daemon_up(id, boot);
        self.collect_news();
        if self.daemon(id).is_some() { Ok(()) } else { Err("found uncontrolled lockspaces") }
    }

    /// A daemon asks for something. Nothing happens if it does not run any more.
    ///
    /// # Errors
    /// A result of a POSIX lock that belongs to no request, in words.
    pub fn asked(&mut self, id: NodeId, effect: Effect) -> Result<(), String> {
        if self.daemon(id).is_none() {
            return Ok(());
        }
        let result = matches!(effect, Effect::PlockResult(_));
        self.violations.clear();
        self.carry_out(id, effect);
        self.collect_news();
        match self.violations.pop() {
            Some(why) if result => Err(why),
            Some(_) | None => Ok(()),
        }
    }

    /// A daemon has ended, its node lives on.
    pub fn daemon_ends(&mut self, id: NodeId) {
        self.daemon_gone(id);
        self.collect_news();
    }

    /// A node loses its power.
    pub fn lose_power(&mut self, id: NodeId, why: &str) {
        self.power_off(id, why);
        self.collect_news();
    }

    /// What the next agent for this victim does, and how long it takes, nanoseconds.
    pub fn next_agent(&mut self, victim: NodeId) -> (crate::power::Behaviour, u64) {
        let behaviour = self.switch.next(victim);
        (behaviour, super::Pace::draw(self.pace.agent, &mut self.random))
    }

    /// Let everything happen that is due `nanos` after the world's beginning.
    pub fn catch_up(&mut self, nanos: u64) {
        let now = MONO_START + nanos;
        while self.agenda.next_time().is_some_and(|at| at <= now) {
            let at = self.agenda.next_time().unwrap_or(now);
            self.now = self.now.max(at);
            if let Some(action) = self.agenda.pop() {
                self.act(action);
            }
            self.collect_news();
        }
        self.now = self.now.max(now);
        // Found with a view that is not the daemon's own: see above.
        self.violations.clear();
    }

    /// When the next thing happens, nanoseconds after the beginning.
    #[must_use]
    pub fn next_time(&self) -> Option<u64> {
        self.agenda.next_time().map(|at| at.saturating_sub(MONO_START))
    }

    /// Calls of the kernels into their file systems since the last call.
    pub fn drain_callbacks(&mut self) -> Vec<(NodeId, LockspaceName, Callback)> {
        std::mem::take(&mut self.callbacks)
    }
}
