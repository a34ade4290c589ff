//! What happened, in words a person reads at a glance: the lines of the log that begin with `timeline`, each with the nodes
//! that it is about, the cause, and how long it took.
//!
//! What changes the state of a lockspace, and what waits for somebody else than corosync, reaches the journal or syslog;
//! the steps between are for the dump.

use crate::logging::Details;
use dlm_core::effect::{Level, LogLine, Moment};
use dlm_core::snapshot::Wait;
use dlm_core::types::{Instant, LockspaceName, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// When what is going on began. Bounded by the lockspaces and nodes that there are.
#[derive(Debug, Default)]
pub(super) struct Timeline {
    changes: BTreeMap<LockspaceName, Change>,
    /// Nodes that must be fenced.
    victims: BTreeMap<NodeId, Instant>,
    /// The newest agent for each of them.
    agents: BTreeMap<NodeId, Instant>,
}

/// A change of a lockspace's members that is not over.
#[derive(Debug)]
struct Change {
    began: Instant,
    start_sent: Option<Instant>,
    node: Option<String>,
    cause: Option<&'static str>,
}

/// What a moment is told as.
struct Told {
    level: Level,
    text: String,
    details: Details,
}

impl Told {
    fn new(level: Level, text: String) -> Self {
        Self { level, text, details: Details::default() }
    }

    fn about(mut self, nodes: &BTreeSet<NodeId>, cause: Option<&'static str>) -> Self {
        self.details.node = some_ids(nodes);
        self.details.cause = cause;
        self
    }

    /// About the fencing of a node.
    fn of(self, victim: NodeId) -> Self {
        self.about(&[victim].into(), Some("fencing"))
    }

    fn since(mut self, then: Option<Instant>, now: Instant) -> Self {
        self.details.duration_ms = then.map(|then| now.millis_since(then));
        self
    }
}

impl Timeline {
    /// A line for the log.
    pub(super) fn line(&mut self, now: Instant, moment: &Moment) -> (LogLine, Details) {
        let lockspace = moment.lockspace().cloned();
        let Told { level, text, details } = self.told(now, moment);
        (LogLine { level, lockspace, text: format!("timeline {text}") }, details)
    }

    fn told(&mut self, now: Instant, moment: &Moment) -> Told {
        let debug = || Told::new(Level::Debug, moment.to_string());
        let info = || Told::new(Level::Info, moment.to_string());
        match moment {
            Moment::Changed { lockspace, members, joined, left, failed } => {
                self.changed(lockspace, now, [failed, left, joined], members)
            }
            Moment::Stopped { lockspace } => {
                let began = self.changes.get(lockspace).map(|change| change.began);
                info().since(began, now)
            }
            Moment::Waiting { wait, .. } => waiting(wait, moment),
            Moment::StartSent { lockspace } => {
                let change = self.changes.get_mut(lockspace);
                let began = change.map(|change| {
                    change.start_sent = Some(now);
                    change.began
                });
                debug().since(began, now)
            }
            Moment::StartReceived { lockspace, from } => {
                let sent = self.changes.get(lockspace).and_then(|change| change.start_sent);
                debug().about(&[*from].into(), None).since(sent, now)
            }
            Moment::Started { lockspace, .. } | Moment::Released { lockspace } => {
                self.over(lockspace, info(), now)
            }
            Moment::WithdrawAnswered { .. } => info(),
            Moment::Slots { .. } => debug(),
            Moment::FenceNeeded { victim, .. } => {
                self.victims.insert(*victim, now);
                info().of(*victim)
            }
            Moment::AgentStarted { victim, .. } => {
                self.agents.insert(*victim, now);
                debug().of(*victim)
            }
            Moment::AgentEnded { victim, .. } => {
                let began = self.agents.remove(victim);
                info().of(*victim).since(began, now)
            }
            Moment::Fenced { victim, .. } => {
                let needed = self.victims.remove(victim);
                info().of(*victim).since(needed, now)
            }
        }
    }

    /// `why`: who failed, left, joined. The change has begun, or goes on with other members.
    fn changed(
        &mut self,
        name: &LockspaceName,
        now: Instant,
        why: [&BTreeSet<NodeId>; 3],
        members: &BTreeSet<NodeId>,
    ) -> Told {
        let causes = ["failed", "left", "joined"].into_iter().zip(why);
        let causes: Vec<_> = causes.filter(|(_, nodes)| !nodes.is_empty()).collect();
        let mut text = format!("stopping for members {}", ids(members));
        for (word, nodes) in &causes {
            text.push_str(&format!(", {word} {}", ids(*nodes)));
        }
        let about = causes.iter().flat_map(|(_, nodes)| nodes.iter().copied()).collect();
        let told =
            Told::new(Level::Info, text).about(&about, causes.first().map(|(word, _)| *word));
        let Details { node, cause, .. } = told.details.clone();
        let change = self.changes.entry(name.clone()).or_insert_with(|| Change {
            began: now,
            start_sent: None,
            node,
            cause,
        });
        change.start_sent = None;
        told
    }

    /// The end of a change names its beginning's nodes and cause.
    fn over(&mut self, name: &LockspaceName, mut told: Told, now: Instant) -> Told {
        let Some(change) = self.changes.remove(name) else { return told };
        if let (Some(node), Some(cause)) = (&change.node, change.cause) {
            told.text.push_str(&format!(", as {node} {cause}"));
        }
        told.details.node = change.node;
        told.details.cause = change.cause;
        told.since(Some(change.began), now)
    }
}

/// What this node and corosync do in milliseconds is for the dump.
fn waiting(wait: &Wait, moment: &Moment) -> Told {
    let nobody = BTreeSet::new();
    let (level, cause, nodes) = match wait {
        Wait::Stop => (Level::Debug, "stop", &nobody),
        Wait::Ring => (Level::Debug, "rings", &nobody),
        Wait::Quorum => (Level::Info, "quorum", &nobody),
        Wait::Fencing(nodes) => (Level::Info, "fencing", nodes),
        Wait::NodeGone(nodes) => (Level::Info, "node_gone", nodes),
        Wait::Ghost(nodes) => (Level::Info, "ghost", nodes),
        Wait::Comms(nodes) => (Level::Debug, "comms", nodes),
        Wait::Withdraw(nodes) => (Level::Info, "withdraw", nodes),
        Wait::Handover => (Level::Debug, "handover", &nobody),
        Wait::Starts(nodes) => (Level::Debug, "starts", nodes),
        Wait::Disallowed(nodes) => (Level::Info, "disallowed", nodes),
    };
    Told::new(level, moment.to_string()).about(nodes, Some(cause))
}

fn ids<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    nodes.into_iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn some_ids(nodes: &BTreeSet<NodeId>) -> Option<String> {
    (!nodes.is_empty()).then(|| ids(nodes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).expect("not 0")
    }

    fn nodes(ids: &[u32]) -> BTreeSet<NodeId> {
        ids.iter().map(|id| node(*id)).collect()
    }

    /// Text, node, cause and milliseconds of a line that reaches the journal; the text of one that does not.
    fn told(timeline: &mut Timeline, ms: u64, moment: &Moment) -> String {
        let (line, details) = timeline.line(Instant::from_nanos(ms * 1_000_000), moment);
        let Details { node, cause, duration_ms } = details;
        match line.level {
            Level::Debug => line.text,
            Level::Info | Level::Error => {
                let lockspace = line.lockspace.map(|name| name.to_string());
                format!("{lockspace:?} {}: {node:?} {cause:?} {duration_ms:?}", line.text)
            }
        }
    }

    #[test]
    fn every_state_of_a_recovery_is_a_line_with_node_cause_and_duration() {
        let lockspace = LockspaceName::new(b"fs").expect("a name");
        let wait = |wait| Moment::Waiting { lockspace: lockspace.clone(), wait };
        let changed = Moment::Changed {
            lockspace: lockspace.clone(),
            members: nodes(&[1, 2]),
            joined: nodes(&[]),
            left: nodes(&[]),
            failed: nodes(&[3]),
        };
        let timeline = &mut Timeline::default();
        let by = node(2);
        let outcome = "exit status 0".to_owned();
        let device = "power".to_owned();
        let victim = node(3);
        let lines = [
            (1000, changed),
            (1000, Moment::FenceNeeded { victim, actor: Some(by) }),
            (1001, wait(Wait::Stop)),
            (1005, Moment::Stopped { lockspace: lockspace.clone() }),
            (1005, wait(Wait::Fencing(nodes(&[3])))),
            (1100, Moment::AgentStarted { victim, device }),
            (3900, Moment::AgentEnded { victim, outcome }),
            (4000, Moment::Fenced { victim, by }),
            (4000, Moment::StartSent { lockspace: lockspace.clone() }),
            (4030, Moment::StartReceived { lockspace: lockspace.clone(), from: by }),
            (4030, Moment::Fenced { victim: by, by }),
            (4030, Moment::WithdrawAnswered { lockspace: lockspace.clone() }),
            (4050, Moment::Started { lockspace: lockspace.clone(), members: nodes(&[1, 2]) }),
            (9000, Moment::Released { lockspace }),
        ];
        let lines: Vec<String> =
            lines.iter().map(|(ms, moment)| told(timeline, *ms, moment)).collect();
        expect_test::expect![[r#"
            Some("fs") timeline stopping for members 1 2, failed 3: Some("3") Some("failed") None
            None timeline node 3 must be fenced, by 2: Some("3") Some("fencing") None
            timeline waits for our kernel to stop
            Some("fs") timeline kernel stopped: None None Some(5)
            Some("fs") timeline waits for fencing of 3: Some("3") Some("fencing") None
            timeline fencing 3 with power
            None timeline fence agent for 3: exit status 0: Some("3") Some("fencing") Some(2800)
            None timeline node 3 is fenced, by 2: Some("3") Some("fencing") Some(3000)
            timeline START sent
            timeline START from 2
            None timeline node 2 came back clean, and need not be fenced: Some("2") Some("fencing") None
            Some("fs") timeline withdraw of gfs2 answered: None None None
            Some("fs") timeline kernel started with 1 2, as 3 failed: Some("3") Some("failed") Some(3050)
            Some("fs") timeline released: None None None
        "#]]
        .assert_eq(&(lines.join("\n") + "\n"));
        assert!(timeline.changes.is_empty() && timeline.victims.is_empty());
    }
}
