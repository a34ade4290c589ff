//! Operations that began on this node: whose answers are missing.
//!
//! A record is kept until its client clears it, and for an hour after its end; all are bounded in number, and every wait
//! ends (spec/defects-and-latency.md item 71).

use super::commands::COMMAND_SECONDS;
use super::{COMMAND_LENGTH, RunAnswer, RunUuid, Then};
use crate::message::{
    RUN_NODE_FIRST, RUN_NODE_NONE, RUN_NODE_RECV, RunCounts, RunReply, RunRequest,
};
use crate::out::Out;
use crate::snapshot;
use crate::types::{Instant, NodeId};
use crate::waiting::Waiting;
use crate::world::World;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Operations that are kept.
const STARTED_MAX: usize = 256;
/// Seconds that an operation waits for answers: longer than any daemon of ours needs.
const REPLY_SECONDS: u64 = COMMAND_SECONDS + 60;
/// Seconds for which an operation that is done is kept for its client.
const KEPT_SECONDS: u64 = 3600;

/// All operations that began here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct StartedHere(BTreeMap<RunUuid, Started>);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Started {
    number: u64,
    request: Arc<RunRequest>,
    own: Own,
    /// Of our own command.
    pid: i32,
    result: i32,
    awaited: BTreeSet<NodeId>,
    replies: BTreeSet<NodeId>,
    failed: BTreeSet<NodeId>,
    /// End of the wait for answers; after the last one, of the record.
    due: Instant,
    /// Its end was logged.
    told: bool,
}

/// When the starting node runs the command itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Own {
    Never,
    AtOnce,
    /// At its place in the group's order.
    InOrder,
}

impl Own {
    /// One flag should be given. None means never; upstream then waits for an answer that cannot come.
    fn of(flags: u32) -> Self {
        if flags & RUN_NODE_NONE != 0 {
            Self::Never
        } else if flags & RUN_NODE_FIRST != 0 {
            Self::AtOnce
        } else if flags & RUN_NODE_RECV != 0 {
            Self::InOrder
        } else {
            Self::Never
        }
    }
}

