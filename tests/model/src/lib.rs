//! Model checking: all interleavings of two or three nodes with one lockspace, from its running on all of them, under a
//! few faults.
//!
//! - [`state`]: a world with the faults that may still happen in it, and all steps from there;
//! - [`search`]: every state that can be reached, the promises in each of them, and the way back to a running lockspace
//!   from each of them.
//!
//! The bounds are in the README beside this crate.
#![forbid(unsafe_code)]

pub mod search;
pub mod state;
