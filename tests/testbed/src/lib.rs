//! The testbed: an embedded cluster on which `dlm_controld` is shown and tested without corosync, kernel or machines.
//!
//! - [`bus`]: corosync of all nodes: rings, quorum, ordered groups, partitions;
//! - [`kernel`]: one node's kernel: lockspaces, members, addresses, slots, recovery callbacks;
//! - [`power`]: the power switch behind the fence agents;
//! - [`seam`]: the protocol by which real daemons reach the testbed as a process of its own, designed, its server not written
//!   yet;
//! - [`harness`]: all of it around the real decisions (`dlm_core`), in virtual time, with the promises checked.
//!
//! Every choice comes from one seed ([`random`]).
#![forbid(unsafe_code)]

pub mod bus;
pub mod harness;
pub mod kernel;
pub mod power;
pub mod random;
pub mod seam;
