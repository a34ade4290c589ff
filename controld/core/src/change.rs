//! One configuration change of a lockspace, and the matching of START messages to changes.
//!
//! Nodes count their changes for themselves, so a START names its change by what is in it: four counts and the members.
//! It goes to the **oldest** pending change that fits; every node must match alike, or they would disagree about the
//! barrier (spec/lockspace-recovery.md sections 5 and 6).

use crate::event::{Confchg, JoinReason, LeaveReason};
use crate::message::{ChangeCounts, START_HAVEPLOCK, START_NACK, Start};
use crate::mutants::{Mutant, Mutation};
use crate::plock::Word;
use crate::types::{ChangeSeq, NodeId};
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// A pending or completed change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Change {
    pub(crate) seq: ChangeSeq,
    /// Members in confchg order.
    pub(crate) order: Vec<NodeId>,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) joined: BTreeSet<NodeId>,
    pub(crate) left: Vec<(NodeId, Left)>,
    /// Partitions of the group came together.
    pub(crate) merges: bool,
    /// Our START for it is on its way.
    pub(crate) start_sent: bool,
}

/// How a node left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Left {
    /// In order.
    Clean,
    /// By failure.
    Failed,
}

/// A member of a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Which of the node's stays in this group it is: a START of a later stay never counts for an earlier one.
    pub(crate) incarnation: u32,
    /// It joined in this change.
    pub(crate) added: bool,
    /// Its accepted START, by the sender's number of the change.
    pub(crate) start: Option<ChangeSeq>,
    /// A later START of it that looks the same: for it this is a change after the one that its accepted START was about.
    pub(crate) again: Option<ChangeSeq>,
    /// It had completed no barrier when it sent the START: its kernel holds nothing of this lockspace.
    pub(crate) fresh: bool,
    /// That START said that it has all POSIX locks.
    pub(crate) has_plocks: bool,
    /// What it said of `plock_ownership`.
    pub(crate) word: Word,
    /// It said that this change is void for it, by its number.
    pub(crate) void: Option<ChangeSeq>,
    /// It merged with state of its own: its START does not count.
    pub(crate) disallowed: bool,
}

/// What is known of the sender of a START.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    pub(crate) node: NodeId,
    /// Its present stay in the group.
    pub(crate) incarnation: u32,
    /// The newest change that a START of it was matched to.
    pub(crate) last_match: ChangeSeq,
}

impl Change {
    pub(crate) fn new(
        seq: ChangeSeq,
        confchg: &Confchg,
        incarnation: impl Fn(NodeId) -> u32,
    ) -> Self {
        let joined: BTreeSet<NodeId> = confchg.joined.iter().map(|(node, _)| *node).collect();
        let members = confchg
            .members
            .iter()
            .map(|node| {
                let member = Member {
                    incarnation: incarnation(*node),
                    added: joined.contains(node),
                    start: None,
                    again: None,
                    fresh: false,
                    has_plocks: false,
                    word: Word::Nothing,
                    void: None,
                    disallowed: false,
                };
                (*node, member)
            })
            .collect();
        let left = confchg
            .left
            .iter()
            .map(|(node, reason)| {
                (*node, if *reason == LeaveReason::Leave { Left::Clean } else { Left::Failed })
            })
            .collect();
        Self {
            seq,
            order: confchg.members.clone(),
            members,
            joined,
            left,
            merges: merges(confchg),
            start_sent: false,
        }
    }

    pub(crate) fn failed_count(&self) -> usize {
        self.left.iter().filter(|(_, how)| *how == Left::Failed).count()
    }

    /// The body of a START or NACK about this change.
    pub(crate) fn counts(&self, started_count: u32) -> ChangeCounts {
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        ChangeCounts {
            started_count,
            member_count: number(self.order.len()),
            joined_count: number(self.joined.len()),
            remove_count: number(self.left.len()),
            failed_count: number(self.failed_count()),
            members: self.order.clone(),
        }
    }

    /// Same counts and same members: a START cannot tell them apart.
    pub(crate) fn looks_like(&self, other: &Self) -> bool {
        self.joined.len() == other.joined.len()
            && self.left.len() == other.left.len()
            && self.failed_count() == other.failed_count()
            && self.members.keys().eq(other.members.keys())
    }

