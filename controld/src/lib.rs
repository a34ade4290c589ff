//! `dlm_controld` as a library, so that tests and fuzzers reach its rooms. See the repository's README for the daemon.

pub mod cluster;
pub mod config;
pub mod control;
pub mod daemon;
pub mod driver;
pub mod feed;
pub mod fence;
pub mod kernel;
pub mod logging;
pub mod process;
pub mod reactor;
pub mod service;
#[cfg(test)]
mod skipped;
#[cfg(feature = "testbed")]
pub mod testbed;
pub mod wire;
