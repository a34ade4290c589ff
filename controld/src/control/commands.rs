//! The command socket: any number of requests on a connection, each becoming a [`Command`] for the driver.

use super::complaints::Complaints;
use super::listener::{self, Rooms, Served};
use super::peer::{Access, Peer, Trust};
use super::request::{self, BadOrder, EchoedName, HEADER_BYTES, Order, PAYLOAD_HARD_MAX};
use super::{Command, Meters, answer};
use dlmcontrol::proto::{self, Header, NAME_LEN, errno};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How long the rest of a request may take once it has begun, and how long a client may take to read a reply.
const REQUEST_MAX: Duration = Duration::from_secs(10);

/// How long a client without rights may stay.
const REFUSED_STAY_MAX: Duration = Duration::from_secs(10);

/// User ids whose refusal is remembered, so that it is logged once each.
const REFUSED_UIDS_MAX: usize = 256;

/// Turns requests into commands for ever. `access` says who may send any; clients are counted in `meters`.
pub async fn serve_commands(
    listener: UnixListener,
    access: Access,
    commands: mpsc::Sender<Command>,
    meters: Meters,
) {
    let refused = Arc::new(Mutex::new(BTreeSet::new()));
    let served = Orders { commands, refused, complaints: Complaints::default() };
    listener::serve(listener, access, Rooms::commands(meters.clients()), served).await;
}

#[derive(Clone)]
struct Orders {
    commands: mpsc::Sender<Command>,
    /// Who was refused before.
    refused: Arc<Mutex<BTreeSet<u32>>>,
    complaints: Complaints,
}

/// What happens to a connection after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Stay,
    Close,
}

impl Served for Orders {
    async fn client(self, mut stream: UnixStream, peer: Peer) {
        match peer.trust {
            Trust::Commands => while self.request(&mut stream, peer).await == Next::Stay {},
            Trust::Queries => {
                let _ = timeout(REFUSED_STAY_MAX, self.refuse(&mut stream, peer)).await;
            }
        }
    }
}

impl Orders {
    /// One request from beginning to end.
    async fn request(&self, stream: &mut UnixStream, peer: Peer) -> Next {
        let Some((header, payload)) = self.receive(stream, peer).await else {
            return Next::Close;
        };
        let (reply, next) = match Order::parse(&header, &payload) {
            Ok(order) => self.carry_out(order).await,
            Err(bad) => self.reject(&bad, peer),
        };
        let Some(reply) = reply else {
            return next;
        };
        match timeout(REQUEST_MAX, stream.write_all(&reply)).await {
            Ok(Ok(())) => next,
            Ok(Err(_)) | Err(_) => Next::Close,
        }
    }

    /// Refuses one request of a client that may send none, and ends the connection.
    async fn refuse(&self, stream: &mut UnixStream, peer: Peer) {
        let Some((header, _)) = self.receive(stream, peer).await else {
            return;
        };
        let command = proto::Command::from_number(header.command);
        if self.remember(peer.uid) {
            let name = command.map_or("unknown command", proto::Command::name);
            let (uid, pid) = (peer.uid, peer.pid);
            tracing::warn!(uid, pid, "{name} of user {uid} refused: not root, not in the group");
        }
        if let Some(reply) = command.and_then(|command| denial(command, &header)) {
            let _ = stream.write_all(&reply).await;
        }
    }

    /// Is it the first time for this user?
    fn remember(&self, uid: u32) -> bool {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.len() < REFUSED_UIDS_MAX && refused.insert(uid)
    }

    async fn carry_out(&self, order: Order) -> (Option<Vec<u8>>, Next) {
        match order {
            Order::FenceAck(node) => self.hand_over(Command::FenceAck(node)).await,
            Order::SetConfig(text) => self.hand_over(Command::SetConfig(text)).await,
            Order::ReloadConfig => self.hand_over(Command::ReloadConfig).await,
            Order::RecordSave => {
                let recording = self.ask(|reply| Command::RecordSave { reply }).await;
                (recording.map(record_save), Next::Close)
            }
            Order::RunStart { command, node, flags } => {
                let started =
                    self.ask(|reply| Command::RunStart { command, node, flags, reply }).await;
                (Some(run_start(started.and_then(Result::ok).as_deref())), Next::Close)
            }
            Order::RunCheck { uuid, flags } => {
                let checked = self.ask(|reply| Command::RunCheck { uuid, flags, reply }).await;
                (Some(run_check(checked.and_then(Result::ok), -1)), Next::Stay)
            }
            Order::FsRegister(name) => {
                (Some(fs_reply(proto::Command::FsRegister, &name, 0)), Next::Stay)
            }
            Order::FsNotified { name, node } => {
                (Some(fs_reply(proto::Command::FsNotified, &name, node)), Next::Stay)
            }
        }
    }

    /// A command without a reply.
    async fn hand_over(&self, command: Command) -> (Option<Vec<u8>>, Next) {
        match self.commands.send(command).await {
            Ok(()) => (None, Next::Stay),
            Err(_) => (None, Next::Close),
        }
    }

    /// A command with a reply; `None`: the driver is gone or has dropped it.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        ask(&self.commands, command).await
    }
}

