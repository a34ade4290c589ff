//! What is shown between the first and the last line, as rows of words with a tone each; colours come later.

use crate::explain::{self, ago};
use crate::words::{duration, what};
use dlmcontrol::state::{DaemonPhase, Lockspace, LockspaceState, Node, SlotsKnown, State, Wait};

/// How words are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As usual.
    Plain,
    /// The names of columns.
    Heading,
    /// All is well.
    Good,
    /// Something goes on.
    Busy,
    /// Somebody should look.
    Bad,
    /// Less important.
    Dim,
}

/// A line: words, each with its tone.
pub type Row = Vec<(Tone, String)>;

/// Columns of a lockspace: name, state, members, slots.
const NAME: usize = 16;
const STATE: usize = 10;
/// Columns of a node.
const NODE: usize = 8;
const NODE_STATE: usize = 32;
/// What belongs to a line above is written so far to the right.
const INDENT: usize = 4;

/// All rows, for a terminal of this width.
#[must_use]
pub fn rows(state: &State, width: usize) -> Vec<Row> {
    let mut rows = cluster(state, width);
    rows.push(Row::new());
    rows.push(heading(&format!("{:NODE$}{:NODE_STATE$} SINCE", "NODE", "STATE")));
    for one in &state.nodes {
        node(&mut rows, one, state, width);
    }
    rows.push(Row::new());
    if state.lockspaces.is_empty() {
        rows.push(vec![(Tone::Dim, "No lockspaces.".to_owned())]);
        return rows;
    }
    rows.push(heading(&format!(
        "{:NAME$}{:STATE$}MEMBERS, SLOTS (slot:node)",
        "LOCKSPACE", "STATE"
    )));
    for one in &state.lockspaces {
        lockspace(&mut rows, one, state, width);
    }
    rows
}

fn heading(text: &str) -> Row {
    vec![(Tone::Heading, text.to_owned())]
}

fn cluster(state: &State, width: usize) -> Vec<Row> {
    let cluster = &state.cluster;
    let mut row = Row::new();
    let mut add = |tone, text: String| row.push((tone, text));
    match state.daemon.phase {
        DaemonPhase::Running => {}
        DaemonPhase::Corosync => add(Tone::Busy, "connecting to corosync   ".to_owned()),
        DaemonPhase::Unfencing => add(Tone::Busy, "unfencing this node   ".to_owned()),
        DaemonPhase::Kernel => add(Tone::Busy, "waiting for the kernel's devices   ".to_owned()),
        DaemonPhase::Ending => add(Tone::Bad, "ending   ".to_owned()),
        DaemonPhase::Other => add(Tone::Busy, "at something unknown here   ".to_owned()),
    }
    if cluster.quorate {
        add(Tone::Good, "quorum".to_owned());
    } else {
        add(Tone::Bad, "NO QUORUM".to_owned());
    }
    let (ring, daemons) = (cluster.ring, cluster.daemon_ring);
    if ring == daemons {
        add(Tone::Plain, format!("   ring {}.{}", ring.node, ring.seq));
    } else {
        let of = daemons;
        add(
            Tone::Busy,
            format!("   ring {}.{}, daemons' {}.{}", ring.node, ring.seq, of.node, of.seq),
        );
    }
    if let Some(protocol) = &cluster.protocol {
        add(Tone::Plain, format!("   protocol {protocol}"));
    }
    add(Tone::Plain, format!("   members {}", list(&cluster.members)));
    if cluster.stateful_merge {
        add(Tone::Bad, "   MERGED PARTITIONS".to_owned());
    }
    let mut rows = Vec::new();
    if let Some(age) = state.stale_ms {
        let text =
            format!("THE DAEMON'S EVENT LOOP DOES NOT ANSWER; this is {} old", duration(age));
        rows.push(vec![(Tone::Bad, text)]);
    }
    rows.push(row);
    waits(&mut rows, &cluster.waits, state, width);
    if cluster.killed_agents > 0 {
        let text = format!("fence agents that were killed and go on: {}", cluster.killed_agents);
        below(&mut rows, Tone::Bad, &text, width);
    }
    rows
}

