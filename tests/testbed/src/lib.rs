//! The testbed: an embedded cluster on which `dlm_controld` is shown and tested without corosync, kernel or machines.
//!
//! - [`bus`]: corosync of all nodes: rings, quorum, ordered groups, partitions;
//! - [`kernel`]: one node's kernel: lockspaces, members, addresses, slots, recovery callbacks;
//! - [`power`]: the power switch behind the fence agents;
//! - [`harness`]: all of it around the real decisions (`dlm_core`), in virtual time, with the promises checked;
//! - `live` (feature): all of it around real daemons, in real time, over the protocol of `controld::testbed`;
//! - `lab` (feature): the daemons as processes in namespaces of their own, for `make demo` and tests.
//!
//! Every choice comes from one seed ([`random`]).
#![forbid(unsafe_code)]

pub mod bus;
pub mod harness;
pub mod kernel;
#[cfg(feature = "live")]
pub mod lab;
#[cfg(feature = "live")]
pub mod live;
pub mod power;
pub mod random;