/// A command with a reply; `None`: the driver is gone or has dropped it.
pub(super) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (reply, answered) = oneshot::channel();
    commands.send(command(reply)).await.ok()?;
    answered.await.ok()
}

impl Orders {
    /// The next request. A client may be silent between requests for as long as it likes, as file systems are; a request
    /// that has begun must be complete in time. `None`: the connection is at its end, or of no use.
    async fn receive(&self, stream: &mut UnixStream, peer: Peer) -> Option<(Header, Vec<u8>)> {
        let mut bytes = [0; HEADER_BYTES];
        *bytes.first_mut()? = stream.read_u8().await.ok()?;
        let complete = async {
            stream.read_exact(bytes.get_mut(1..)?).await.ok()?;
            let (header, length) = match request::header(&bytes) {
                Ok(parts) => parts,
                Err(error) => {
                    self.complain(peer, &error);
                    return None;
                }
            };
            if length > PAYLOAD_HARD_MAX {
                self.complain(peer, &format_args!("{length} bytes announced, too many"));
                return None;
            }
            let mut payload = vec![0; length];
            stream.read_exact(&mut payload).await.ok()?;
            Some((header, payload))
        };
        let received = timeout(REQUEST_MAX, complete).await;
        if received.is_err() {
            self.complain(peer, &"half a request, dropped");
        }
        received.ok().flatten()
    }

    fn complain(&self, Peer { uid, pid, .. }: Peer, what: &dyn Display) {
        if let Some(left_out) = self.complaints.admit() {
            tracing::debug!(uid, pid, "command socket: {what}{left_out}");
        }
    }

    /// What a bad request leads to: a log line, and a reply where the protocol has one.
    fn reject(&self, bad: &BadOrder, peer: Peer) -> (Option<Vec<u8>>, Next) {
        if let Some(left_out) = self.complaints.admit() {
            let (uid, pid) = (peer.uid, peer.pid);
            tracing::error!(uid, pid, "process_connection {bad}{left_out}");
        }
        match bad {
            BadOrder::RunStart { result, .. } => {
                let header = Header { data: *result, ..Header::new(proto::Command::RunStart) };
                (Some(answer::framed(header, &[])), Next::Close)
            }
            BadOrder::Unknown(_)
            | BadOrder::Unregister
            | BadOrder::FenceAckNode(_)
            | BadOrder::ConfigLength(_) => (None, Next::Stay),
        }
    }
}

/// The reply to a client without rights, where the command has a reply.
fn denial(command: proto::Command, request: &Header) -> Option<Vec<u8>> {
    use proto::Command as C;
    let header = Header { data: -errno::EPERM, ..Header::new(command) };
    match command {
        C::FsRegister => Some(answer::framed(Header { name: request.name, ..header }, &[])),
        C::FsNotified => {
            let option = u32::from_ne_bytes(request.data.to_ne_bytes());
            Some(answer::framed(Header { name: request.name, option, ..header }, &[]))
        }
        C::RunStart | C::RecordSave => Some(answer::framed(header, &[])),
        C::RunCheck => Some(run_check(None, -errno::EPERM)),
        C::DumpDebug
        | C::DumpPlocks
        | C::PlocksFrom
        | C::LockspaceInfo
        | C::NodeInfo
        | C::Lockspaces
        | C::LockspaceNodes
        | C::FsUnregister
        | C::DeadlockCheck
        | C::DumpLogPlock
        | C::FenceAck
        | C::DumpStatus
        | C::DumpConfig
        | C::DumpRun
        | C::ReloadConfig
        | C::SetConfig
        | C::State
        | C::History => None,
    }
}

/// The uuid, or -1.
fn run_start(uuid: Option<&str>) -> Vec<u8> {
    let header = Header::new(proto::Command::RunStart);
    let named =
        uuid.filter(|uuid| uuid.len() < NAME_LEN).and_then(|uuid| header.named(uuid.as_bytes()));
    answer::framed(named.unwrap_or(Header { data: -1, ..header }), &[])
}

/// The recording, or that there is none.
fn record_save(recording: Option<Vec<u8>>) -> Vec<u8> {
    let header = Header::new(proto::Command::RecordSave);
    match recording {
        Some(recording) => answer::framed(header, &recording),
        None => answer::framed(Header { data: -errno::EOPNOTSUPP, ..header }, &[]),
    }
}

/// Header and status, always both.
fn run_check(status: Option<u32>, failure: i32) -> Vec<u8> {
    let data = if status.is_some() { 0 } else { failure };
    let header = Header { data, ..Header::new(proto::Command::RunCheck) };
    answer::framed(header, &status.unwrap_or(0).to_ne_bytes())
}

/// File systems that acknowledge failures (`enable_fscontrol`) are not served: what C says when it is off.
fn fs_reply(command: proto::Command, name: &EchoedName, node: i32) -> Vec<u8> {
    let option = u32::from_ne_bytes(node.to_ne_bytes());
    let data = -errno::EOPNOTSUPP;
    let header = Header { data, option, name: name.0, ..Header::new(command) };
    answer::framed(header, &[])
}
