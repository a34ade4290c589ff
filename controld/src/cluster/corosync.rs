//! The cluster seam over corosync: groups through CPG, membership and quorum from the quorum service, removal of nodes
//! and the shutdown question through cfg, the cluster's configuration from cmap.
//!
//! Only translates: numbers become checked types, bytes become packets, corosync's words become text. What any of it
//! means is decided in the core (spec/cluster-protocol.md section 1, spec/lockspace-recovery.md sections 10 to 14).

use crate::cluster::{Backlog, Cluster};
use crate::feed::Feed;
use crate::process::priority;
use crate::reactor::{Registry, Watched};
use crate::wire;
use corosync::cfg::{ShutdownAnswer, ShutdownKind};
use corosync::cmap::Cmap;
use corosync::cpg::{GroupName, Process, Reason};
use corosync::thread::{self, Connection, Events, Handle, Limits, Services};
use dlm_core::event::{Confchg, Event, JoinReason, LeaveReason};
use dlm_core::types::{Group, NodeId, RingId};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

/// The reason that corosync on a removed node logs, as the C daemon gives it.
const KICK_REASON: &str = "dlm_controld";

/// The daemon's end waits so long for corosync to take a leave or a removal asked for before; the requests are in
/// corosync's hands within milliseconds unless its ring is just changing.
const END_PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no cluster to work in.
#[derive(Debug, thiserror::Error)]
pub enum CorosyncError {
    /// Corosync does not run, or does not let us in.
    #[error("cannot connect to corosync's {service} service (is corosync running?): {source}")]
    Connect {
        /// Which service.
        service: &'static str,
        /// Call and error.
        source: corosync::Error,
    },
    /// A value of cmap cannot be read.
    #[error("cannot read cmap {key}: {source}")]
    Cmap {
        /// The key.
        key: String,
        /// Call and error.
        source: corosync::Error,
    },
    /// Corosync says that we are node 0, or will not say.
    #[error("corosync does not tell our node id")]
    NoLocalNode,
    /// The thread that speaks with corosync could not be started.
    #[error("cannot start the corosync thread: {source}")]
    Thread {
        /// The system call and its error.
        source: corosync::Error,
    },
    /// The event loop does not take the connections.
    #[error("cannot wait for corosync: {0}")]
    Watch(io::Error),
}

/// What corosync's configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// The own node.
    pub local: NodeId,
    /// The nodes of corosync.conf, the own one among them, in the order of the file.
    pub nodes: Vec<NodeId>,
    /// `quorum.two_node` is on.
    pub two_node: bool,
    /// `totem.cluster_name`; whether it may be missing is the kernel room's to say.
    pub cluster_name: Option<String>,
    /// Token and consensus time, milliseconds; for people.
    pub totem: Option<(u64, u64)>,
    /// `totem.rrp_mode`, which corosync 3 no longer sets (spec/kernel-interfaces.md section 4, protocol `detect`).
    pub rrp_mode: Option<String>,
}

/// A connected cluster.
pub struct Started {
    /// Takes requests.
    pub cluster: Corosync,
    /// Brings events.
    pub incoming: Incoming,
    /// Read once: corosync's node list is read at the start only, as the C daemon does.
    pub configuration: Configuration,
}

/// Connect to corosync, read its configuration, and begin to listen. Blocks, up to about `patience` where corosync is
/// only just starting; no group is joined. `registry` will watch corosync's descriptors.
///
/// # Errors
/// What is missing, named.
pub fn start(patience: Duration, registry: &Registry) -> Result<Started, CorosyncError> {
    let until = Instant::now() + patience;
    let connect = |service| move |source| CorosyncError::Connect { service, source };
    let services = Services::connect(patience).map_err(connect("cfg or quorum"))?;
    let cmap = thread::retry(until, Cmap::connect).map_err(connect("cmap"))?;
    let local = thread::retry(until, || services.cfg().local_node()).map_err(connect("cfg"))?;
    let local = NodeId::new(local).ok_or(CorosyncError::NoLocalNode)?;
    let configuration = read_configuration(&cmap, local, until)?;
    let (handle, events) = thread::start(services, Limits::default(), priority::as_the_main_thread)
        .map_err(|source| CorosyncError::Thread { source })?;
    let incoming = Incoming::new(events, registry).map_err(CorosyncError::Watch)?;
    Ok(Started { cluster: Corosync { handle: Some(handle) }, incoming, configuration })
}

