//! The flight recorder: the last events of a daemon, kept so that its decisions can be reproduced offline.
//!
//! A recording is a few *segments*. Each begins with the encoded state of the core, and goes on with what happened: the
//! time, the event, and a digest of the effects that it had. The core decides by these alone, so whoever feeds the events
//! to a core that begins with the same state sees the same effects; where the digests differ, it does not.
//!
//! | module | holds |
//! |---|---|
//! | `recorder` | the segments in memory, while the daemon runs |
//! | `file` | their form in a file, written and read |
//! | `replay` | a segment, step by step |
//! | `digest` | what of the effects is compared |
#![forbid(unsafe_code)]
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "a test that cannot go on fails"
    )
)]

mod digest;
mod file;
mod recorder;
mod replay;
#[cfg(test)]
mod tests;

pub use digest::Digest;
pub use file::{FILE_MAX, Head, ReadError, Reason, Recording, Segment, fuzz_recording};
pub use recorder::{Capacity, Recorder};
pub use replay::{Replay, Step, Taken, Verdict};

/// A fingerprint of the sources of the core in this build.
pub const FINGERPRINT: &str = env!("DLM_CORE_FINGERPRINT");
