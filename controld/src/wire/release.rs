//! Messages about leaves that are none: RELEASE_RECOVER (type 19, spec/cluster-protocol.md section 9), after which the
//! sender's coming leave counts as a failure, and our own WITHDRAW. Both are only sent where every daemon knows them.
//!
//! WITHDRAW has no body: `msgdata` is the node for which the sender has stopped, or 0 where the sender itself withdraws.
//!
//! RELEASE_RECOVER is newer than the protocol that was read and captured; the layout is our own reading: the value
//! travels in the header's `msgdata`, and there is no body. A longer message is accepted, its body not looked at.

use dlm_core::message::Message;
use dlm_core::types::NodeId;

/// A RELEASE_RECOVER from its header words.
pub(super) const fn decode([_, value, _]: [u32; 3]) -> Message {
    Message::ReleaseRecover { value }
}

/// The header words of a RELEASE_RECOVER.
pub(super) const fn encode(value: u32) -> [u32; 3] {
    [0, value, 0]
}

/// For whom the sender of a WITHDRAW has stopped.
pub(super) const fn decode_withdraw([_, node, _]: [u32; 3]) -> Option<NodeId> {
    NodeId::new(node)
}

/// The header words of a WITHDRAW.
pub(super) fn encode_withdraw(stopped_for: Option<NodeId>) -> [u32; 3] {
    [0, stopped_for.map_or(0, NodeId::get), 0]
}
