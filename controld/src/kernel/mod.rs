//! The kernel seam: lockspace control, members, node addresses; uevents and the kernel log.
//!
//! What happens comes as [`dlm_core::event::Event`]s: `KernelDone` from the lanes first; then `Online`, `Offline` and `Withdraw`,
//! read in the driver's own turn; then `Slots`, over a bounded channel, as they are in a log that says much else. Requests for
//! POSIX locks come from their device, apart from all else: they come by the thousand, and must not hold up the others.
//!
//! The real side: [`real::RealKernel`] carries the writes out, each lockspace's in a lane of its own ([`lanes`]);
//! [`uevent`] and [`kmsg`] are what the kernel tells; [`startup`] is what the daemon does before it begins.

pub mod attributes;
pub mod configfs;
pub mod error;
pub mod files;
pub mod kmsg;
pub mod lanes;
pub mod misc;
pub mod plockdev;
pub(crate) mod ready;
pub mod real;
pub mod root;
pub mod scan;
pub mod startup;
pub mod sysfs;
#[cfg(test)]
pub(crate) mod testtree;
pub mod uevent;
pub mod write;

use dlm_core::effect::LogLine;
use std::sync::Arc;
use std::time::Duration;

/// Where lines for the log go. Called from the event loop, never from a lane: a lane has no
/// descriptors, and would write the line to whatever file happens to have the log's number.
pub type LogSink = Arc<dyn Fn(LogLine) + Send + Sync>;

use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::Token;
use dlm_core::options::Switch;
use dlm_core::plock::PlockInfo;

/// Requests for POSIX locks that have to wait for `plock_rate_limit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldBack {
    /// For how long there have been some all the time.
    pub lasted: Duration,
    /// Until the next one is taken.
    pub next: Duration,
}

/// What any kernel must offer.
pub trait Kernel: Send {
    /// Carry out a write in its lane, and report its end with `KernelDone`. Never blocks the caller.
    fn write(&mut self, token: Token, lane: Lane, write: KernelWrite);
    /// Writes will come in this lane: what can be done for them beforehand is done now.
    fn prepare(&mut self, _lane: Lane) {}
    /// The lockspace of this lane is gone: no further write will come for it.
    fn retire(&mut self, lane: &Lane);
    /// Switch the kernel's debug messages; a failure goes to the log.
    fn set_log_debug(&mut self, log_debug: Switch);
    /// Write the result of a plock request, behind those that were given before. Never blocks the caller.
    fn plock_result(&mut self, result: &PlockInfo);
    /// `plock_rate_limit`: requests that are read in a second, 0 for no limit.
    fn set_plock_rate_limit(&mut self, rate: u32);
    /// What `plock_rate_limit` holds back now, if anything.
    fn plocks_held_back(&self) -> Option<HeldBack> {
        None
    }
    /// How many requests it has delayed since this was asked last.
    fn take_plocks_delayed(&mut self) -> u64 {
        0
    }
}
