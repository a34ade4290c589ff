//! Carrying out what a daemon asks for.

use super::World;
use super::agenda::Action;
use crate::bus::{ConfigId, Origin, Outgoing};
use crate::power::Behaviour;
use dlm_core::effect::Effect;
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::message::Packet;
use dlm_core::plock::PlockInfo;
use dlm_core::run::{RunEffect, RunEvent};
use dlm_core::types::{Group, NodeId};

use super::node::Fate;

impl World {
    pub(super) fn carry_out(&mut self, id: NodeId, effect: Effect) {
        match effect {
            Effect::Join(group) => {
                self.joins_anew(id, &group);
                self.bus.submit(id, &group, Outgoing::Join);
            }
            Effect::Leave(group) => {
                self.tell(|| format!("{id} -> leave {group}"));
                self.bus.submit(id, &group, Outgoing::Leave);
            }
            Effect::Send { group, packet } => self.send(id, &group, packet),
            Effect::Kick(target) => {
                self.tell(|| format!("{id} -> kick {target}"));
                let delay = self.hop();
                self.after(delay, Action::Kick { from: id, target, tries: 0 });
            }
            Effect::AnswerShutdown { allow } => {
                self.tell(|| format!("{id} -> shutdown {allow}"));
                self.check_shutdown(id, allow);
            }
            Effect::Kernel { token, lane, write } => self.begin_write(id, token, lane, write),
            Effect::RunAgent { token, victim, device, .. } => {
                self.run_agent(id, token, victim, device.name);
            }
            Effect::KillAgent(token) => self.kill_agent(id, token),
            Effect::Run(effect) => self.run_command(id, effect),
            Effect::Ready => self.tell(|| format!("{id} ready")),
            Effect::Log(line) => {
                let about = line.lockspace.map(|name| format!("{name} ")).unwrap_or_default();
                self.tell(|| format!("{id} log {about}{}", line.text));
            }
            Effect::PlockResult(info) => self.plock_result(id, &info),
            Effect::LogPlock { text, .. } => self.tell(|| format!("{id} plock log {text}")),
            Effect::Timeline(moment) => self.tell(|| format!("{id} moment {moment:?}")),
            Effect::Exit => {
                self.tell(|| format!("{id} daemon ends in order"));
                self.note_abandoned(id);
                if let Some(host) = self.nodes.get_mut(&id) {
                    host.kernel.clear_configfs();
                }
                self.daemon_gone(id);
            }
            Effect::Refuse { why } => {
                self.broken_by(id, format!("{id} refuses its peers: {why}"));
                self.daemon_gone(id);
            }
            Effect::Retire(name) => self.tell(|| format!("{id} -> retire {name}")),
            Effect::FailStop { why } => {
                self.tell(|| format!("{id} FAILSTOP {why}"));
                self.check_fail_stop(id, &why);
                self.daemon_gone(id);
                self.corosync_gone(id);
            }
            Effect::ExitClusterLost { why } => {
                self.tell(|| format!("{id} daemon ends, cluster lost: {why}"));
                self.daemon_gone(id);
            }
        }
    }

    fn plock_result(&mut self, id: NodeId, info: &PlockInfo) {
        self.tell(|| format!("{id} plock result {info:?}"));
        let Some(host) = self.nodes.get_mut(&id) else { return };
        match host.kernel.plocks().write(info) {
            Ok(asked) => self.lock_answered(&asked, info.result),
            Err(why) => self.broken_by(id, format!("{id}: {why}")),
        }
    }

    fn send(&mut self, id: NodeId, group: &Group, packet: Packet) {
        self.tell(|| format!("{id} -> {}", super::story::packet(group, &packet)));
        self.check_send(id, group, &packet);
        let config =
            self.daemon(id).and_then(|d| d.view(group)).map_or(ConfigId::default(), |v| v.config);
        let instance = match group {
            Group::Daemon => None,
            Group::Lockspace(name) => {
                self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name))
            }
        };
        let origin =
            Origin { config, instance: instance.map_or(0, |lockspace| lockspace.instance) };
        self.bus.submit(id, group, Outgoing::Message { packet, origin });
    }

    /// Give the head of an outbox its place; a leave that has one is clean for good.
    pub(super) fn order(&mut self, id: NodeId, group: &Group) {
        let ordered = self.bus.order(id, group);
        if let (Some(Outgoing::Leave), Group::Lockspace(name)) = (ordered, group) {
            let lockspace = self.nodes.get(&id).and_then(|host| host.kernel.lockspace(name));
            if let Some(instance) = lockspace.map(|lockspace| lockspace.instance) {
                self.left_in_order(instance);
            }
        }
    }

    /// A lockspace that left its group before its first start, and joins it again, lives on.
    fn joins_anew(&mut self, id: NodeId, group: &Group) {
        let Group::Lockspace(name) = group else { return };
        let life = self.life_of(id, name).and_then(|life| self.instances.get_mut(&life));
        if let Some(life) = life.filter(|life| life.fate == Fate::Clean) {
            life.fate = Fate::Open;
        }
    }

    pub(super) fn left_in_order(&mut self, instance: u64) {
        let unclean = self.disk.unclean.contains(&instance);
        let Some(life) = self.instances.get_mut(&instance) else { return };
        life.fate = if unclean { Fate::Unclean } else { Fate::Clean };
        // A C daemon does not tell its peers.
        if unclean && self.foreign.contains(&life.node) {
            self.disk.estranged.insert(instance);
        }
    }

    fn run_agent(&mut self, id: NodeId, token: Token, victim: NodeId, device: String) {
        self.check_agent(id, victim);
        let behaviour = self.switch.next(victim);
        self.tell(|| format!("{id} -> agent for {victim} ({behaviour:?})"));
        let Some(boot) = self.nodes.get(&id).map(|host| host.boot) else { return };
        let now = self.now;
        let Some(daemon) = self.daemon_mut(id) else { return };
        daemon.agents.insert(token, (victim, now));
        let epoch = daemon.epoch;
        if behaviour == Behaviour::Missing {
            /// ENOENT of errno(3).
            const ENOENT: i32 = 2;
            daemon.agents.remove(&token);
            let outcome = AgentOutcome::NotStarted(ENOENT);
            self.local(id, Event::AgentDone { token, outcome, output: String::new() });
        } else if behaviour != Behaviour::Hangs {
            let delay = super::Pace::draw(self.pace.agent, &mut self.random);
            let node = id;
            let end = Action::AgentEnd { node, boot, epoch, token, victim, device, behaviour };
            self.after(delay, end);
        }
    }

    /// Commands succeed at once here: what they do is nothing to lockspaces.
    fn run_command(&mut self, id: NodeId, effect: RunEffect) {
        self.tell(|| format!("{id} -> {effect:?}"));
        if let RunEffect::Command { token, .. } = effect {
            let outcome = AgentOutcome::Exited(0);
            let done = RunEvent::Done { token, pid: 1, outcome, output: String::new() };
            self.local(id, Event::Run(done));
        }
    }

    fn kill_agent(&mut self, id: NodeId, token: Token) {
        let victim = self.daemon_mut(id).and_then(|daemon| daemon.agents.remove(&token));
        let Some((victim, _)) = victim else { return };
        self.tell(|| format!("{id} -> kill agent for {victim}"));
        /// SIGKILL of signal(7).
        const SIGKILL: i32 = 9;
        let outcome = AgentOutcome::Signalled(SIGKILL);
        self.local(id, Event::AgentDone { token, outcome, output: String::new() });
    }
}
