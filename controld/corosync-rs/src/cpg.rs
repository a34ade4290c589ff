//! Closed process groups: ordered messages and membership (corosync/cpg.h).

use crate::error::{Error, Result};
use crate::ffi::{CPG_MAX_NAME_LENGTH, CpgConnection};
use crate::types::{Dispatch, RingId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// A group's name, 1 to 128 bytes. Corosync compares length and bytes, so `a` and `a` with a counted NUL are two groups.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Vec<u8>);

impl GroupName {
    /// Exactly these bytes.
    ///
    /// # Errors
    /// [`Error::GroupName`] where corosync has no room for them.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if (1..=CPG_MAX_NAME_LENGTH).contains(&bytes.len()) {
            Ok(Self(bytes.to_vec()))
        } else {
            Err(Error::GroupName { length: bytes.len() })
        }
    }

    /// These bytes and one NUL that counts, as many programs written in C name their groups.
    ///
    /// # Errors
    /// [`Error::GroupName`] where corosync has no room for them.
    pub fn with_nul(bytes: &[u8]) -> Result<Self> {
        Self::new(&[bytes, &[0]].concat())
    }

    /// The bytes as corosync counts them.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.strip_suffix(&[0]).unwrap_or(&self.0).escape_ascii().fmt(f)
    }
}

impl fmt::Debug for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// One process in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    /// Corosync's number of its node.
    pub node: u32,
    /// Its process id on that node.
    pub pid: u32,
}

/// Why a process came or went (`cpg_reason_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It joined.
    Join,
    /// It left in order.
    Leave,
    /// Its node left the ring.
    NodeDown,
    /// Its node's ring merged with ours.
    NodeUp,
    /// It ended, or closed its connection, without a leave.
    ProcDown,
    /// A number that the header does not name.
    Other(u32),
}

impl Reason {
    pub(crate) const fn from_raw(raw: u32) -> Self {
        match raw {
            1 => Self::Join,
            2 => Self::Leave,
            3 => Self::NodeDown,
            4 => Self::NodeUp,
            5 => Self::ProcDown,
            other => Self::Other(other),
        }
    }
}

/// What corosync says about a group, in the group's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CpgEvent {
    /// Members have changed.
    Confchg {
        /// Members after the change, in corosync's order.
        members: Vec<Process>,
        /// Who came.
        joined: Vec<(Process, Reason)>,
        /// Who went.
        left: Vec<(Process, Reason)>,
    },
    /// The ring: after the own join, and after the configuration changes of every new ring.
    Ring {
        /// Which.
        ring: RingId,
        /// Its nodes.
        members: Vec<u32>,
    },
    /// A message; one's own come back like any other.
    Message {
        /// Sender.
        from: Process,
        /// What was sent.
        bytes: Vec<u8>,
    },
}

/// A connection that can be in one group.
pub struct Cpg(CpgConnection);

impl Cpg {
    /// Connect.
    ///
    /// # Errors
    /// Corosync's: `CS_ERR_LIBRARY` where it does not run, `CS_ERR_TRY_AGAIN` while it starts.
    pub fn connect() -> Result<Self> {
        CpgConnection::open().map(Self)
    }

    /// Join. That it has happened comes as [`CpgEvent::Confchg`].
    ///
    /// # Errors
    /// Corosync's; `CS_ERR_TRY_AGAIN` during changes of the ring, to be repeated.
    pub fn join(&self, group: &GroupName) -> Result<()> {
        self.0.join(group.as_bytes())
    }

    /// Leave in order; the last event is a [`CpgEvent::Confchg`] that says so.
    ///
    /// # Errors
    /// As for [`Cpg::join`].
    pub fn leave(&self, group: &GroupName) -> Result<()> {
        self.0.leave(group.as_bytes())
    }

    /// Multicast to the joined group, in agreed order. Messages of more than about a megabyte go in pieces, and the
    /// call then waits until all have gone. The call puts the message where corosync will fetch it: between connections, even
    /// of one process, there is no order of sending.
    ///
    /// # Errors
    /// Corosync's; `CS_ERR_TRY_AGAIN` while its queue is full or the ring changes: nothing was sent.
    pub fn send(&self, message: &[u8]) -> Result<()> {
        self.0.send(message)
    }

    /// Read one note of corosync's, without waiting.
    ///
    /// # Errors
    /// Corosync's; the connection is of no more use.
    pub fn dispatch_one(&self) -> Result<Dispatch<CpgEvent>> {
        self.0.dispatch_one().map(Into::into)
    }

    /// The own node.
    ///
    /// # Errors
    /// Corosync's.
    pub fn local_node(&self) -> Result<u32> {
        self.0.local_node()
    }
}

impl AsFd for Cpg {
    /// Readable when [`Cpg::dispatch_one`] would find something, closed on exec.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Cpg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cpg").field(&self.as_fd()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counted_nul_is_part_of_the_name_and_of_its_length() {
        let with_nul = GroupName::with_nul(b"dlm:controld").map(|name| name.as_bytes().len());
        assert_eq!(with_nul, Ok(13));
        assert_ne!(GroupName::new(b"a"), GroupName::with_nul(b"a"));
    }

    #[test]
    fn names_without_or_over_corosyncs_room_are_refused() {
        assert_eq!(GroupName::new(b""), Err(Error::GroupName { length: 0 }));
        assert!(GroupName::new(&[b'x'; 128]).is_ok());
        assert_eq!(GroupName::with_nul(&[b'x'; 128]), Err(Error::GroupName { length: 129 }));
    }
}
