//! What happens to a world from outside: users, power, network, operators.

use super::agenda::Action;
use super::node::{Daemon, Epoch, Fate, Instance};
use super::{Fifo, World, lockspace, node};
use crate::kernel::{Kernel, Run};
use crate::power::Behaviour;
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// Between two tries to have a node removed while the ring is broken, nanoseconds.
const KICK_RETRY: u64 = 100_000_000;
/// After so many tries the request is lost with its ring.
const KICK_TRIES: u32 = 100;

impl World {
    /// Somebody on this node wants this lockspace (mounts a file system): created as soon as the kernel lets them.
    pub fn join(&mut self, number: u32, name: &str) {
        self.tell(|| format!("USER {number} joins {name}"));
        self.wants.insert((node(number), lockspace(name)));
        self.agenda.add(self.now, Action::Create(node(number), lockspace(name)));
    }

    pub(super) fn try_create(&mut self, id: NodeId, name: &LockspaceName) {
        let Some(epoch) = self.epoch(id) else { return };
        if !self.wants.contains(&(id, name.clone())) {
            return;
        }
        let instance = self.last_instance + 1;
        let Some(host) = self.nodes.get_mut(&id) else { return };
        if !host.kernel.create(name, instance) {
            return;
        }
        self.last_instance = instance;
        let life = Instance { node: id, boot: host.boot, fate: Fate::Open };
        self.instances.insert(instance, life);
        self.uevent(id, epoch, Event::Online { lockspace: name.clone() });
    }

    pub(super) fn uevent(&mut self, id: NodeId, epoch: Epoch, event: Event) {
        let at = self.now + self.hop();
        self.agenda.add_in_order(Fifo::Uevents(id), at, Action::Local { node: id, epoch, event });
    }

    /// An event that comes to a daemon from its own node, if the daemon still runs by then.
    pub(super) fn local(&mut self, id: NodeId, event: Event) {
        if let Some(epoch) = self.epoch(id) {
            let delay = self.hop();
            self.after(delay, Action::Local { node: id, epoch, event });
        }
    }

    /// Switch a node on; no effect on one that is on.
    pub fn boot(&mut self, number: u32) {
        let id = node(number);
        let Some(host) = self.nodes.get_mut(&id).filter(|host| !host.powered) else { return };
        host.powered = true;
        host.boot += 1;
        self.feeds_off.remove(&id);
        let boot = host.boot;
        self.tell(|| format!("POWER {number} on"));
        let delay = super::Pace::draw(self.pace.boot, &mut self.random);
        self.after(delay, Action::CorosyncUp { node: id, boot });
    }

    /// A node loses power.
    pub fn crash(&mut self, number: u32) {
        self.power_off(node(number), "crash");
    }

    /// A node loses power for the reason given, in words.
    pub(super) fn power_off(&mut self, id: NodeId, why: &str) {
        let Some(host) = self.nodes.get_mut(&id).filter(|host| host.powered) else { return };
        host.powered = false;
        host.kernel = Kernel::default();
        host.daemon = None;
        self.tell(|| format!("POWER {id} off: {why}"));
        for life in self.instances.values_mut() {
            if life.node == id && life.fate == Fate::Open {
                life.fate = Fate::Dead;
            }
        }
        self.forget_wishes(id);
        self.processes_gone(id, None);
        self.hung.remove(&id);
        self.writes_end(id);
        self.bus.stop(id, &mut self.random);
        self.notice_broken_rings();
    }

    /// What a daemon was trying to write is nothing to the next one.
    fn writes_end(&mut self, id: NodeId) {
        self.failed_starts.retain(|(node, _), _| *node != id);
        self.failures_in_row.retain(|(node, _), _| *node != id);
    }

    fn forget_wishes(&mut self, id: NodeId) {
        self.wants.retain(|(node, _)| *node != id);
        self.leaving.retain(|(node, _), _| *node != id);
    }

    /// After the token timeout each component forms its ring.
    fn notice_broken_rings(&mut self) {
        for id in self.bus.up() {
            let delay = super::Pace::draw(self.pace.token, &mut self.random);
            self.after(delay, Action::Reform(id));
        }
    }

    pub(super) fn notice_neighbours(&mut self) {
        for id in self.bus.up() {
            let delay = super::Pace::draw(self.pace.merge, &mut self.random);
            self.after(delay, Action::Reform(id));
        }
    }

