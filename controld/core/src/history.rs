//! What is remembered of each node that was ever in a lockspace's group since we joined it
//! (spec/lockspace-recovery.md section 1).

use crate::event::LeaveReason;
use crate::types::{ChangeSeq, Instant, NodeId, Now, WallSeconds};
use alloc::collections::BTreeMap;
use serde::{Deserialize, Serialize};

/// All records of a lockspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct History {
    records: BTreeMap<NodeId, Record>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Order of first sight.
    pub(crate) order: usize,
    pub(crate) member: bool,
    /// Grows with each stay in the group.
    pub(crate) incarnation: u32,
    pub(crate) added_seq: ChangeSeq,
    pub(crate) removed_seq: ChangeSeq,
    /// The newest change that a START of it was matched to.
    pub(crate) last_match: ChangeSeq,
    /// It was there before us, or a START of it was accepted, and nothing has settled it since: it may have used the lockspace.
    pub(crate) ran: bool,
    /// It has said in this stay that it had started nothing: what it has started since, it has started with us as a member.
    pub(crate) came_empty: bool,
    /// It has said that the leave which ends this stay counts as a failure.
    pub(crate) recover: bool,
    /// It ran, failed, and is not known to be fenced.
    pub(crate) need_fencing: bool,
    /// It failed after this ring, and no start of ours has been decided since.
    pub(crate) failed_after: Option<u64>,
    pub(crate) fail_reason: Option<LeaveReason>,
    pub(crate) fail_time: Instant,
    pub(crate) fail_wall: WallSeconds,
}

impl History {
    pub(crate) fn get(&self, node: NodeId) -> Option<&Record> {
        self.records.get(&node)
    }

    pub(crate) fn get_mut(&mut self, node: NodeId) -> Option<&mut Record> {
        self.records.get_mut(&node)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Record)> {
        self.records.iter().map(|(node, record)| (*node, record))
    }

    /// The node's present stay; 0 before its first.
    pub(crate) fn incarnation(&self, node: NodeId) -> u32 {
        self.records.get(&node).map_or(0, |record| record.incarnation)
    }

    /// A node came; `before_us`: it was there when we joined, and may have used the lockspace.
    pub(crate) fn added(&mut self, node: NodeId, seq: ChangeSeq, before_us: bool) {
        let order = self.records.len();
        let record = self.records.entry(node).or_insert_with(|| Record::new(order));
        record.member = true;
        record.incarnation = record.incarnation.wrapping_add(1);
        record.added_seq = seq;
        record.ran |= before_us;
        record.came_empty = false;
        record.recover = false;
        record.last_match = ChangeSeq::default();
    }

    /// A node went. `ring` is the last ring that had it.
    pub(crate) fn removed(
        &mut self,
        node: NodeId,
        reason: LeaveReason,
        ring: u64,
        seq: ChangeSeq,
        now: Now,
    ) {
        let order = self.records.len();
        let record = self.records.entry(node).or_insert_with(|| Record::new(order));
        record.member = false;
        record.removed_seq = seq;
        if reason.is_failure() {
            record.need_fencing |= record.ran;
            record.failed_after = Some(ring);
            record.fail_reason = Some(reason);
            record.fail_time = now.mono;
            record.fail_wall = now.wall;
        } else if !record.need_fencing {
            record.ran = false;
        }
    }

    /// The node is known to be harmless.
    pub(crate) fn settled(&mut self, node: NodeId) {
        if let Some(record) = self.records.get_mut(&node) {
            record.need_fencing = false;
            record.ran = record.member && record.ran;
        }
    }

    /// A start was decided: the failures before it are dealt with. Who failed, and after which ring.
    pub(crate) fn started(&mut self) -> BTreeMap<NodeId, u64> {
        let failures = self
            .records
            .iter_mut()
            .map(|(node, record)| Some((*node, record.failed_after.take()?)));
        failures.flatten().collect()
    }

    /// The kernel was not given that start: these failures are still to be dealt with.
    pub(crate) fn not_started(&mut self, failed: &BTreeMap<NodeId, u64>) {
        for (node, ring) in failed {
            if let Some(record) = self.records.get_mut(node) {
                record.failed_after = record.failed_after.max(Some(*ring));
            }
        }
    }
}

impl Record {
    fn new(order: usize) -> Self {
        Self {
            order,
            member: false,
            incarnation: 0,
            added_seq: ChangeSeq::default(),
            removed_seq: ChangeSeq::default(),
            last_match: ChangeSeq::default(),
            ran: false,
            came_empty: false,
            recover: false,
            need_fencing: false,
            failed_after: None,
            fail_reason: None,
            fail_time: Instant::default(),
            fail_wall: WallSeconds::default(),
        }
    }
}
