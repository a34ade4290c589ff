//! Safe binding to corosync's closed process groups, quorum, configuration and map services.
//!
//! Two ways of use:
//! * [`cpg::Cpg`], [`quorum::Quorum`], [`cfg::Cfg`] and [`cmap::Cmap`] are one connection each. Their calls are
//!   synchronous; libcpg and its sisters wait for corosync without a time limit.
//! * [`thread::start`] hands the connections to one thread of its own for programs driven by events: requests go in
//!   without blocking, events come out of a bounded channel, in an order that keeps groups in step.
//!
//! Needs the C libraries of corosync 3.1 or later.

pub mod cfg;
pub mod cmap;
pub mod cpg;
pub mod error;
mod ffi;
pub mod quorum;
pub mod thread;
pub mod types;

pub use error::{Code, Error, Result};
pub use types::{Dispatch, RingId};
