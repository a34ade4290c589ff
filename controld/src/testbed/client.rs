//! The daemon's end: two threads that read and write frames, and the two seams in front of them.

use super::frame::{BadFrame, Notice, Request, hex, read_frame, write_frame};
use super::translate::{event_of, group_name, request_write};
use super::{ClusterSide, Place, QUEUE_MAX, VERSION};
use crate::cluster::{Backlog, Cluster};
use crate::kernel::{Kernel, plockdev};
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::{Event, Token};
use dlm_core::options::Switch;
use dlm_core::plock::PlockInfo;
use dlm_core::types::{Group, NodeId};
use nix::sys::signal::{Signal, raise};
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::sync::mpsc;

/// The testbed answers at once or not at all.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no testbed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The environment names no node.
    #[error("{} is no node id", super::NODE_VARIABLE)]
    NoNode,
    /// Nobody listens there.
    #[error("cannot connect to the testbed at {path}: {source}")]
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// No answer, or none that makes sense.
    #[error("the testbed does not answer: {0}")]
    Answer(#[from] BadFrame),
    /// It does not want us.
    #[error("the testbed refuses this node: {0}")]
    Refused(String),
    /// A thread cannot be started.
    #[error("cannot start a thread for the testbed: {0}")]
    Thread(io::Error),
}

/// Both seams, open.
pub struct Opened {
    /// The cluster seam; its drop is the end of this process, but not of the node.
    pub cluster: Box<dyn Cluster>,
    /// The kernel seam.
    pub kernel: Box<dyn Kernel>,
    /// Our node.
    pub local: NodeId,
    /// All nodes.
    pub nodes: Vec<NodeId>,
    /// `two_node` of corosync.conf.
    pub two_node: bool,
    /// The cluster's name.
    pub cluster_name: String,
}

/// Connect to the testbed, and let its events come. Blocks until the testbed has answered.
///
/// # Errors
/// What is missing, named.
pub fn open(
    place: &Place,
    cluster_events: mpsc::Sender<Event>,
    kernel_events: mpsc::Sender<Event>,
    plocks: mpsc::Sender<Event>,
) -> Result<Opened, OpenError> {
    let local = place.node.ok_or(OpenError::NoNode)?;
    let failed = |source| OpenError::Connect { path: place.socket.clone(), source };
    let mut stream = UnixStream::connect(&place.socket).map_err(failed)?;
    stream.set_read_timeout(Some(HANDSHAKE_PATIENCE)).map_err(failed)?;
    let corosync = place.side == ClusterSide::Corosync;
    write_frame(&mut stream, &Request::Hello { version: VERSION, node: local.get(), corosync })?;
    let welcome: Notice = read_frame(&mut stream)?;
    let Notice::Welcome { nodes, two_node, cluster_name } = welcome else {
        let why = if let Notice::Refused { why } = welcome { why } else { format!("{welcome:?}") };
        return Err(OpenError::Refused(why));
    };
    stream.set_read_timeout(None).map_err(failed)?;
    let reader = stream.try_clone().map_err(failed)?;
    let end = Arc::new(stream.try_clone().map_err(failed)?);
    let thread = |name: &str| thread::Builder::new().name(name.to_owned());
    thread("testbed-read")
        .spawn(move || read(reader, &cluster_events, &kernel_events, &plocks))
        .map_err(OpenError::Thread)?;
    let (requests, queue) = sync_channel(QUEUE_MAX);
    let writer =
        thread("testbed-write").spawn(move || write(stream, &queue)).map_err(OpenError::Thread)?;
    let line = Line { requests, end };
    Ok(Opened {
        cluster: Box::new(TestbedCluster { line: line.clone(), writer: Some(writer) }),
        kernel: Box::new(TestbedKernel { line }),
        local,
        nodes: nodes.into_iter().filter_map(NodeId::new).collect(),
        two_node,
        cluster_name,
    })
}

/// The reader's thread: events until the connection breaks.
fn read(
    mut from: UnixStream,
    cluster: &mpsc::Sender<Event>,
    kernel: &mpsc::Sender<Event>,
    plocks: &mpsc::Sender<Event>,
) {
    let why = loop {
        let event = match read_frame::<Notice>(&mut from) {
            Ok(Notice::PowerOff) => {
                // No power: nothing is written, closed or said any more.
                let _dead = raise(Signal::SIGKILL);
                return;
            }
            Ok(notice) => event_of(notice),
            Err(error) => Err(error),
        };
        let sent = match event {
            Ok(Some(event @ Event::PlockRequest(_))) => plocks.blocking_send(event).is_ok(),
            Ok(Some(event)) if is_of_kernel(&event) => kernel.blocking_send(event).is_ok(),
            Ok(Some(event)) => cluster.blocking_send(event).is_ok(),
            Ok(None) => true,
            Err(error) => break error.to_string(),
        };
        if !sent {
            return;
        }
    };
    let _ended = cluster.blocking_send(Event::ClusterLost { why: format!("testbed: {why}") });
}

