//! The simulator: whole clusters of the real decisions on the models of `testbed`, in virtual time, under storms of faults.
//!
//! - [`fault`]: what can be done to a cluster;
//! - [`plan`]: what is done to one, drawn from a seed;
//! - [`storm`]: one run of a plan, with the promises of the design checked at every step;
//! - [`shrink`]: a failing run made short;
//! - [`campaign`]: many seeds on all cores;
//! - [`rate`]: how fast that is;
//! - [`scale`]: what a death and a join cost, and how that grows.
#![forbid(unsafe_code)]

mod aimed;
#[cfg(feature = "mutants")]
mod c_peer;
pub mod campaign;
pub mod fault;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod plan;
pub mod rate;
pub mod scale;
pub mod shrink;
pub mod storm;
mod withdraws;
