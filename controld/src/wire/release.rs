//! RELEASE_RECOVER (type 19): the sender's coming leave counts as a failure (spec/cluster-protocol.md section 9).
//!
//! Newer than the protocol that was read and captured; the layout is our own reading: the value travels in the header's
//! `msgdata`, and there is no body. A longer message is accepted, its body not looked at.

use dlm_core::message::Message;

/// A RELEASE_RECOVER from its header words.
pub(super) const fn decode([_, value, _]: [u32; 3]) -> Message {
    Message::ReleaseRecover { value }
}

/// The header words of a RELEASE_RECOVER.
pub(super) const fn encode(value: u32) -> [u32; 3] {
    [0, value, 0]
}
