//! The client side of `dlm_controld`: what goes over its two local sockets, and a Rust client for all of it.
//!
//! The daemon uses [`proto`] as well, so both sides share one description of the bytes. Nothing here knows the daemon.
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
        clippy::indexing_slicing,
        reason = "a test that cannot go on fails"
    )
)]

pub mod client;
#[cfg(feature = "state")]
pub mod history;
pub mod proto;
pub mod report;
#[cfg(feature = "state")]
pub mod state;
pub mod status;

pub use client::{Client, Error};