fn read_configuration(
    cmap: &Cmap,
    local: NodeId,
    until: Instant,
) -> Result<Configuration, CorosyncError> {
    let get = |key: &str| {
        let fault = |source| CorosyncError::Cmap { key: key.to_owned(), source };
        thread::retry(until, || cmap.get(key)).map_err(fault)
    };
    let get_text = |key: &str| {
        let text = get(key)?.and_then(|value| value.as_text().map(str::to_owned));
        Ok::<_, CorosyncError>(text.filter(|text| !text.is_empty()))
    };
    let nodes = read_nodes(|key| Ok(get(key)?.map(|value| value.as_u64())))?;
    let two_node = get("quorum.two_node")?.and_then(|value| value.as_u64()) == Some(1);
    let cluster_name = get_text("totem.cluster_name")?;
    let rrp_mode = get_text("totem.rrp_mode")?;
    // Only shown: without them there is nothing amiss.
    let time = |key| get(key).ok().flatten().and_then(|value| value.as_u64());
    let totem = time("runtime.config.totem.token").zip(time("runtime.config.totem.consensus"));
    Ok(Configuration { local, nodes, two_node, cluster_name, rrp_mode, totem })
}

/// The nodes of corosync.conf, up to the first key that is missing. The C daemon reads no more than 128, for its arrays; who
/// is left out here would not be fenced at the start. `get`: `None` without such a key, `Some(None)` for one without a number.
fn read_nodes<E>(
    mut get: impl FnMut(&str) -> Result<Option<Option<u64>>, E>,
) -> Result<Vec<NodeId>, E> {
    let mut nodes = Vec::new();
    for at in 0_u32.. {
        let Some(id) = get(&format!("nodelist.node.{at}.nodeid"))? else { break };
        nodes.extend(id.and_then(|id| NodeId::new(u32::try_from(id).ok()?)));
    }
    Ok(nodes)
}

/// The requests' side. Its drop waits, bounded, until corosync has what was asked for: a leave that does not get out
/// would be a failure to the others. Groups that were not left see this process end.
pub struct Corosync {
    /// Present until the drop.
    handle: Option<Handle<Group>>,
}

impl Corosync {
    /// Requests that corosync would not take yet, so far and from now on.
    #[must_use]
    pub fn retries(&self) -> Arc<AtomicU64> {
        self.handle.as_ref().map(Handle::retries).unwrap_or_default()
    }
}

impl Cluster for Corosync {
    fn join(&mut self, group: &Group) {
        // The longest group name, of a lockspace with 64 bytes, has 72 with its NUL: corosync takes 128.
        if let (Some(handle), Ok(name)) = (&self.handle, GroupName::with_nul(&group.cpg_name())) {
            handle.join(group.clone(), name);
        }
    }

    fn leave(&mut self, group: &Group) {
        if let Some(handle) = &self.handle {
            handle.leave(group);
        }
    }

    fn send(&mut self, group: &Group, message: Vec<u8>) {
        if let Some(handle) = &self.handle {
            handle.send(group, message);
        }
    }

    fn kick(&mut self, node: NodeId) {
        if let Some(handle) = &self.handle {
            // Fails only for a reason with a NUL.
            let _has_no_nul = handle.kill_node(node.get(), KICK_REASON);
        }
    }

    fn answer_shutdown(&mut self, allow: bool) {
        if let Some(handle) = &self.handle {
            handle.answer_shutdown(if allow { ShutdownAnswer::Yes } else { ShutdownAnswer::No });
        }
    }

    fn backlog(&self) -> Option<Backlog> {
        let backlog = self.handle.as_ref()?.backlog()?;
        Some(Backlog { requests: backlog.requests, lasted: backlog.since.elapsed() })
    }
}

impl Drop for Corosync {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            // Late: corosync does not answer, and the end of the process closes the connections.
            let _in_time = handle.end(Vec::new()).wait(END_PATIENCE);
        }
    }
}

/// The events' side: read from corosync when the driver asks for them.
pub struct Incoming {
    events: Events<Group>,
    /// Readable when `events` has something.
    watched: Watched,
}

