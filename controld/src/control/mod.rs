//! The two local sockets (spec/control-socket.md): queries, answered from published snapshots by a thread of their own
//! so that a busy daemon can still be looked at; and commands, which become [`Command`] values for the driver.
//!
//! Nothing a client does can hold up anybody else: each connection is a task with bounds on time, bytes and number, and
//! clients without rights are counted apart from those with.
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
        clippy::arithmetic_side_effects,
        reason = "a test that cannot go on fails"
    )
)]

mod answer;
mod clients;
mod commands;
mod complaints;
mod history;
mod listener;
mod log_ring;
mod meters;
mod peer;
mod plock_log;
mod plock_meters;
mod plocks;
mod process;
mod queries;
mod request;
mod state;
mod text;
mod timing;
mod totals;
mod waits;

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;

use dlm_core::event::AgentOutcome;
use dlm_core::plock::{DumpPart, DumpPlace, PlockFile};
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, LockspaceName, NodeId};
use dlmcontrol::state::DaemonPhase;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

pub use commands::serve_commands;
pub use history::History;
pub use listener::{COMMANDS_MAX, bind};
pub use log_ring::LogRing;
pub use meters::Meters;
pub use peer::Access;
pub use plock_log::PlockLog;
pub use plocks::{append_plocks, dump_plocks};
pub use queries::{Sources, clock, serve_queries, start_query_thread};
pub use request::{fuzz_answers, fuzz_request};

/// What the query socket shows. The driver makes a new one when it is asked, and says of the last one as soon as it is out of
/// date: before it replies to a command, so that a query sent after the reply sees what the command did.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// State of the core.
    pub snapshot: Snapshot,
    /// When it was taken.
    pub taken: Instant,
    /// Process ids of running fence agents by victim: the operating system's names for what the core knows by token.
    pub agents: BTreeMap<NodeId, u32>,
    /// Agents that were killed and whose end is not known yet.
    pub zombies: usize,
    /// Options, one `name=value` a line with a newline each (spec/cli.md, `dump_config`).
    pub config: Arc<str>,
    /// Where the daemon is in its life.
    pub phase: DaemonPhase,
    /// Fence agents of ours that run or have run, by victim, oldest first.
    pub attempts: Arc<Attempts>,
    /// What is waited for that the core does not know of.
    pub beside: Vec<Beside>,
    /// How long the driver was busy with making it.
    pub made_in: Duration,
    /// Something has changed since.
    pub(crate) outdated: Arc<AtomicBool>,
}

impl Published {
    /// Something is about to change.
    pub(crate) fn outdate(&self) {
        self.outdated.store(true, Ordering::Release);
    }

    /// A driver that were asked now would say the same, but for what is counted and timed.
    pub(crate) fn is_current(&self) -> bool {
        self.phase == DaemonPhase::Running && !self.outdated.load(Ordering::Acquire)
    }
}

/// The driver or one of its seams waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// For what.
    pub what: BesideWait,
    /// Since when.
    pub since: Instant,
}

/// What the driver and its seams can wait for. (What they wait for before there is a core is the daemon's phase.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BesideWait {
    /// `plock_rate_limit` holds back requests for POSIX locks.
    PlockRate {
        /// The next one is taken then.
        until: Instant,
    },
    /// Corosync has not taken what it was asked for.
    CorosyncQueue {
        /// Messages, joins and leaves.
        requests: usize,
    },
}

/// The last fence agents of each victim, oldest first.
pub type Attempts = BTreeMap<NodeId, VecDeque<Attempt>>;

/// A fence agent that this node has run, or runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Name of the device in dlm.conf.
    pub device: String,
    /// The program.
    pub agent: String,
    /// When it was started.
    pub started: Instant,
    /// When and how it ended; `None` while it runs.
    pub ended: Option<(Instant, AgentOutcome)>,
    /// The end of what it wrote.
    pub output: String,
}

/// What clients ask of the driver. A reply that is dropped unsent reads as failure on the client's side.
#[derive(Debug)]
pub enum Command {
    /// An operator says that a node is fenced.
    FenceAck(NodeId),
    /// Words `name=value`, `name=restore` or `restore_all`; at most 1023 bytes.
    SetConfig(String),
    /// Read dlm.conf again.
    ReloadConfig,
    /// What the flight recorder has.
    RecordSave {
        /// A file; `None`: the recorder is switched off.
        reply: oneshot::Sender<Option<Vec<u8>>>,
    },
    /// Run a command on other nodes.
    RunStart {
        /// The command's text, at most 1024 bytes.
        command: String,
        /// Where; `None`: everywhere.
        node: Option<NodeId>,
        /// `RUN_NODE_*` of `dlmcontrol::proto`.
        flags: i32,
        /// The uuid, or why not.
        reply: oneshot::Sender<Result<String, RunRefused>>,
    },
    /// What became of it.
    RunCheck {
        /// As `RunStart` gave it.
        uuid: String,
        /// `RUN_CHECK_*` of `dlmcontrol::proto`.
        flags: i32,
        /// `RUN_*` of `dlmcontrol::proto`.
        reply: oneshot::Sender<Result<u32, RunRefused>>,
    },
    /// What queries show, as of now; anybody may ask.
    State {
        /// The same as is published when it comes.
        reply: oneshot::Sender<Arc<Published>>,
    },
    /// A part of a query that only the owner of the locks can answer, see [`dump_plocks`]; anybody may ask.
    PlockFiles {
        /// Whose.
        lockspace: LockspaceName,
        /// Those behind this one.
        last: Option<PlockFile>,
        /// Some of them, none if there are no more; `None`: no such lockspace.
        reply: oneshot::Sender<Option<Vec<PlockFile>>>,
    },
    /// Another part of it.
    PlocksPart {
        /// Whose.
        lockspace: LockspaceName,
        /// All files that are to be shown.
        files: Arc<[PlockFile]>,
        /// Where the part begins.
        place: DumpPlace,
        /// Lines to leave out at the beginning.
        skip: usize,
        /// `None`: no such lockspace.
        reply: oneshot::Sender<Option<DumpPart>>,
    },
}

/// Run commands are switched off, or this one cannot be run: the client gets -1, as from the C daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunRefused;

/// Why the sockets cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// A daemon runs already.
    #[error("socket @{socket} is taken: another dlm_controld serves it")]
    InUse {
        /// Its abstract name.
        socket: String,
    },
    /// Anything else about binding.
    #[error("cannot bind socket @{socket}: {source}")]
    Bind {
        /// Its abstract name.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// The thread that answers queries.
    #[error("cannot start the thread that answers queries: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
    /// The group that may send commands.
    #[error("cannot look up group {group} that may send commands: {source}")]
    GroupLookup {
        /// Its name.
        group: String,
        /// Why.
        source: nix::Error,
    },
    /// The group that may send commands.
    #[error("there is no group {group}, which is to be allowed to send commands")]
    NoGroup {
        /// Its name.
        group: String,
    },
}
