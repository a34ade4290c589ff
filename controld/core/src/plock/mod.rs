//! POSIX locks of cluster file systems: fcntl requests that the kernel hands to the daemon, decided alike on every node
//! because every node applies them in the group's order (spec/plocks.md).
//!
//! `record` has the nouns, `resource` the locks and waiters of one inode.

mod record;
mod resource;

pub use record::{FLAG_CLOSE, Holder, Mode, Op, PlockInfo, PlocksData, RANGE_END, TransferEntry};
pub use resource::{Answer, Lock, Resource};
