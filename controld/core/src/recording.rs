//! The state as recordings have it: a [`Core`] encodes itself without its POSIX locks, which are encoded by themselves, so
//! that they can be left out where they are too many.
//!
//! The encoding is derived: a new field of the state is in it without anybody's doing.

use crate::core::Core;
use crate::effect::Effect;
use crate::plock::{Contents, ContentsOf};
use alloc::vec::Vec;
use serde::{Deserialize, Serialize};

/// The POSIX locks of a core, to be encoded.
#[derive(Debug, Serialize)]
pub struct LocksOf<'a>(Vec<ContentsOf<'a>>);

/// POSIX locks, decoded.
#[derive(Debug, Deserialize)]
pub struct Locks(Vec<Contents>);

impl Core {
    /// Its POSIX locks.
    #[must_use]
    pub fn locks(&self) -> LocksOf<'_> {
        LocksOf(self.lockspaces.values().map(|lockspace| lockspace.plocks.contents()).collect())
    }

    /// Put POSIX locks into a core that was decoded without. Whether they are those of its lockspaces.
    pub fn restore_locks(&mut self, locks: Locks) -> bool {
        let fits = locks.0.len() == self.lockspaces.len();
        for (lockspace, contents) in self.lockspaces.values_mut().zip(locks.0) {
            lockspace.plocks.restore(contents);
        }
        fits
    }
}

impl Effect {
    /// About POSIX locks alone: only a core that has all locks can reproduce it.
    #[must_use]
    pub const fn is_about_plocks(&self) -> bool {
        match self {
            Self::Send { packet, .. } => packet.message.is_about_plocks(),
            Self::PlockResult(_) | Self::LogPlock { .. } => true,
            _ => false,
        }
    }
}
