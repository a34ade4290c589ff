//! Which protocol the daemons run, and what each of them can do beyond it (spec/cluster-protocol.md section 5).

use crate::cluster::Cluster;
use crate::effect::Effect;
use crate::group::{Daemons, Membership};
use crate::message::{Message, PROTOCOL_STATEFUL, Protocol, ProtocolVersion};
use crate::mutants::Mutant;
use crate::options::Setup;
use crate::out::Out;
use crate::types::{NodeId, Version};
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// Highest daemon protocol of ours: that of all C 4.x daemons.
const DAEMON_MAX: Version = Version::new(3, 1, 1);
/// Highest kernel protocol of ours.
const KERNEL_MAX: Version = Version::new(1, 1, 1);
/// We understand RELEASE_RECOVER (type 19).
pub(crate) const FEATURE_RELEASE_RECOVER: u32 = 1;
/// We stop a lockspace when a peer's gfs2 withdraws, and say so.
pub(crate) const FEATURE_WITHDRAW: u32 = 2;
/// We understand CANCEL of a waiting POSIX lock.
pub(crate) const FEATURE_CANCEL: u32 = 4;
/// We understand PLOCKS_BATCH.
pub(crate) const FEATURE_PLOCKS_BATCH: u32 = 8;
/// We say what is outstanding of our past when partitions meet.
pub(crate) const FEATURE_FENCE_PAST: u32 = 16;
/// All extensions of ours.
const FEATURES: u32 = FEATURE_RELEASE_RECOVER
    | FEATURE_WITHDRAW
    | FEATURE_CANCEL
    | FEATURE_PLOCKS_BATCH
    | FEATURE_FENCE_PAST;

/// The protocol in use; never changes in a daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) daemon: Version,
    pub(crate) kernel: Version,
}

impl Daemons {
    /// The protocol is settled: lockspaces may be joined.
    pub(crate) fn is_settled(&self) -> bool {
        self.run.is_some()
    }

    /// Version for lockspace messages.
    pub(crate) fn run_version(&self) -> Version {
        self.run.map(|run| run.daemon).unwrap_or_default()
    }

    /// A START of ours is on its way: from now on a merge with another partition's state is no clean join.
    pub(crate) fn set_stateful(&mut self) {
        self.stateful = true;
    }

    /// Every other member is a daemon of ours that has the feature.
    pub(crate) fn all_have(&self, feature: u32) -> bool {
        self.members().all(|(_, node)| match node.membership {
            Membership::Clean { features: Some(features), .. } => features & feature != 0,
            _ => false,
        })
    }

    /// This member is known not to have the feature: a C daemon. Not known: its first PROTOCOL is still to come, or its end.
    pub(crate) fn is_without(&self, node: NodeId, feature: u32) -> bool {
        let membership = self.nodes.get(&node).map(|node| node.membership);
        let Some(Membership::Clean { features, .. }) = membership else { return false };
        features.unwrap_or(0) & feature == 0
    }

    pub(crate) fn send_protocol(&mut self, run: Option<Run>, out: &mut Out<'_>) {
        let (daemon, kernel) = run.map_or_else(Default::default, |run| (run.daemon, run.kernel));
        let stateful = self.stateful && !self.mutation.has(Mutant::NeverStateful);
        let flags = if stateful { PROTOCOL_STATEFUL } else { 0 };
        self.stateless_said = self.stateless_said.saturating_add(u32::from(!stateful));
        let plain = |version| ProtocolVersion { version, flags: 0 };
        self.send(
            Message::Protocol(Protocol {
                daemon_max: plain(DAEMON_MAX),
                kernel_max: plain(KERNEL_MAX),
                daemon_run: ProtocolVersion { version: daemon, flags },
                kernel_run: plain(kernel),
                features: Some(FEATURES),
            }),
            out,
        );
    }

