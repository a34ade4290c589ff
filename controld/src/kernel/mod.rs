//! The kernel seam: lockspace control, members, node addresses; uevents and the kernel log.
//!
//! What happens comes as [`dlm_core::event::Event`]s over one bounded channel: `Online`, `Offline`, `Withdraw`, `Slots`,
//! `KernelDone`.

use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::Token;

/// What any kernel must offer.
pub trait Kernel: Send {
    /// Carry out a write in its lane, and report its end with `KernelDone`. Never blocks the caller.
    fn write(&mut self, token: Token, lane: Lane, write: KernelWrite);
    /// The lockspace of this lane is gone: no further write will come for it.
    fn retire(&mut self, lane: &Lane);
}
