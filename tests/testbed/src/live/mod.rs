//! The testbed around real daemons, in real time: one thread owns the world; others read and write the sockets.
//!
//! `DIR/daemons` takes the daemons (protocol: `controld::testbed`), `DIR/console` takes commands, one line each, with an
//! answer of one line ([`console`]). Everything that passes is kept as a [`Sight`] with the moment it was seen, on the
//! one clock of this process.

mod connection;
pub mod console;
mod server;

use crate::harness::Pace;
use crate::kernel::Callback;
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::types::{LockspaceName, NodeId};
use server::{Input, Server};
use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Inputs that may wait for the world's thread; readers wait with theirs.
const INPUTS_MAX: usize = 1024;

/// Sights that are kept; a demo has some hundreds.
const SIGHTS_MAX: usize = 200_000;

/// What the testbed's cluster is like.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Nodes 1 to this.
    pub nodes: u32,
    /// For the delays.
    pub seed: u64,
    /// How long corosync takes to miss a node.
    pub token: Duration,
}

impl Options {
    fn pace(&self) -> Pace {
        let token = u64::try_from(self.token.as_millis()).unwrap_or(u64::MAX);
        Pace {
            usual: (0, 1),
            slow_one_in: 100,
            slow: (2, 8),
            write: (0, 1),
            stop: (2, 20),
            long_stop_one_in: u64::MAX,
            token: (token, token.saturating_add(50)),
            merge: (20, 60),
            boot: (0, 0),
            agent: (150, 300),
            recovery: (3, 25),
            ..Pace::CALM
        }
    }
}

/// Something that was seen.
#[derive(Clone, Debug)]
pub struct Sight {
    /// When.
    pub at: Instant,
    /// At which node.
    pub node: NodeId,
    /// What.
    pub what: What,
}

/// What was seen.
#[derive(Clone, Debug)]
pub enum What {
    /// A daemon has come.
    DaemonBegins,
    /// A daemon has said that it ends.
    DaemonEnds,
    /// The node has lost its power, for this reason.
    PowerOff(String),
    /// The daemon was told this.
    Told(Event),
    /// The daemon asked for this.
    Asked(Effect),
    /// The kernel called its file system.
    Called(LockspaceName, Callback),
    /// The daemon has done what no kernel could bear.
    Broken(String),
    /// The node's fence agent has asked the power switch for this victim.
    AgentAsks(NodeId),
    /// The power switch has answered: the agent's exit status.
    AgentAnswered(NodeId, i32),
}

/// All that was seen so far.
#[derive(Clone, Default)]
struct Record(Arc<(Mutex<Vec<Sight>>, Condvar)>);

impl Record {
    fn add(&self, node: NodeId, what: What) {
        let mut sights = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if sights.len() < SIGHTS_MAX {
            sights.push(Sight { at: Instant::now(), node, what });
        }
        self.0.1.notify_all();
    }
}

/// A running testbed; its drop ends it, and the power of all nodes with it.
pub struct Testbed {
    inputs: SyncSender<Input>,
    record: Record,
    directory: PathBuf,
}

impl Testbed {
    /// Begin, with sockets in `directory`.
    ///
    /// # Errors
    /// A socket or a thread cannot be made.
    pub fn start(directory: &Path, options: Options) -> io::Result<Self> {
        let daemons = UnixListener::bind(directory.join("daemons"))?;
        let commands = UnixListener::bind(directory.join("console"))?;
        let (inputs, received) = sync_channel(INPUTS_MAX);
        let record = Record::default();
        let seen = record.clone();
        thread::Builder::new().name("world".to_owned()).spawn(move || {
            run(Server::new(options, seen), &received);
        })?;
        let to_world = inputs.clone();
        thread::Builder::new()
            .name("daemons".to_owned())
            .spawn(move || connection::accept(&daemons, &to_world))?;
        let to_world = inputs.clone();
        thread::Builder::new()
            .name("console".to_owned())
            .spawn(move || console::accept(&commands, &to_world))?;
        Ok(Self { inputs, record, directory: directory.to_owned() })
    }

    /// Where daemons connect.
    #[must_use]
    pub fn daemons_socket(&self) -> PathBuf {
        self.directory.join("daemons")
    }

    /// Where commands are taken.
    #[must_use]
    pub fn console_socket(&self) -> PathBuf {
        self.directory.join("console")
    }

    /// A command of the console; its answer.
    #[must_use]
    pub fn command(&self, line: &str) -> String {
        console::ask(&self.inputs, line).unwrap_or_else(|| "the testbed has ended".to_owned())
    }

    /// Everything seen so far.
    #[must_use]
    pub fn sights(&self) -> Vec<Sight> {
        self.record.0.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Wait until what was seen is as wanted; false after `patience`.
    #[must_use]
    pub fn wait_until(&self, patience: Duration, wanted: impl Fn(&[Sight]) -> bool) -> bool {
        let sights = self.record.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.record.0.1.wait_timeout_while(sights, patience, |s| !wanted(s));
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        // Fails only if the world's thread is gone already.
        let _ended = self.inputs.send(Input::End);
    }
}

/// The world's thread.
fn run(mut server: Server, inputs: &Receiver<Input>) {
    loop {
        let input = match server.pause() {
            Some(pause) => inputs.recv_timeout(pause),
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        server.catch_up();
        match input {
            Ok(Input::End) | Err(RecvTimeoutError::Disconnected) => return,
            Ok(input) => server.take(input),
            Err(RecvTimeoutError::Timeout) => {}
        }
        server.settle();
    }
}
