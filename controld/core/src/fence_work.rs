//! The work of fencing: one pass after every event that is not of one lockspace or POSIX lock alone (spec/fencing.md sections 4, 7, 9).
//!
//! The pass starts what can start, and names for each victim what it waits for. It never polls: whatever could let it go
//! on is an event, or a deadline of its own (post_join_delay, an agent's time limit, the pause after a failure).

use crate::cluster::Cluster;
use crate::effect::{Effect, Moment};
use crate::event::{AgentOutcome, Token};
use crate::group::{Daemon, Daemons, LeftReason};
use crate::message::{FenceResult, Message};
use crate::mutants::Mutant;
use crate::options::{Device, Setup};
use crate::out::Out;
use crate::types::{Instant, NodeId, WallSeconds};
use crate::waiting::FenceWait;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Longest pause between attempts of ours for one victim.
const PAUSE_MAX_SECONDS: u64 = 60;

/// Of a deliberate defect: no agent ends later, seconds.
const NO_LIMIT: u64 = 1 << 32;

/// FENCE_RESULT where an agent was killed by a signal or could not be run.
const RESULT_NOT_RUN: i32 = -1;

/// Our running attempt to fence one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Attempt {
    /// Devices of the victim when the attempt began.
    devices: Vec<Device>,
    /// First device of the group that is running now.
    position: usize,
    /// Devices of this group, all parallel to each other.
    width: usize,
    running: BTreeSet<Token>,
    /// Result of the first member of the group that failed: then the group has failed.
    failed: Option<i32>,
    /// Our ring when the group began.
    ring: u64,
    /// When the group counts as failed.
    deadline: Instant,
    timed_out: bool,
}

impl Attempt {
    pub(crate) fn has(&self, token: Token) -> bool {
        self.running.contains(&token)
    }

    /// Whether agents of the attempt have not ended yet.
    pub(crate) fn is_running(&self) -> bool {
        !self.running.is_empty()
    }
}

/// The devices from `position` on that must all succeed together.
fn group_width(devices: &[Device], position: usize) -> usize {
    let Some((first, rest)) = devices.get(position..).and_then(<[Device]>::split_first) else {
        return 0;
    };
    rest.iter().take_while(|device| device.is_parallel_to(first)).count().saturating_add(1)
}

impl Daemons {
    /// One pass.
    pub(crate) fn fence_work(&mut self, cluster: &Cluster, setup: &Setup, out: &mut Out<'_>) {
        self.judge_pasts(cluster, setup);
        if !self.is_settled() {
            self.wait_all(&FenceWait::Protocol);
            return;
        }
        self.expire_agents(setup, out);
        let blocked = self.blocked_by(cluster, setup);
        if blocked == Some(Blocked::Ring) {
            self.wait_all(&FenceWait::Rings);
            return;
        }
        if blocked == Some(Blocked::Quorum) {
            self.wait_all(&FenceWait::Quorum);
        } else if self.clear_merge(setup, out) {
            self.wait_all(&FenceWait::Merge);
            return;
        } else {
            self.startup_list(cluster, setup, out);
            let due: Vec<NodeId> = self.victims().into_iter().collect();
            for victim in due {
                self.request(victim, cluster, setup, out);
            }
        }
        self.fipu_rules(cluster, setup, out);
    }

    /// What holds up all fencing.
    pub(crate) fn blocked_by(&self, cluster: &Cluster, setup: &Setup) -> Option<Blocked> {
        if !self.on_ring_of(cluster) {
            Some(Blocked::Ring)
        } else if setup.dynamic.quorum_fencing.is_on()
            && !cluster.quorate
            && !self.mutation.has(Mutant::FenceWithoutQuorum)
        {
            Some(Blocked::Quorum)
        } else {
            None
        }
    }

    fn wait_all(&mut self, what: &FenceWait) {
        for node in self.nodes.values_mut().filter(|node| node.victim.needs_fencing()) {
            node.victim.waits_for = Some(what.clone());
        }
    }

    /// The end of post_join_delay, if it is still to come.
    pub(crate) fn delay_end(&self, setup: &Setup, now: Instant) -> Option<Instant> {
        let begin = self.fencing.delay_begin?;
        let end = begin.plus_seconds(setup.dynamic.post_join_delay_seconds);
        (end > now).then_some(end)
    }

