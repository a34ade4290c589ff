//! POSIX locks of cluster file systems: fcntl requests that the kernel hands to the daemon, decided alike on every node
//! because every node applies them in the group's order (spec/plocks.md).
//!
//! `record` has the nouns; `resource` the locks of one file, `resources` all of a lockspace; `space` takes requests and
//! messages, `in_flight` has those on their way, `unsent` ends what cannot be sent yet, `execution` carries them out, `results` puts the answers in order,
//! `agreement` says whether there is ownership, `ownership` with `handover` and `transfer` are the two further parts of the protocol.
//! `lockspace` is where a lockspace's life meets them, `dump` what `dlm_tool plocks` shows, `meters` and `count` what is counted,
//! `voice` how all of them speak, `errno` the kernel's numbers. Below `resource`: `locks` is what a request does to the locks,
//! `pass` how waiters get theirs, `list`, `ranges` and `freed` find what overlaps.

mod agreement;
mod contents;
mod count;
mod dump;
mod encoding;
mod errno;
mod execution;
mod freed;
mod handover;
mod idle;
mod in_flight;
mod index;
mod list;
mod locks;
mod lockspace;
mod meters;
mod ownership;
mod pass;
mod ranges;
mod record;
mod resource;
mod resources;
mod results;
mod space;
#[cfg(test)]
mod storm;
mod transfer;
mod unsent;
mod voice;

pub(crate) use agreement::{Word, agreed, before_start};
pub(crate) use contents::{Contents, ContentsOf};
pub use dump::{DumpPart, DumpPlace, PlockFile, PlockResource};
pub(crate) use errno::{EEXIST, ENOSYS};
pub use meters::{PLOCK_BOUNDS, PlockMeters, PlockTimes};
pub(crate) use space::{Plocks, Said, Service};
pub(crate) use transfer::Barrier;

pub use record::{
    FLAG_CLOSE, Holder, Mode, Op, PlockInfo, PlocksData, PlocksPart, RANGE_END, TransferEntry,
};
pub use resource::{Answer, Lock, Resource};
pub use voice::PlockText;