fn list(ids: &[u32]) -> String {
    if ids.is_empty() {
        return "-".to_owned();
    }
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

fn node(rows: &mut Vec<Row>, node: &Node, state: &State, width: usize) {
    let fencing = &node.fencing;
    let (tone, what, since) = if fencing.needed {
        let what = format!("failed ({}), to be fenced", node.left_reason);
        (Tone::Bad, what, fencing.failed)
    } else if node.merged {
        (Tone::Bad, "merged, to be removed".to_owned(), node.added)
    } else if node.member && !node.clean {
        (Tone::Busy, "member, says nothing yet".to_owned(), node.added)
    } else if node.member {
        (Tone::Good, "member".to_owned(), node.added)
    } else if !node.waits.is_empty() {
        (Tone::Busy, "not seen since our start".to_owned(), None)
    } else {
        (Tone::Dim, format!("gone ({})", node.left_reason), node.removed)
    };
    let ours = if Some(node.node) == state.cluster.our_node { "*" } else { "" };
    let since = since.map_or(String::new(), |since| duration(since.ms_until(state.now)));
    let mut row = vec![
        (Tone::Plain, format!("{:NODE$}", format!("{}{ours}", node.node))),
        (tone, format!("{what:NODE_STATE$}")),
        (Tone::Plain, format!(" {since:14}")),
    ];
    if let (Some(fenced), false) = (fencing.fenced, fencing.needed) {
        let by = fencing.fenced_by.map_or(String::new(), |by| format!(" by node {by}"));
        row.push((Tone::Dim, format!("fenced{}{by}", ago(fenced, state.now))));
    }
    rows.push(row);
    waits(rows, &node.waits, state, width);
    if fencing.needed {
        for line in explain::fencing(node, state).lines() {
            below(rows, Tone::Plain, line.trim_start(), width);
        }
    }
}

fn lockspace(rows: &mut Vec<Row>, lockspace: &Lockspace, state: &State, width: usize) {
    let (tone, word) = match lockspace.state {
        LockspaceState::Running if lockspace.without_quorum => (Tone::Busy, "running"),
        LockspaceState::Running => (Tone::Good, "running"),
        LockspaceState::Joining => (Tone::Busy, "joining"),
        LockspaceState::Stopped => (Tone::Bad, "stopped"),
        LockspaceState::Starting => (Tone::Busy, "starting"),
        LockspaceState::Leaving => (Tone::Busy, "leaving"),
        LockspaceState::Other => (Tone::Busy, "unknown"),
    };
    // A long name moves the rest of its line, and is not cut.
    let mut row = vec![
        (Tone::Plain, format!("{:NAME$}", format!("{} ", lockspace.name))),
        (tone, format!("{word:STATE$}")),
        (Tone::Plain, list(&lockspace.members)),
    ];
    if let Some(pending) = &lockspace.pending {
        row.push((Tone::Busy, format!(" -> {}", list(&pending.members))));
    }
    if !lockspace.slots.is_empty() {
        let slots: Vec<String> =
            lockspace.slots.iter().map(|slot| format!("{}:{}", slot.slot, slot.node)).collect();
        let known = match lockspace.slots_known {
            SlotsKnown::Confirmed => "",
            SlotsKnown::Predicted => " predicted",
            SlotsKnown::Unknown | SlotsKnown::Other => " unknown",
        };
        row.push((Tone::Dim, format!("   slots {}{known}", slots.join(" "))));
    }
    rows.push(row);
    if lockspace.without_quorum {
        below(rows, Tone::Busy, "without quorum, as its members have not changed", width);
    }
    waits(rows, &lockspace.waits, state, width);
}

fn waits(rows: &mut Vec<Row>, waits: &[Wait], state: &State, width: usize) {
    for wait in waits {
        let text =
            format!("waits for {}, for {} now", what(wait, state.now), duration(wait.waiting_ms));
        below(rows, Tone::Bad, &text, width);
    }
}

/// Text that belongs to the line above, on as many lines as it needs.
fn below(rows: &mut Vec<Row>, tone: Tone, text: &str, width: usize) {
    let room = width.saturating_sub(INDENT).max(1);
    let mut line = String::new();
    for word in text.split(' ') {
        let taken = line.chars().count();
        if taken > 0 && taken.saturating_add(1).saturating_add(word.chars().count()) > room {
            rows.push(vec![(tone, format!("{:INDENT$}{line}", ""))]);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    rows.push(vec![(tone, format!("{:INDENT$}{line}", ""))]);
}