    /// Nodes that may still run from before our start: spared if they join in time, else fenced.
    fn startup_list(&mut self, cluster: &Cluster, setup: &Setup, out: &mut Out<'_>) {
        let list: Vec<NodeId> = self.fencing.startup.iter().copied().collect();
        for node in list {
            if self.is_clean(node) {
                out.debug(format!("fence startup {node} skip member"));
                self.fencing.startup.remove(&node);
                continue;
            }
            // Our own PROTOCOL may take longer than post_join_delay to come back: no reason to fence ourselves.
            let ours = node == self.our_node && !self.mutation.has(Mutant::StartupFencesUs);
            let waiting = ours
                || self.fencing.delay_begin.is_none()
                || self.delay_end(setup, out.now.mono).is_some();
            if !setup.fixed.startup_fencing.is_on() || waiting {
                continue;
            }
            self.fencing.startup.remove(&node);
            // A victim that has failed before everybody's eyes is being fenced for that, by those who saw it.
            let known = self.nodes.get(&node).is_some_and(|node| node.victim.needs_fencing());
            if known || self.mutation.has(Mutant::SkipStartupFencing) {
                continue;
            }
            let have_it = self.members().filter(|(_, member)| !member.has_no_list);
            let members: Vec<NodeId> = have_it.map(|(id, _)| id).collect();
            let fail_time = out.now.mono;
            self.needs_fencing_here(node, &members, LeftReason::Startup, out);
            // The agent must not take a fencing after our start for an old one, nor an old one for a new one.
            let heard = cluster.first_heard.unwrap_or(out.now.wall);
            self.set_fail_times(node, fail_time, WallSeconds(heard.0.saturating_sub(1)));
        }
    }

    /// Do for one victim what can be done now.
    fn request(&mut self, node: NodeId, cluster: &Cluster, setup: &Setup, out: &mut Out<'_>) {
        let joined = self.mutation.has(Mutant::JoinedIsReturned) && self.is_member(node);
        if self.is_clean(node) || joined {
            self.returned_clean(node, out);
            return;
        }
        if let Some(Daemon { victim, .. }) = self.nodes.get_mut(&node)
            && victim.waits_for.as_ref().is_some_and(FenceWait::is_for_all)
        {
            // No actor could do anything meanwhile.
            victim.deferred = victim.deferred.and(Some(out.now.mono));
        }
        let waits_for = self.start_if_due(node, cluster, setup, out);
        if let Some(entry) = self.nodes.get_mut(&node) {
            entry.victim.waits_for = waits_for;
        }
    }

    /// Returns what the victim's fencing waits for.
    fn start_if_due(
        &mut self,
        node: NodeId,
        cluster: &Cluster,
        setup: &Setup,
        out: &mut Out<'_>,
    ) -> Option<FenceWait> {
        if self.fencing.attempts.contains_key(&node) {
            return Some(FenceWait::Agent);
        }
        if self.nodes.get(&node).is_some_and(|node| node.victim.result_wait) {
            return Some(FenceWait::Result);
        }
        // Only a victim that corosync lists can be about to join us; nobody else is worth the delay.
        let delay = self.delay_end(setup, out.now.mono).filter(|_| cluster.has(node));
        if delay.is_some() {
            return Some(FenceWait::JoinDelay { until: delay });
        }
        let mut actor = self.actor_for(node, out);
        if self.deferral_end(node, setup).is_some_and(|end| end <= out.now.mono) {
            self.take_over(node, out);
            actor = self.actor_for(node, out);
        }
        match actor {
            None => return Some(FenceWait::Operator),
            Some(actor) if actor != self.our_node => {
                return Some(FenceWait::Actor(actor));
            }
            Some(_) => {}
        }
        if !setup.fixed.concurrent_fencing.is_on() && self.is_in_use(node, setup) {
            return Some(FenceWait::OtherAgent);
        }
        let victim = self.nodes.get(&node).map(|node| &node.victim);
        if let Some(paused) = victim.filter(|victim| victim.not_before > out.now.mono) {
            return Some(FenceWait::Pause { until: paused.not_before, failures: paused.failures });
        }
        self.begin_attempt(node, setup, out);
        Some(FenceWait::Agent)
    }

