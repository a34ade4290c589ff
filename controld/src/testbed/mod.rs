//! Both seams over one unix socket to the testbed, for `make demo` and the tests of whole processes; or the kernel seam
//! alone, beside a real corosync. Only with the cargo feature `testbed`, which releases lack.
//!
//! A daemon that finds [`SOCKET_VARIABLE`] in its environment opens **one** unix stream socket to the testbed instead of
//! corosync and the kernel. The connection is the node's life: where it breaks without `Bye`, the node has died (power
//! off). Fence agents do not use it: the agent of the demo is a program that asks the testbed's console.
//!
//! ```text
//! daemon                                             testbed
//!   Hello { node, version, corosync } ─────────────▶  node is known and not connected, or Refused { why }
//!                           ◀───────────────────────  Welcome { nodes, two_node, cluster_name }
//!   Join, Leave, Send, Kick, AnswerShutdown ───────▶  bus   (messages are the wire room's bytes)
//!   Write { token, lane, write }, Retire ──────────▶  model kernel of that node, each lane in order
//!                           ◀───────────────────────  PlockRequest { record }: of the model plock device
//!   PlockResult { record } ────────────────────────▶  matched to the request as a kernel does
//!                           ◀───────────────────────  Nodelist, Quorum, Confchg, Ring, Message, ClusterLost,
//!                                                     Online, Offline, Slots, Withdraw, KernelDone
//!                           ◀───────────────────────  PowerOff: the node has no power; the daemon kills itself at once
//!   Bye ───────────────────────────────────────────▶  the process ends, the node lives on
//! ```
//!
//! With `corosync`, the daemon has a cluster of its own: the testbed says nothing of its bus, and is asked nothing of it.
//!
//! **Frames.** Both directions: u32 little endian length of what follows, then one JSON object with one field, the name
//! of the variant. A frame longer than [`FRAME_MAX`], or one that does not parse, ends the connection: the reader never
//! allocates by an unchecked length. Bytes (messages, names of lockspaces) are hex strings.
//!
//! **Order.** A daemon hands events on in the order of arrival.
//!
//! **Backpressure.** Each side has a bounded queue for what it writes ([`QUEUE_MAX`] frames), and takes a full one for a
//! connection that is lost: a hung node, a hung testbed.

mod client;
mod frame;
mod translate;

pub use client::{OpenError, Opened, beside, is_of_kernel, open};
pub use frame::{
    BadFrame, ConfchgFrame, Notice, ReasonFrame, Request, WriteFrame, read_frame, unhex,
    write_frame,
};
pub use translate::{
    event_of, group_name, group_of, kernel_write_of, notice_of, plock_of, request_write,
};

use dlm_core::types::NodeId;
use std::path::PathBuf;

/// Names the testbed's socket.
pub const SOCKET_VARIABLE: &str = "DLM_TESTBED";

/// Set to anything: corosync is real, the testbed is the kernel alone.
pub const COROSYNC_VARIABLE: &str = "DLM_TESTBED_COROSYNC";

/// Names the node that this daemon runs on.
pub const NODE_VARIABLE: &str = "DLM_TESTBED_NODE";

/// Version of the protocol; both ends are built together, so another number is refused.
pub const VERSION: u32 = 3;

/// Longest frame in bytes: a corosync message of 1 MiB in hex, and room around it.
pub const FRAME_MAX: u32 = 4 * 1024 * 1024;

/// Frames that may wait to be written to one connection.
pub const QUEUE_MAX: usize = 4096;

/// Where the testbed is, and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The testbed's socket.
    pub socket: PathBuf,
    /// Our node; `None` where the variable is missing or no node id.
    pub node: Option<NodeId>,
    /// Where membership and messages come from.
    pub side: ClusterSide,
}

/// Who is the cluster of a daemon on the testbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClusterSide {
    /// The testbed's bus.
    Testbed,
    /// A real corosync.
    Corosync,
}

/// The testbed that this process is meant for; `None` for a daemon that works with corosync and the kernel.
#[must_use]
pub fn place() -> Option<Place> {
    let socket = PathBuf::from(std::env::var_os(SOCKET_VARIABLE)?);
    let node = std::env::var(NODE_VARIABLE).ok();
    let node = node.and_then(|node| NodeId::new(node.parse().ok()?));
    let side = match std::env::var_os(COROSYNC_VARIABLE) {
        Some(_) => ClusterSide::Corosync,
        None => ClusterSide::Testbed,
    };
    Some(Place { socket, node, side })
}