    /// A PROTOCOL message. Returns whether our protocol has just been settled.
    pub(crate) fn protocol(
        &mut self,
        from: NodeId,
        protocol: &Protocol,
        cluster: &Cluster,
        setup: &Setup,
        out: &mut Out<'_>,
    ) -> bool {
        out.debug(format!(
            "receive_protocol {from} max {}.{} run {}.{}",
            protocol.daemon_max.version,
            protocol.daemon_max.flags,
            protocol.daemon_run.version,
            protocol.daemon_run.flags
        ));
        if let Err(why) = plausible(protocol) {
            out.error(format!("receive_protocol {from} ignored: {why}"));
            return false;
        }
        let Some(node) = self.nodes.get_mut(&from).filter(|node| node.membership.is_member())
        else {
            out.error(format!("receive_protocol {from} ignored: not a member"));
            return false;
        };
        node.stateful = protocol.daemon_run.flags & PROTOCOL_STATEFUL != 0;
        if from == self.our_node && !node.stateful {
            self.stateless_said = self.stateless_said.saturating_sub(1);
        }
        // The C daemon takes a late first PROTOCOL for a merge if we have started a lockspace meanwhile, and may kill a
        // healthy node. Only what both had when they met can clash.
        let merge = from != self.our_node
            && !node.there_before_us
            && !node.membership.is_clean()
            && node.stateful
            && node.met_with_state
            && !self.mutation.has(Mutant::MergedIsClean);
        if merge {
            self.merged(from, cluster, setup, out);
        } else {
            let max = (protocol.daemon_max.version, protocol.kernel_max.version);
            node.membership = Membership::Clean { features: protocol.features, max };
        }
        let settled = self.adopt(protocol, from, out);
        self.propose(out);
        settled
    }

    /// The first run values anybody speaks are everybody's: the total order makes the choice the same on all nodes.
    fn adopt(&mut self, protocol: &Protocol, from: NodeId, out: &mut Out<'_>) -> bool {
        if self.run.is_some() || protocol.daemon_run.version.major == 0 {
            return false;
        }
        let run = Run { daemon: protocol.daemon_run.version, kernel: protocol.kernel_run.version };
        out.debug(format!("run protocol from nodeid {from}"));
        for (what, ours, theirs) in
            [("daemon", DAEMON_MAX, run.daemon), ("kernel", KERNEL_MAX, run.kernel)]
        {
            if theirs.major != ours.major || theirs.minor > ours.minor {
                let why = format!("incompatible {what} protocol run {theirs} max {ours}");
                out.error(why.clone());
                // Nor do we propose anything: a joiner could take it for what is run here.
                self.proposed = true;
                out.push(Effect::Refuse { why });
                return false;
            }
        }
        out.debug(format!(
            "daemon run {} max {DAEMON_MAX} kernel run {} max {KERNEL_MAX}",
            run.daemon, run.kernel
        ));
        self.run = Some(run);
        self.send_protocol(self.run, out);
        true
    }

    /// Once every member has said what it can run, each unsettled one proposes the minimum.
    pub(crate) fn propose(&mut self, out: &mut Out<'_>) {
        if self.run.is_some() || self.proposed {
            return;
        }
        let mut all: Vec<(Version, Version)> = Vec::new();
        for (_, node) in self.members() {
            match node.membership {
                Membership::Clean { max, .. } => all.push(max),
                _ => return,
            }
        }
        let daemon = all.iter().map(|(daemon, _)| *daemon).min();
        let kernel = all.iter().map(|(_, kernel)| *kernel).min();
        if let (Some(daemon), Some(kernel)) = (daemon, kernel) {
            out.debug(format!(
                "set_protocol member_count {} propose daemon {daemon} kernel {kernel}",
                all.len()
            ));
            self.proposed = true;
            self.send_protocol(Some(Run { daemon, kernel }), out);
        }
    }

    /// While our protocol is not settled: members whose PROTOCOL has not come, for whom the start waits.
    pub(crate) fn awaited_members(&self) -> BTreeSet<NodeId> {
        if self.is_settled() {
            return BTreeSet::new();
        }
        self.members()
            .filter(|(_, node)| node.membership == Membership::Silent)
            .map(|(id, _)| id)
            .collect()
    }
}

/// A PROTOCOL that says something (spec/cluster-protocol.md section 5, Validation).
fn plausible(protocol: &Protocol) -> Result<(), &'static str> {
    let zero = |version: Version| version.major == 0 || version.minor == 0 || version.patch == 0;
    if zero(protocol.daemon_max.version) || zero(protocol.kernel_max.version) {
        return Err("its maximum has a zero");
    }
    if protocol.daemon_run.version.major != 0
        && (zero(protocol.daemon_run.version) || zero(protocol.kernel_run.version))
    {
        return Err("its run values are incomplete");
    }
    Ok(())
}
