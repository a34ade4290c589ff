//! What the death of a node costs: how long each of those who take part in a recovery had, and which setting would
//! shorten it. From the daemon's history; the last death counts.

use dlmcontrol::history::{Fencing, History, PhaseKind, Recovery};
use serde::Serialize;

/// The cost of one death.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Budget {
    /// Of which lockspace.
    pub lockspace: String,
    /// Who died.
    pub failed: Vec<u32>,
    /// From the last sign of life until the lockspace, and what stands on it, goes on; as far as it is known.
    pub total_ms: u64,
    /// Who had how much of it, in the order of time.
    pub parts: Vec<Part>,
}

/// What one had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Who.
    pub of: Of,
    /// How long; `None`: not known on this node.
    pub ms: Option<u64>,
    /// Of all that is known, percent.
    pub share: u64,
    /// Where it is set.
    pub setting: &'static str,
}

/// Those who take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// Corosync waits for the token: nobody knows yet.
    Token,
    /// Corosync agrees on who is left.
    Consensus,
    /// Nothing was done about fencing yet: `post_join_delay`, or the turn of another node.
    FenceDelay,
    /// The fence agent, failed attempts and pauses included.
    FenceAgent,
    /// Fencing by another node, which alone knows the two apart.
    Fencing,
    /// The daemons, which agree.
    Daemons,
    /// The kernel's dlm: stop, start, and recovery of its locks.
    Kernel,
    /// gfs2: replay of the journal.
    FileSystem,
}

impl Of {
    /// Its name, for people.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Token => "corosync's token",
            Self::Consensus => "corosync's consensus",
            Self::FenceDelay => "before the agent",
            Self::FenceAgent => "fence agent",
            Self::Fencing => "fencing",
            Self::Daemons => "daemons",
            Self::Kernel => "kernel dlm",
            Self::FileSystem => "file system",
        }
    }

    /// Where it is set, if anywhere.
    const fn setting(self) -> &'static str {
        match self {
            Self::Token => "totem.token in corosync.conf",
            Self::Consensus => "totem.consensus in corosync.conf",
            Self::FenceDelay => "post_join_delay in dlm.conf",
            Self::FenceAgent | Self::Fencing => "the fence devices",
            Self::Daemons => "the slowest node",
            Self::Kernel => "master weights in dlm.conf",
            Self::FileSystem => "the size of gfs2's journals",
        }
    }

    /// What would shorten it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Token => {
                "totem.token in corosync.conf; too short, and busy nodes are taken for dead"
            }
            Self::Consensus => {
                "totem.consensus in corosync.conf, which follows totem.token (1.2 times) if not set"
            }
            Self::FenceDelay => {
                "a smaller post_join_delay; see also whether quorum, or another node that was to fence, was waited for"
            }
            Self::FenceAgent => {
                "a faster fence device or agent, and one that does not fail: each failure brings a pause"
            }
            Self::Fencing => "see `dlm_tool history` on the node that fenced",
            Self::Daemons => "see above which node was last, and what it waited for",
            Self::Kernel => {
                "fewer locks in use, or weights (master lines in dlm.conf) that move fewer of them"
            }
            Self::FileSystem => {
                "smaller journals (mkfs.gfs2 -J), and storage that answers faster while all nodes recover"
            }
        }
    }
}

/// The cost of the last death, among all lockspaces or of one; `None`: nobody has died, or it is not over.
#[must_use]
pub fn budget(history: &History, name: Option<&str>) -> Option<Budget> {
    let over = |one: &&Recovery| {
        let wanted = name.is_none_or(|name| one.lockspace == name);
        wanted && !one.failed.is_empty() && one.ended.is_some() && !one.released
    };
    let death = history.recoveries.iter().rev().find(over)?;
    let mut known = vec![(Of::Token, history.token_ms), (Of::Consensus, history.consensus_ms)];
    known.extend(fencing(death, history));
    let spent = |kinds: &[PhaseKind]| -> u64 {
        let those = death.phases.iter().filter(|phase| kinds.contains(&phase.kind));
        those.map(|phase| phase.took_ms).sum()
    };
    let own = spent(&[PhaseKind::Stop, PhaseKind::KernelStart]);
    let rest = death.took_ms.saturating_sub(spent(&[PhaseKind::Fencing])).saturating_sub(own);
    let recovered = death.locks_after_ms;
    known.push((Of::Daemons, Some(rest)));
    known.push((Of::Kernel, Some(own.saturating_add(recovered.unwrap_or(0)))));
    let replayed = death.file_system_after_ms;
    known.push((Of::FileSystem, replayed.map(|ms| ms.saturating_sub(recovered.unwrap_or(0)))));
    let total_ms: u64 = known.iter().filter_map(|(_, ms)| *ms).sum();
    let part = |(of, ms): (Of, Option<u64>)| {
        let share = ms.unwrap_or(0).saturating_mul(100).checked_div(total_ms).unwrap_or(0);
        Part { of, ms, share, setting: of.setting() }
    };
    Some(Budget {
        lockspace: death.lockspace.clone(),
        failed: death.failed.clone(),
        total_ms,
        parts: known.into_iter().map(part).collect(),
    })
}

/// The time of fencing; in two where our own agent did it.
fn fencing(death: &Recovery, history: &History) -> Vec<(Of, Option<u64>)> {
    let phases = death.phases.iter().filter(|phase| phase.kind == PhaseKind::Fencing);
    let all: u64 = phases.map(|phase| phase.took_ms).sum();
    let ended = death.ended.unwrap_or(history.now);
    let ours = |one: &&Fencing| {
        death.failed.contains(&one.node) && one.needed <= ended && !one.agents.is_empty()
    };
    let agent = history.fencings.iter().rev().find(ours);
    let begun = agent.and_then(|one| one.agents.first().map(|agent| (one.needed, agent.started)));
    match begun {
        Some((needed, started)) => {
            let delay = needed.ms_until(started).min(all);
            vec![(Of::FenceDelay, Some(delay)), (Of::FenceAgent, Some(all.saturating_sub(delay)))]
        }
        None => vec![(Of::Fencing, Some(all))],
    }
}