impl StartedHere {
    /// Note an operation. `Ok(true)`: our own command is to run at once.
    pub(super) fn start(
        &mut self,
        number: u64,
        request: &Arc<RunRequest>,
        world: &World,
        out: &mut Out<'_>,
    ) -> Result<bool, &'static str> {
        let RunRequest { dest, start: us, flags, uuid, command } = &**request;
        if !world.setup.fixed.helper.is_on() {
            return Err("enable_helper is off");
        }
        if !world.daemons.is_settled() {
            return Err("the daemons have not agreed on a protocol yet");
        }
        if command.is_empty() || command.len() >= COMMAND_LENGTH || command.contains(&0) {
            return Err("a command has 1 to 1023 bytes");
        }
        if self.0.len() >= STARTED_MAX || self.0.contains_key(uuid) {
            return Err("too many operations are kept: clear those that are done (run_check)");
        }
        let own = Own::of(*flags);
        let is_meant = |node: &NodeId| match dest {
            Some(dest) => node == dest && (node != us || own != Own::Never),
            None => node != us || own != Own::Never,
        };
        let members = world.daemons.members().map(|(node, _)| node);
        let awaited: BTreeSet<NodeId> = members.filter(is_meant).collect();
        out.debug(format!("send_run_request {uuid} for {} nodes", awaited.len()));
        // Upstream calls it a success where the node that is to run it is not there.
        let failed = dest.filter(|dest| !awaited.contains(dest)).into_iter().collect();
        let seconds = if awaited.is_empty() { KEPT_SECONDS } else { REPLY_SECONDS };
        let started = Started {
            number,
            request: Arc::clone(request),
            own,
            pid: 0,
            result: 0,
            awaited,
            replies: BTreeSet::new(),
            failed,
            due: out.now.mono.plus_seconds(seconds),
            told: false,
        };
        let at_once = own == Own::AtOnce && started.awaited.contains(us);
        self.0.insert(uuid.clone(), started);
        Ok(at_once)
    }

    /// Our own request has come back: what we are to run now, if anything.
    pub(super) fn own_in_order(&self, uuid: &RunUuid, us: NodeId) -> Option<Arc<RunRequest>> {
        let started = self.0.get(uuid)?;
        let wanted = started.own == Own::InOrder && started.awaited.contains(&us);
        wanted.then(|| Arc::clone(&started.request))
    }

    /// What became of our own command, if we started the operation; gives what a reply says of it.
    pub(super) fn own_result(
        &mut self,
        request: &RunRequest,
        us: NodeId,
        pid: i32,
        result: i32,
    ) -> RunCounts {
        let started = self.0.get_mut(&request.uuid).filter(|_| request.start == us);
        started.map_or_else(RunCounts::default, |started| {
            (started.pid, started.result) = (pid, result);
            started.counts()
        })
    }

    /// An answer.
    pub(super) fn reply(&mut self, from: NodeId, reply: &RunReply, out: &mut Out<'_>) {
        let RunReply { uuid, result, .. } = reply;
        let Some(started) = self.0.get_mut(uuid) else {
            out.debug(format!("receive_run_reply no uuid {uuid}"));
            return;
        };
        out.debug(format!("receive_run_reply {uuid} from {from} result {result}"));
        if started.awaited.remove(&from) {
            started.replies.insert(from);
            if *result != 0 {
                started.failed.insert(from);
            }
            started.done_at(out.now.mono);
        }
    }

    /// A node has left the daemons: what it has not answered, it will not.
    pub(super) fn gone(&mut self, node: NodeId, out: &mut Out<'_>) {
        for (uuid, started) in &mut self.0 {
            if started.awaited.remove(&node) {
                out.error(format!("run {uuid}: node {node} has left without an answer"));
                started.failed.insert(node);
                started.done_at(out.now.mono);
            }
        }
    }

    /// The state, and what the client wants besides.
    pub(super) fn check(&mut self, uuid: &RunUuid, then: Then, out: &mut Out<'_>) -> RunAnswer {
        let Some(started) = self.0.get_mut(uuid) else {
            out.debug(format!("check_run no uuid {uuid}"));
            return RunAnswer::Unknown;
        };
        let RunCounts { awaited, replies, failed } = started.counts();
        out.debug(format!(
            "check_run {uuid} reply_count {replies} need_replies {awaited} fail_count {failed}"
        ));
        if then == Then::Cancel {
            self.0.remove(uuid);
            return RunAnswer::Cancelled;
        }
        if awaited != 0 {
            return RunAnswer::Waiting { failed: failed != 0 };
        }
        if !started.told {
            started.told = true;
            out.error(started.ended());
        }
        if then == Then::Clear {
            self.0.remove(uuid);
        }
        RunAnswer::Done { failed: failed != 0 }
    }

    /// Ends waits that have lasted too long, and forgets what nobody has asked for.
    pub(super) fn expire(&mut self, out: &mut Out<'_>) {
        let now = out.now.mono;
        self.0.retain(|_, started| started.due > now || !started.awaited.is_empty());
        for (uuid, started) in self.0.iter_mut().filter(|(_, started)| started.due <= now) {
            let silent = core::mem::take(&mut started.awaited);
            out.error(format!(
                "run {uuid}: no answer within {REPLY_SECONDS} s from {}",
                ids(&silent)
            ));
            started.failed.extend(silent);
            started.done_at(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().map(|started| started.due).min()
    }

    /// For whom these operations wait, if at all.
    pub(super) fn wait(&self) -> Option<Waiting> {
        let open = || self.0.values().filter(|started| !started.awaited.is_empty());
        let until = open().map(|started| started.due).min()?;
        let from = open().flat_map(|started| started.awaited.iter().copied()).collect();
        Some(Waiting::RunReplies { from, until, count: open().count() })
    }

    pub(super) fn snapshot(&self) -> impl Iterator<Item = snapshot::Run> {
        self.0.values().map(|started| snapshot::Run {
            number: started.number,
            request: Arc::clone(&started.request),
            pid: started.pid,
            result: started.result,
            counts: started.counts(),
        })
    }
}

impl Started {
    fn counts(&self) -> RunCounts {
        let number = |set: &BTreeSet<NodeId>| i32::try_from(set.len()).unwrap_or(i32::MAX);
        RunCounts {
            awaited: number(&self.awaited),
            replies: number(&self.replies),
            failed: number(&self.failed),
        }
    }

    /// Nobody is awaited any more: from now on the record waits for its client.
    fn done_at(&mut self, now: Instant) {
        if self.awaited.is_empty() {
            self.due = now.plus_seconds(KEPT_SECONDS);
        }
    }

    fn ended(&self) -> String {
        let uuid = &self.request.uuid;
        match self.failed.len() {
            0 => format!("run ended {uuid} success from {} remote nodes", self.replies.len()),
            failed => {
                format!(
                    "run ended {uuid} error from {failed} remote nodes with ids: {} ",
                    ids(&self.failed)
                )
            }
        }
    }
}

fn ids(nodes: &BTreeSet<NodeId>) -> String {
    nodes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