    /// A device of `node` is also one of a victim whose agent runs: many devices serve one at a time.
    fn is_in_use(&self, node: NodeId, setup: &Setup) -> bool {
        let ours = setup.devices.of(node).unwrap_or_default();
        let shared = |device: &Device| ours.iter().any(|of_node| of_node.name == device.name);
        let running = self.fencing.attempts.values().filter(|attempt| attempt.is_running());
        running.flat_map(|attempt| &attempt.devices).any(shared)
    }

    fn begin_attempt(&mut self, node: NodeId, setup: &Setup, out: &mut Out<'_>) {
        self.node_mut(node).victim.config_error = None;
        match setup.devices.of(node) {
            Ok(devices) if !devices.is_empty() => {
                let attempt = Attempt {
                    devices: devices.to_vec(),
                    position: 0,
                    width: 0,
                    running: BTreeSet::new(),
                    failed: None,
                    ring: self.ring.seq,
                    deadline: out.now.mono,
                    timed_out: false,
                };
                self.run_group(node, attempt, setup, out);
            }
            Ok(_) => self.fail_attempt(node, "no device", out),
            Err(why) => self.fail_attempt(node, why, out),
        }
    }

    /// There is nothing to fence the node with.
    fn fail_attempt(&mut self, node: NodeId, why: &str, out: &mut Out<'_>) {
        out.error(format!("fence config {node} error: {why}"));
        self.node_mut(node).victim.config_error = Some(String::from(why));
        self.finish_attempt(node, RESULT_NOT_RUN, self.ring.seq, out);
    }

    /// Start all devices of the group at `attempt.position`.
    fn run_group(&mut self, node: NodeId, mut attempt: Attempt, setup: &Setup, out: &mut Out<'_>) {
        attempt.width = group_width(&attempt.devices, attempt.position);
        attempt.failed = None;
        attempt.ring = self.ring.seq;
        attempt.timed_out = false;
        let limit = setup.fixed.agent_timeout_seconds;
        let without = self.mutation.has(Mutant::AgentWithoutEnd);
        attempt.deadline = out.now.mono.plus_seconds(if without { NO_LIMIT } else { limit });
        let fail_time = self.nodes.get(&node).map(|node| node.victim.fail_wall).unwrap_or_default();
        let reason =
            self.nodes.get(&node).map_or(LeftReason::Unknown, |node| node.left_reason).text();
        for device in attempt.devices.iter().skip(attempt.position).take(attempt.width) {
            let token = out.token();
            attempt.running.insert(token);
            out.error(format!(
                "fence request {node} {reason} time {} {} {}",
                fail_time.0, device.name, device.agent
            ));
            out.moment(Moment::AgentStarted { victim: node, device: device.name.clone() });
            out.push(Effect::RunAgent { token, victim: node, device: device.clone(), fail_time });
        }
        self.fencing.attempts.insert(node, attempt);
    }

    /// An agent has ended.
    pub(crate) fn agent_done(
        &mut self,
        token: Token,
        outcome: AgentOutcome,
        output: &str,
        setup: &Setup,
        out: &mut Out<'_>,
    ) {
        let Some(node) = self.fencing.victim_of(token) else { return };
        let Some(mut attempt) = self.fencing.attempts.remove(&node) else { return };
        attempt.running.remove(&token);
        let timed_out = attempt.timed_out;
        let text = outcome_text(outcome, timed_out, setup);
        let said =
            if output.trim().is_empty() { String::new() } else { format!(": {}", output.trim()) };
        out.error(format!("fence result {node} {text}{said}"));
        out.moment(Moment::AgentEnded {
            victim: node,
            outcome: outcome_words(outcome, timed_out, setup),
        });
        let result = match outcome {
            AgentOutcome::Exited(0) if !timed_out => None,
            AgentOutcome::Exited(status) if status != 0 => Some(status),
            AgentOutcome::Exited(_) | AgentOutcome::Signalled(_) | AgentOutcome::NotStarted(_) => {
                Some(RESULT_NOT_RUN)
            }
        };
        let last = self.mutation.has(Mutant::LastDeviceDecides);
        attempt.failed = if last { result } else { attempt.failed.or(result) };
        if attempt.is_running() {
            self.fencing.attempts.insert(node, attempt);
            return;
        }
        let next = attempt.position.saturating_add(attempt.width);
        match attempt.failed {
            None => self.finish_attempt(node, 0, attempt.ring, out),
            // A failed member fails its whole parallel group (defect 1); the next priority is behind the group.
            Some(_) if next < attempt.devices.len() => {
                attempt.position = next;
                self.run_group(node, attempt, setup, out);
            }
            Some(_) if self.mutation.has(Mutant::FailedAgentSucceeds) => {
                self.finish_attempt(node, 0, attempt.ring, out);
            }
            Some(result) => self.finish_attempt(node, result, attempt.ring, out),
        }
    }

