//! gfs2 withdraws from a file system (feature row 26, spec/gfs-control.md section 4).
//!
//! The kernel asks by an OFFLINE uevent, and releases the lockspace, and with it all its locks, once it is answered. Before
//! 6.18 the peers have replayed its journal by then; later kernels have it replayed after the release (RELEASE_RECOVER). Where
//! every member's daemon is ours, the answer waits until all peers have stopped the lockspace, so that nobody is granted a
//! lock between the release and the recovery after it. A peer then goes on by the change that the release brings. Until
//! then nobody starts with the member that withdraws, nor does that send a START: who comes meanwhile would go on beside
//! locks that are given away. Otherwise the answer is given at once, as upstream's udev script does.

use crate::effect::{KernelWrite, Lane, Level, Moment};
use crate::event::Token;
use crate::lockspace::{Lockspace, Phase};
use crate::message::Message;
use crate::mutants::Mutant;
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
    ours: Option<Ours>,
    /// Peers that withdraw and have not left yet.
    peers: BTreeSet<NodeId>,
    /// Those of them that we have not told that we have stopped.
    untold: BTreeSet<NodeId>,
}

/// Our own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Ours {
    /// The kernel waits for our answer.
    Asked {
        /// The lock table.
        table: String,
        /// Whose stop we wait for.
        awaited: BTreeSet<NodeId>,
    },
    /// It has it, and will release the lockspace.
    Answered,
}

impl Withdraws {
    /// Members whose leave is awaited before the next start, we among them perhaps.
    pub(crate) fn leavers(&self, our_node: NodeId) -> BTreeSet<NodeId> {
        let ours = self.ours.as_ref().map(|_| our_node);
        self.peers.iter().copied().chain(ours).collect()
    }

    /// Peers for whose leave our kernel is stopped.
    pub(crate) fn peers(&self) -> &BTreeSet<NodeId> {
        &self.peers
    }

    /// Peers whose stop is awaited before our own withdraw is answered.
    pub(crate) fn awaited(&self) -> Option<&BTreeSet<NodeId>> {
        match self.ours.as_ref()? {
            Ours::Asked { awaited, .. } => Some(awaited),
            Ours::Answered => None,
        }
    }

    /// A member is gone: nobody waits for it, and it waits for nobody.
    pub(crate) fn gone(&mut self, node: NodeId) {
        self.peers.remove(&node);
        self.untold.remove(&node);
        self.await_none_of(|gone| gone == node);
    }

    fn await_none_of(&mut self, is_done: impl Fn(NodeId) -> bool) {
        if let Some(Ours::Asked { awaited, .. }) = &mut self.ours {
            awaited.retain(|node| !is_done(*node));
        }
    }
}

impl Lockspace {
    /// Our gfs2 withdraws.
    pub(crate) fn withdraw(&mut self, table: String, world: &World, out: &mut Out<'_>) {
        let our_node = world.setup.our_node;
        let mut peers: BTreeSet<NodeId> = self.present_members();
        peers.remove(&our_node);
        let deaf = |node: &NodeId| world.daemons.is_without(*node, FEATURE_WITHDRAW);
        if self.phase != Phase::Member || peers.iter().any(deaf) {
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
        if world.mutated(Mutant::WithdrawAtOnce) {
            peers.clear();
        }
        self.withdraws.ours = Some(Ours::Asked { table, awaited: peers });
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
            Some(node) if node == our_node => self.withdraws.await_none_of(|told| told == from),
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
        // One whose first PROTOCOL has come meanwhile: a C daemon has not understood the question.
        let daemons = &world.daemons;
        let mute = |node| daemons.is_without(node, FEATURE_WITHDRAW);
        self.withdraws.await_none_of(mute);
        let table = match &mut self.withdraws.ours {
            Some(Ours::Asked { table, awaited }) if awaited.is_empty() => core::mem::take(table),
            _ => return None,
        };
        self.withdraws.ours = Some(Ours::Answered);
        out.moment(Moment::WithdrawAnswered { lockspace: self.name.clone() });
        Some(out.kernel(Lane::Lockspace(self.name.clone()), KernelWrite::AckWithdraw { table }))
    }
}