    pub(super) fn corosync_up(&mut self, id: NodeId, boot: u64) {
        if !self.is_boot(id, boot) {
            return;
        }
        self.tell(|| format!("{id} corosync starts"));
        self.bus.start(id);
        self.notice_neighbours();
        let delay = super::Pace::draw(self.pace.boot, &mut self.random);
        self.after(delay, Action::DaemonUp { node: id, boot });
    }

    /// Start the daemon again on a node whose daemon has ended.
    pub fn start_daemon(&mut self, number: u32) {
        let id = node(number);
        if let Some(boot) = self.nodes.get(&id).map(|host| host.boot) {
            self.agenda.add(self.now, Action::DaemonUp { node: id, boot });
        }
    }

    pub(super) fn daemon_up(&mut self, id: NodeId, boot: u64) {
        if !self.is_boot(id, boot) || self.daemon(id).is_some() || !self.bus.is_up(id) {
            return;
        }
        self.tell(|| format!("{id} daemon starts"));
        let Some(host) = self.nodes.get_mut(&id) else { return };
        host.kernel.clear_configfs();
        if !host.kernel.lockspaces().is_empty() {
            // The driver's own rule: such a kernel may hold locks that nobody coordinates.
            self.tell(|| format!("{id} daemon finds uncontrolled lockspaces"));
            self.corosync_gone(id);
            return;
        }
        self.last_epoch += 1;
        let brain = (self.make_brain)(self.setup(id));
        let daemon = Daemon {
            epoch: Epoch(self.last_epoch),
            brain,
            deadline: None,
            views: BTreeMap::new(),
            quorum_ring: 0,
            quorate: false,
            busy: BTreeMap::new(),
            agents: BTreeMap::new(),
        };
        if let Some(host) = self.nodes.get_mut(&id) {
            host.daemon = Some(daemon);
        }
        self.bus.connect(id);
        self.feed(id, Event::Begin);
    }

    /// SIGKILL for a daemon.
    pub fn kill_daemon(&mut self, number: u32) {
        self.tell(|| format!("KILL daemon of {number}"));
        self.daemon_gone(node(number));
    }

    /// Somebody asks corosync to shut down on this node, and corosync asks its daemon.
    pub fn shut_corosync(&mut self, number: u32) {
        self.local(node(number), Event::ShutdownQuestion);
    }

    /// SIGTERM for a daemon.
    pub fn terminate(&mut self, number: u32) {
        self.local(node(number), Event::Terminate);
    }

    /// A daemon has ended: its groups and its monitor device close, the kernel stops what runs.
    pub(super) fn daemon_gone(&mut self, id: NodeId) {
        let Some(host) = self.nodes.get_mut(&id) else { return };
        if host.daemon.take().is_none() {
            return;
        }
        self.hung.remove(&id);
        self.writes_end(id);
        let Some(host) = self.nodes.get_mut(&id) else { return };
        let boot = host.boot;
        let running: Vec<LockspaceName> = host
            .kernel
            .lockspaces()
            .iter()
            .filter(|(_, lockspace)| lockspace.run == Run::Running)
            .map(|(name, _)| name.clone())
            .collect();
        self.bus.disconnect(id);
        self.forget_wishes(id);
        for name in running {
            if let Some(host) = self.nodes.get_mut(&id) {
                host.kernel.begin_stop(&name);
            }
            let delay = self.stop_time(id);
            self.after(delay, Action::Orphaned { node: id, boot, name });
        }
        self.tell_callbacks(id);
    }

    pub(super) fn orphaned(&mut self, id: NodeId, boot: u64, name: &LockspaceName) {
        if self.is_boot(id, boot) {
            if let Some(host) = self.nodes.get_mut(&id) {
                host.kernel.end_stop(name);
            }
            self.tell(|| format!("{id} kernel has stopped {name} for want of a daemon"));
        }
    }

    /// A node's corosync ends; the node stays on.
    pub(super) fn corosync_gone(&mut self, id: NodeId) {
        if !self.bus.is_up(id) {
            return;
        }
        self.tell(|| format!("{id} corosync ends"));
        self.bus.stop(id, &mut self.random);
        self.notice_broken_rings();
        self.local(id, Event::ClusterLost { why: "corosync is gone".to_owned() });
    }

    pub(super) fn kick(&mut self, from: NodeId, target: NodeId, tries: u32) {
        if from == target || self.bus.connected(from, target) {
            self.corosync_gone(target);
        } else if self.bus.is_up(from) && tries < KICK_TRIES {
            self.after(KICK_RETRY, Action::Kick { from, target, tries: tries + 1 });
        }
    }