impl Incoming {
    fn new(events: Events<Group>, registry: &Registry) -> io::Result<Self> {
        let watched = registry.watch(events.as_fd().try_clone_to_owned()?)?;
        Ok(Self { events, watched })
    }

    /// The next event that is there and that the core has a use for. One for each look at the descriptor: to find out that there
    /// is no other one costs as much as the look.
    fn next(&mut self) -> Option<Event> {
        while self.watched.is_readable() && !self.events.is_over() {
            let event = self.events.recv_seen();
            if !self.events.has_read_ahead() {
                self.watched.leave();
            }
            if let Some(event) = event.and_then(translate) {
                return Some(event);
            }
        }
        None
    }
}

impl Feed for Incoming {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        loop {
            if self.events.is_over() {
                return Poll::Ready(None);
            }
            ready!(self.watched.poll_readable(context));
            if let Some(event) = self.next() {
                return Poll::Ready(Some(event));
            }
        }
    }
}

/// `None` for what the core has no use for.
fn translate(event: thread::Event<Group>) -> Option<Event> {
    Some(match event {
        thread::Event::Nodelist { ring: _, joined, left } => {
            Event::Nodelist { joined: nodes(joined), left: nodes(left) }
        }
        thread::Event::Quorum { quorate, ring, members, addresses } => Event::Quorum {
            quorate,
            ring: ring_id(ring),
            members: nodes(members),
            addresses: by_node(addresses),
        },
        thread::Event::Confchg { key, members, joined, left } => {
            Event::Confchg { group: key, change: confchg(&members, &joined, &left) }
        }
        thread::Event::Ring { key, ring, members: _ } => {
            Event::Ring { group: key, ring: ring_id(ring) }
        }
        thread::Event::Message { key, from, bytes } => message(key, from, &bytes)?,
        thread::Event::JoinFailed { key, error } => {
            Event::JoinFailed { group: key, why: error.to_string() }
        }
        thread::Event::ShutdownQuestion(ShutdownKind::Request | ShutdownKind::Regardless) => {
            Event::ShutdownQuestion
        }
        // Corosync goes at once, whatever is answered: its loss is the event.
        thread::Event::ShutdownQuestion(ShutdownKind::Immediate) => return None,
        // Never asked for: quorum events carry the addresses.
        thread::Event::NodeAddresses { .. } => return None,
        thread::Event::Lost { connection, loss } => {
            Event::ClusterLost { why: format!("{}: {loss}", connection_name(&connection)) }
        }
    })
}

fn connection_name(connection: &Connection<Group>) -> String {
    match connection {
        Connection::Cfg => "corosync cfg".to_owned(),
        Connection::Quorum => "corosync quorum".to_owned(),
        Connection::Group(group) => format!("corosync cpg {group}"),
    }
}

/// The one place where bytes of a group become a packet. A sender without a node id cannot be.
fn message(group: Group, from: Process, bytes: &[u8]) -> Option<Event> {
    let from = NodeId::new(from.node)?;
    Some(match wire::decode(bytes) {
        Ok(packet) => Event::Message { group, from, packet, length: bytes.len() },
        Err(error) => Event::BadMessage { group, from, why: error.to_string() },
    })
}

fn confchg(
    members: &[Process],
    joined: &[(Process, Reason)],
    left: &[(Process, Reason)],
) -> Confchg {
    let member = |process: &Process| NodeId::new(process.node);
    Confchg {
        members: members.iter().filter_map(member).collect(),
        joined: joined
            .iter()
            .filter_map(|(process, reason)| Some((member(process)?, join_reason(*reason))))
            .collect(),
        left: left
            .iter()
            .filter_map(|(process, reason)| Some((member(process)?, leave_reason(*reason))))
            .collect(),
    }
}

const fn join_reason(reason: Reason) -> JoinReason {
    match reason {
        Reason::NodeUp => JoinReason::NodeUp,
        Reason::Join | Reason::Leave | Reason::NodeDown | Reason::ProcDown | Reason::Other(_) => {
            JoinReason::Join
        }
    }
}