    /// The counts and members are of this change.
    pub(crate) fn fits(&self, counts: &ChangeCounts) -> bool {
        let same = |ours: usize, theirs: i32| i32::try_from(ours) == Ok(theirs);
        same(self.members.len(), counts.member_count)
            && same(self.joined.len(), counts.joined_count)
            && same(self.left.len(), counts.remove_count)
            && same(self.failed_count(), counts.failed_count)
            && counts.members.len() == self.members.len()
            && counts.members.iter().all(|node| self.members.contains_key(node))
    }

    /// Members whose START has not come.
    pub(crate) fn missing(&self) -> BTreeSet<NodeId> {
        self.members
            .iter()
            .filter(|(_, member)| member.start.is_none())
            .map(|(id, _)| *id)
            .collect()
    }

    /// Every member's START has come.
    pub(crate) fn is_complete(&self) -> bool {
        self.members.values().all(|member| member.start.is_some())
    }

    /// Members that merged with state of their own.
    pub(crate) fn disallowed(&self) -> BTreeSet<NodeId> {
        self.members.iter().filter(|(_, member)| member.disallowed).map(|(id, _)| *id).collect()
    }

    /// Members whose kernel holds nothing of this lockspace yet.
    pub(crate) fn fresh(&self) -> BTreeSet<NodeId> {
        self.members.iter().filter(|(_, member)| member.fresh).map(|(id, _)| *id).collect()
    }

    /// Record an accepted START.
    pub(crate) fn record_start(&mut self, node: NodeId, start: &Start) {
        if let Some(member) = self.members.get_mut(&node) {
            member.start = Some(start.seq);
            member.fresh = start.counts.started_count == 0;
            member.has_plocks = start.flags & START_HAVEPLOCK != 0;
            member.word = Word::from_flags(start.flags);
        }
    }
}

/// Rings have merged, and the group with them.
pub(crate) fn merges(confchg: &Confchg) -> bool {
    confchg.joined.iter().any(|(_, reason)| *reason == JoinReason::NodeUp)
}

/// Where a START or NACK belongs: an index into the pending changes (newest first).
///
/// `None`: nowhere. `our_only_change`: our first and only change is never void.
pub(crate) fn match_start(
    changes: &VecDeque<Change>,
    sender: Sender,
    start: &Start,
    our_node: NodeId,
    mutation: Mutation,
) -> Option<usize> {
    if !start.counts.members.contains(&our_node) {
        return None;
    }
    let nack = start.flags & START_NACK != 0;
    let as_c = mutation.has(Mutant::NackStarted);
    if nack && !as_c && was_started(changes, sender, start.seq) {
        return None;
    }
    let our_only_change =
        changes.len() == 1 && changes.front().is_some_and(|change| change.seq.get() == 1);
    if nack && our_only_change {
        return None;
    }
    let fitting = |change: &Change| {
        change.fits(&start.counts)
            && sender.last_match <= change.seq
            && change.members.get(&sender.node).is_some_and(|member| {
                member.incarnation == sender.incarnation && member.start.is_none()
            })
    };
    let void = |change: &Change| change.members.get(&sender.node).and_then(|member| member.void);
    let oldest = (0..changes.len()).rev().find(|index| {
        changes.get(*index).is_some_and(|change| fitting(change) && void(change).is_none())
    });
    if oldest.is_some() || nack || as_c {
        return oldest;
    }
    // The sender's NACK was about a change from before our time in the group and hit the only one of ours that looks like
    // it. What it sends after that, by its own numbers, is meant for this one.
    changes
        .front()
        .filter(|newest| fitting(newest) && void(newest).is_some_and(|seq| seq != start.seq))
        .map(|_| 0)
}

/// A NACK for a change whose START we have: the C daemon sends those (defect 12). It must void nothing else.
fn was_started(changes: &VecDeque<Change>, sender: Sender, seq: ChangeSeq) -> bool {
    changes.iter().any(|change| {
        change.members.get(&sender.node).is_some_and(|member| {
            member.incarnation == sender.incarnation && member.start == Some(seq)
        })
    })
}
