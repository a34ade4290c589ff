//! The simulator: whole clusters of the real decisions on the models of `testbed`, in virtual time, under storms of faults.
//!
//! - [`plan`]: what is done to a cluster, drawn from a seed;
//! - [`storm`]: one run of a plan, with the promises of the design checked at every step;
//! - [`shrink`]: a failing run made short;
//! - [`campaign`]: many seeds on all cores;
//! - [`scale`]: what a death and a join cost, and how that grows.
#![forbid(unsafe_code)]

pub mod campaign;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod plan;
pub mod scale;
pub mod shrink;
pub mod storm;