    /// Tell everybody what became of our attempt. It counts, for us too, when the message comes back.
    fn finish_attempt(&mut self, node: NodeId, result: i32, ring: u64, out: &mut Out<'_>) {
        let now = out.now;
        let without_pause = self.mutation.has(Mutant::NoPause);
        let victim = &mut self.node_mut(node).victim;
        if !victim.needs_fencing() {
            return;
        }
        if result == 0 {
            victim.failures = 0;
        } else {
            victim.failures = victim.failures.saturating_add(1);
            let pause =
                if without_pause { 0 } else { 1 << victim.failures.saturating_sub(1).min(6) };
            victim.not_before = now.mono.plus_seconds(pause.min(PAUSE_MAX_SECONDS));
        }
        victim.result_wait = true;
        let result = FenceResult { victim: node, result, wall: now.wall, ring };
        self.send(Message::FenceResult(result), out);
    }

    /// The victim needs no fencing any more: stop our agents for it. Their ends are nobody's business then.
    pub(crate) fn cancel_attempt(&mut self, node: NodeId, out: &mut Out<'_>) {
        if let Some(attempt) = self.fencing.attempts.remove(&node) {
            for token in attempt.running {
                out.push(Effect::KillAgent(token));
            }
        }
    }

    /// Agents that have used up their time are killed; their end then counts as a failure.
    fn expire_agents(&mut self, setup: &Setup, out: &mut Out<'_>) {
        for (node, attempt) in &mut self.fencing.attempts {
            if attempt.timed_out || attempt.deadline > out.now.mono {
                continue;
            }
            attempt.timed_out = true;
            out.error(format!(
                "fence request {node}: agent has not ended within {} s (fence_agent_timeout), killing it",
                setup.fixed.agent_timeout_seconds
            ));
            for token in &attempt.running {
                out.push(Effect::KillAgent(*token));
            }
        }
    }

    /// When the next pass could do something without an event.
    pub(crate) fn deadline(&self, setup: &Setup, now: Instant) -> Option<Instant> {
        let agents = self
            .fencing
            .attempts
            .values()
            .filter(|attempt| !attempt.timed_out)
            .map(|attempt| attempt.deadline);
        let waits = self
            .nodes
            .values()
            .filter(|node| node.victim.needs_fencing())
            .map(|node| node.victim.not_before);
        let deferred = self.nodes.iter().filter(|(_, node)| node.victim.needs_fencing());
        let deferred = deferred.filter_map(|(id, _)| self.deferral_end(*id, setup));
        let awaited = !self.fencing.startup.is_empty() || !self.no_victims();
        let delay = if awaited { self.delay_end(setup, now) } else { None };
        let due = waits.chain(deferred).filter(|until| *until > now);
        agents.chain(due).chain(delay).min()
    }
}

/// What holds up all fencing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    Ring,
    Quorum,
}

/// As the C daemon's log has it.
fn outcome_text(outcome: AgentOutcome, timed_out: bool, setup: &Setup) -> String {
    if timed_out {
        return format!("no end within {} s", setup.fixed.agent_timeout_seconds);
    }
    match outcome {
        AgentOutcome::Exited(status) => format!("result {status} exit status"),
        AgentOutcome::Signalled(signal) => format!("result {signal} term signal"),
        AgentOutcome::NotStarted(errno) => format!("could not be started: errno {errno}"),
    }
}

/// For people.
fn outcome_words(outcome: AgentOutcome, timed_out: bool, setup: &Setup) -> String {
    match outcome {
        AgentOutcome::Exited(0) if !timed_out => String::from("success"),
        AgentOutcome::Exited(status) if !timed_out => format!("failure with exit status {status}"),
        AgentOutcome::Signalled(signal) if !timed_out => format!("ended by signal {signal}"),
        AgentOutcome::Exited(_) | AgentOutcome::Signalled(_) | AgentOutcome::NotStarted(_) => {
            outcome_text(outcome, timed_out, setup)
        }
    }
}
