//! gfs2 withdraws from a file system (feature row 26, spec/gfs-control.md section 4).
//!
//! The peers have replayed its journal by then; the kernel asks by an OFFLINE uevent, and releases the lockspace, and
//! with it all its locks, once it is answered. Where every daemon is ours, the answer waits until all peers have stopped
//! the lockspace, so that nobody is granted a lock between the release and the recovery after it. A peer then goes on by
//! the change that the release brings. Otherwise the answer is given at once, as upstream's udev script does.

use crate::effect::{KernelWrite, Lane, Level, Moment};
use crate::event::Token;
use crate::lockspace::{Lockspace, Phase};
use crate::message::Message;
use crate::negotiation::FEATURE_WITHDRAW;
use crate::out::Out;
use crate::types::NodeId;
use crate::world::World;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// Withdraws of this lockspace's file system.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Withdraws {
    /// Ours: the lock table, and whose stop we wait for before we answer the kernel.
    ours: Option<(String, BTreeSet<NodeId>)>,
    /// Peers that withdraw and have not left yet.
    peers: BTreeSet<NodeId>,
    /// Those of them that we have not told that we have stopped.
    untold: BTreeSet<NodeId>,
}

impl Withdraws {
    /// Peers for whose leave our kernel is stopped.
    pub(crate) fn peers(&self) -> &BTreeSet<NodeId> {
        &self.peers
    }

    /// Peers whose stop is awaited before our own withdraw is answered.
    pub(crate) fn awaited(&self) -> Option<&BTreeSet<NodeId>> {
        self.ours.as_ref().map(|(_, awaited)| awaited)
    }

    /// A member is gone: nobody waits for it, and it waits for nobody.
    pub(crate) fn gone(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.untold.remove(&node);
        if let Some((_, awaited)) = &mut self.ours {
            awaited.remove(&node);
        }
    }
}

impl Lockspace {
    /// Our gfs2 withdraws.
    pub(crate) fn withdraw(&mut self, table: String, world: &World, out: &mut Out<'_>) {
        let our_node = world.setup.our_node;
        let mut peers: BTreeSet<NodeId> = self.present_members();
        peers.remove(&our_node);
        if self.phase != Phase::Member || !world.daemons.all_have(FEATURE_WITHDRAW) {
            let text = format!(
                "gfs2 {table} withdraws: acknowledged at once, not every daemon can stop for it"
            );
            out.lockspace(Level::Error, &self.name, text);
            peers.clear();
        } else if !peers.is_empty() {
            out.lockspace(
                Level::Error,
                &self.name,
                format!("gfs2 {table} withdraws: asking the others to stop"),
            );
            self.send(Message::Withdraw { stopped_for: None }, world, out);
        }
        self.withdraws.ours = Some((table, peers));
    }

    /// A peer's word about a withdraw.
    pub(crate) fn receive_withdraw(
        &mut self,
        from: NodeId,
        stopped_for: Option<NodeId>,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let our_node = world.setup.our_node;
        match stopped_for {
            None if from != our_node && self.present_members().contains(&from) => {
                out.lockspace(
                    Level::Error,
                    &self.name,
                    format!("gfs2 withdraws on {from}: stopping until it has left"),
                );
                self.withdraws.peers.insert(from);
                self.withdraws.untold.insert(from);
                self.stop(out);
            }
            Some(node) if node == our_node => {
                if let Some((_, awaited)) = &mut self.withdraws.ours {
                    awaited.remove(&from);
                }
            }
            None | Some(_) => {}
        }
    }

    /// Tell those who wait for our stop, and answer our kernel when nobody is waited for any more. Returns the token of
    /// the answer, which is no write of the lane's order: it lets the kernel go on, and changes nothing.
    pub(crate) fn settle_withdraws(&mut self, world: &World, out: &mut Out<'_>) -> Option<Token> {
        if self.kernel_is_idle() {
            for node in core::mem::take(&mut self.withdraws.untold) {
                self.send(Message::Withdraw { stopped_for: Some(node) }, world, out);
            }
        }
        if !self.withdraws.ours.as_ref().is_some_and(|(_, awaited)| awaited.is_empty()) {
            return None;
        }
        let (table, _) = self.withdraws.ours.take()?;
        out.moment(Moment::WithdrawAnswered { lockspace: self.name.clone() });
        Some(out.kernel(Lane::Lockspace(self.name.clone()), KernelWrite::AckWithdraw { table }))
    }
}