/// The kernel seam brings it, not the cluster seam.
#[must_use]
pub const fn is_of_kernel(event: &Event) -> bool {
    matches!(
        event,
        Event::Online { .. }
            | Event::Offline { .. }
            | Event::KernelDone { .. }
            | Event::Slots { .. }
            | Event::Withdraw { .. }
            | Event::PlockRequest(_)
    )
}

/// The writer's thread: frames until `Bye` or a broken connection, which the reader reports.
fn write(mut to: UnixStream, requests: &Receiver<Request>) {
    for request in requests {
        let last = request == Request::Bye;
        if write_frame(&mut to, &request).is_err() || last {
            return;
        }
    }
}

/// Takes requests without waiting.
#[derive(Clone)]
struct Line {
    requests: SyncSender<Request>,
    /// To break the connection with.
    end: Arc<UnixStream>,
}

impl Line {
    fn say(&self, request: Request) {
        if self.requests.try_send(request).is_err() {
            // A testbed that does not read is lost; the reader tells the daemon.
            let _broken = self.end.shutdown(Shutdown::Both);
        }
    }
}

struct TestbedCluster {
    line: Line,
    writer: Option<JoinHandle<()>>,
}

impl Cluster for TestbedCluster {
    fn join(&mut self, group: &Group) {
        self.line.say(Request::Join { lockspace: group_name(group) });
    }

    fn leave(&mut self, group: &Group) {
        self.line.say(Request::Leave { lockspace: group_name(group) });
    }

    fn send(&mut self, group: &Group, message: Vec<u8>) {
        self.line.say(Request::Send { lockspace: group_name(group), bytes: hex(&message) });
    }

    fn kick(&mut self, node: NodeId) {
        self.line.say(Request::Kick { node: node.get() });
    }

    fn answer_shutdown(&mut self, allow: bool) {
        self.line.say(Request::AnswerShutdown { allow });
    }
}

/// A real cluster beside a testbed that is the kernel alone; their ends are one.
#[must_use]
pub fn beside(cluster: Box<dyn Cluster>, testbed: Box<dyn Cluster>) -> Box<dyn Cluster> {
    Box::new(Beside { cluster, _testbed: testbed })
}

struct Beside {
    cluster: Box<dyn Cluster>,
    /// Its drop tells the testbed that the process ends.
    _testbed: Box<dyn Cluster>,
}

impl Cluster for Beside {
    fn join(&mut self, group: &Group) {
        self.cluster.join(group);
    }

    fn leave(&mut self, group: &Group) {
        self.cluster.leave(group);
    }

    fn send(&mut self, group: &Group, message: Vec<u8>) {
        self.cluster.send(group, message);
    }

    fn kick(&mut self, node: NodeId) {
        self.cluster.kick(node);
    }

    fn answer_shutdown(&mut self, allow: bool) {
        self.cluster.answer_shutdown(allow);
    }

    fn backlog(&self) -> Option<Backlog> {
        self.cluster.backlog()
    }
}

impl Drop for TestbedCluster {
    fn drop(&mut self) {
        self.line.say(Request::Bye);
        // Ends with `Bye`, or with a connection that is broken.
        if let Some(writer) = self.writer.take() {
            let _ended = writer.join();
        }
    }
}

struct TestbedKernel {
    line: Line,
}

impl Kernel for TestbedKernel {
    fn write(&mut self, token: Token, lane: Lane, write: KernelWrite) {
        self.line.say(request_write(token, &lane, write));
    }

    fn retire(&mut self, lane: &Lane) {
        if let Lane::Lockspace(name) = lane {
            self.line.say(Request::Retire { lockspace: hex(name.as_bytes()) });
        }
    }

    fn set_log_debug(&mut self, _log_debug: Switch) {}

    fn plock_result(&mut self, result: &PlockInfo) {
        self.line.say(Request::PlockResult { record: hex(&plockdev::encode(result)) });
    }

    fn set_plock_rate_limit(&mut self, _rate: u32) {}
}