/// Only a leave is a leave. What corosync has no word for is a failure that needs no new ring.
const fn leave_reason(reason: Reason) -> LeaveReason {
    match reason {
        Reason::Leave => LeaveReason::Leave,
        Reason::NodeDown => LeaveReason::NodeDown,
        Reason::ProcDown | Reason::Join | Reason::NodeUp | Reason::Other(_) => {
            LeaveReason::ProcDown
        }
    }
}

const fn ring_id(ring: corosync::RingId) -> RingId {
    RingId { node: ring.node, seq: ring.seq }
}

/// Node id 0 is nobody.
fn nodes(ids: Vec<u32>) -> Vec<NodeId> {
    ids.into_iter().filter_map(NodeId::new).collect()
}

fn by_node(addresses: BTreeMap<u32, Vec<SocketAddr>>) -> BTreeMap<NodeId, Vec<SocketAddr>> {
    let known = |(node, addresses)| Some((NodeId::new(node)?, addresses));
    addresses.into_iter().filter_map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corosync::thread::Loss;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).expect("not 0")
    }

    const fn process(node: u32) -> Process {
        Process { node, pid: 100 }
    }

    #[test]
    fn every_node_of_the_list_is_read() {
        let list = |key: &str| {
            let at = key.strip_prefix("nodelist.node.")?.strip_suffix(".nodeid")?;
            let at: u64 = at.parse().ok()?;
            match at {
                // Neither of these is a node.
                3 => Some(None),
                4 => Some(Some(1 << 32)),
                _ => (at < 300).then_some(Some(at + 1)),
            }
        };
        let read = read_nodes(|key| Ok::<_, ()>(list(key)));
        let expected: Vec<NodeId> = (1..=300).filter(|id| ![4, 5].contains(id)).map(node).collect();
        assert_eq!(read, Ok(expected));
        assert_eq!(read_nodes(|_| Err("why")), Err("why"));
    }

    #[test]
    fn configuration_changes_keep_order_and_reasons() {
        let event = translate(thread::Event::Confchg {
            key: Group::Daemon,
            members: vec![process(2), process(1)],
            joined: vec![(process(2), Reason::NodeUp)],
            left: vec![
                (process(3), Reason::Leave),
                (process(4), Reason::NodeDown),
                (process(5), Reason::ProcDown),
                (process(6), Reason::Other(9)),
            ],
        });
        let change = Confchg {
            members: vec![node(2), node(1)],
            joined: vec![(node(2), JoinReason::NodeUp)],
            left: vec![
                (node(3), LeaveReason::Leave),
                (node(4), LeaveReason::NodeDown),
                (node(5), LeaveReason::ProcDown),
                (node(6), LeaveReason::ProcDown),
            ],
        };
        assert_eq!(event, Some(Event::Confchg { group: Group::Daemon, change }));
    }

    #[test]
    fn bytes_that_are_no_message_are_told_with_their_sender() {
        let bytes = vec![1, 2, 3];
        let event =
            translate(thread::Event::Message { key: Group::Daemon, from: process(2), bytes });
        assert!(matches!(event, Some(Event::BadMessage { from, .. }) if from == node(2)));
    }

    #[test]
    fn a_loss_names_connection_and_cause() {
        let event = translate(thread::Event::Lost {
            connection: Connection::Group(Group::Daemon),
            loss: Loss::HangUp,
        });
        let why = "corosync cpg dlm:controld: corosync hung up".to_owned();
        assert_eq!(event, Some(Event::ClusterLost { why }));
    }

    /// Whatever is not sent any more was said for nothing: nobody may go on waiting for it.
    #[test]
    fn defect_19_queue_that_overflows_is_the_loss_of_corosync() {
        let connection = Connection::Group(Group::Daemon);
        let event =
            translate(thread::Event::Lost { connection, loss: Loss::Overflow { limit: 9 } });
        assert!(matches!(event, Some(Event::ClusterLost { .. })), "{event:?}");
    }

    #[test]
    fn only_a_question_that_waits_for_an_answer_is_passed_on() {
        let ask = |kind| translate(thread::Event::ShutdownQuestion(kind));
        assert_eq!(ask(ShutdownKind::Request), Some(Event::ShutdownQuestion));
        assert_eq!(ask(ShutdownKind::Immediate), None);
    }
}