    /// Cut the network into these sides; nodes that are not listed form one more.
    pub fn partition(&mut self, sides: &[&[u32]]) {
        self.tell(|| format!("NETWORK cut {sides:?}"));
        let sides: Vec<BTreeSet<NodeId>> =
            sides.iter().map(|side| side.iter().map(|number| node(*number)).collect()).collect();
        self.bus.cut(&sides, &mut self.random);
        self.notice_broken_rings();
    }

    /// Mend the network.
    pub fn heal(&mut self) {
        self.tell(|| "NETWORK heal".to_owned());
        self.bus.heal();
        self.notice_neighbours();
        self.begin_recoveries();
    }

    /// The next agent that is run for this victim behaves so.
    pub fn order_fencing(&mut self, victim: u32, behaviour: Behaviour) {
        self.switch.order(node(victim), behaviour);
    }

    /// The next `times` agents for this victim fail.
    pub fn fail_fencing(&mut self, victim: u32, times: u32) {
        for _ in 0..times {
            self.switch.order(node(victim), Behaviour::Fails(1));
        }
    }

    /// Every agent for this victim behaves so, until `repair_fencing`.
    pub fn stand_fencing(&mut self, victim: u32, behaviour: Behaviour) {
        self.switch.stand(node(victim), behaviour);
    }

    /// All agents work from now on.
    pub fn repair_fencing(&mut self) {
        self.switch.repair();
    }

    /// An operator tells the daemon of `on` that `victim` is fenced.
    pub fn acknowledge(&mut self, on: u32, victim: u32) {
        self.said_fenced(node(victim));
        self.local(node(on), Event::FenceAck { node: node(victim) });
    }

    /// The stops of this node's kernel take this long from now on; `None`: as the pace has it.
    pub fn stops_take(&mut self, number: u32, millis: Option<u64>) {
        match millis {
            Some(millis) => self.long_stops.insert(node(number), millis * 1_000_000),
            None => self.long_stops.remove(&node(number)),
        };
    }

    /// The next `times` writes to this node's kernel fail.
    pub fn fail_writes(&mut self, number: u32, times: u32) {
        self.failing_writes.insert(node(number), times);
    }

    /// The daemon of this node does nothing for so long: it is stopped, or its processor is busy elsewhere.
    pub fn hang(&mut self, number: u32, millis: u64) {
        self.tell(|| format!("HANG daemon of {number} for {millis} ms"));
        self.hung.insert(node(number), self.now + millis * 1_000_000);
    }

    /// Until when the daemon that this is for hangs.
    pub(super) fn hangs(&self, action: &Action) -> Option<u64> {
        let (Action::Take(id, _) | Action::Local { node: id, .. }) = action else { return None };
        self.hung.get(id).copied().filter(|until| *until > self.now)
    }

    /// Somebody sets the wall clock of a node by so many seconds.
    pub fn set_clock(&mut self, number: u32, seconds: i64) {
        self.tell(|| format!("CLOCK of {number} by {seconds} s"));
        let off = self.wall.entry(node(number)).or_default();
        *off = off.saturating_add(seconds);
    }

    pub(super) fn stop_time(&mut self, id: NodeId) -> u64 {
        let drawn = self.pace.stopping(&mut self.random);
        self.long_stops.get(&id).copied().unwrap_or(drawn)
    }

    pub(super) fn agent_end(
        &mut self,
        id: NodeId,
        epoch: Epoch,
        token: Token,
        (victim, device): (NodeId, String),
        behaviour: Behaviour,
    ) {
        // An agent outlives its daemon; one that was killed has been reported by the kill.
        let orphan = !self.is_epoch(id, epoch);
        let known =
            self.daemon_mut(id).is_some_and(|daemon| daemon.agents.remove(&token).is_some());
        if !orphan && !known {
            return;
        }
        let status = match behaviour {
            Behaviour::Works => {
                let off = self.feeds_off.entry(victim).or_default();
                off.insert(device);
                if off.len() > usize::from(self.two_feeds) {
                    self.power_off(victim, "fenced");
                }
                0
            }
            Behaviour::Lies => {
                self.said_fenced(victim);
                0
            }
            Behaviour::Fails(status) => status,
            Behaviour::Hangs | Behaviour::Missing => return,
        };
        self.tell(|| format!("{id} agent for {victim} ends: {status}"));
        if !orphan {
            let outcome = AgentOutcome::Exited(status);
            self.local(id, Event::AgentDone { token, outcome, output: String::new() });
        }
    }
}
