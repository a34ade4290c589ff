//! The decisions of `dlm_controld`: pure, deterministic state machines. Events go in, effects come out.
//!
//! No I/O, no clock, no threads, no randomness, no hash order: time comes with each event, and every rule of the
//! protocol is here and nowhere else. The compiler enforces it (`no_std`).
#![no_std]
#![forbid(unsafe_code)]
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "a test that cannot go on fails"
    )
)]

extern crate alloc;

mod barrier;
mod change;
mod cluster;
mod core;
pub mod effect;
pub mod event;
mod fence_work;
mod fencing;
mod fipu;
mod gate;
mod go_on;
mod group;
mod history;
mod lane;
mod lockspace;
mod merge;
pub mod message;
pub mod mutants;
mod negotiation;
pub mod options;
mod out;
mod pasts;
pub mod plock;
pub mod recording;
pub mod run;
mod slots;
pub mod snapshot;
mod timeline;
pub mod types;
mod view;
pub mod waiting;
mod waits;
mod withdraw;
mod world;
mod writes;

pub use crate::core::Core;
