//! Quorum and the list of nodes (corosync/quorum.h, model v1).

use crate::error::Result;
use crate::ffi::QuorumConnection;
use crate::types::{Dispatch, RingId};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

/// What corosync says about the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuorumEvent {
    /// Who came and went; before the `Quorum` event of the same ring.
    Nodelist {
        /// The ring.
        ring: RingId,
        /// Its nodes.
        members: Vec<u32>,
        /// Came.
        joined: Vec<u32>,
        /// Went. A node in both lists was away in between.
        left: Vec<u32>,
    },
    /// Quorum as it is now.
    Quorum {
        /// This partition may act.
        quorate: bool,
        /// The ring.
        ring: RingId,
        /// Its nodes.
        members: Vec<u32>,
    },
}

/// A connection to the quorum service.
pub struct Quorum(QuorumConnection);

impl Quorum {
    /// Connect.
    ///
    /// # Errors
    /// Corosync's: `CS_ERR_LIBRARY` where it does not run, `CS_ERR_TRY_AGAIN` while it starts.
    pub fn connect() -> Result<Self> {
        QuorumConnection::open().map(Self)
    }

    /// Ask for events: the present state, and every change.
    ///
    /// # Errors
    /// Corosync's.
    pub fn track(&self) -> Result<()> {
        self.0.track()
    }

    /// Read one note of corosync's, without waiting.
    ///
    /// # Errors
    /// Corosync's; the connection is of no more use.
    pub fn dispatch_one(&self) -> Result<Dispatch<QuorumEvent>> {
        self.0.dispatch_one().map(Into::into)
    }
}

impl AsFd for Quorum {
    /// Readable when [`Quorum::dispatch_one`] would find something, closed on exec.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Quorum").field(&self.as_fd()).finish()
    }
}
