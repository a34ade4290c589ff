//! A client of `dlm_controld`: one method for each command, each over a connection of its own, as the daemon's
//! protocol wants it (spec/control-socket.md section 3). Works with this daemon and with the C one, 4.1 to 4.3.
//!
//! Calls block. Without [`Client::with_timeout`] they wait as long as the daemon takes.

use crate::proto::{
    self, Command, HEADER_LEN, Header, HeaderError, Lockspace, NAME_LEN, Node, NodeList,
    STATUS_PART_MAX, StatusHeader, StatusKind, TEXT_LEN,
};
use crate::status::StatusRecord;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes as _};

/// Most bytes of a list answer: some 100,000 lockspaces. Keeps a broken peer from making us allocate without bound.
const LIST_MAX: usize = 16 * 1024 * 1024;

/// Most bytes of a JSON document: thousands of lockspaces. Keeps a broken peer from making us allocate without bound.
const DOCUMENT_MAX: usize = 64 * 1024 * 1024;

/// Most bytes of a recording: the daemon's own limit is half of it. Keeps a broken peer from making us allocate without
/// bound.
const RECORDING_MAX: usize = 128 * 1024 * 1024;

/// How often `run_check` asks again: the protocol has no way to be told.
const RUN_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// `errno` of a short or senseless answer (EPROTO of asm-generic/errno.h).
const EPROTO: i32 = 71;

/// Which of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Socket {
    /// Commands.
    Command,
    /// Queries.
    Query,
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Command => "command socket @dlmc_sock",
            Self::Query => "query socket @dlmc_query_sock",
        })
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No daemon, most of the time.
    #[error("{operation}: cannot connect to the {socket}: {source}")]
    Connect {
        /// What was attempted.
        operation: Command,
        /// Where.
        socket: Socket,
        /// Why.
        source: io::Error,
    },
    /// The request could not be handed over.
    #[error("{operation}: cannot write to the {socket}: {source}")]
    Send {
        /// What was attempted.
        operation: Command,
        /// Where.
        socket: Socket,
        /// Why.
        source: io::Error,
    },
    /// The answer could not be read, or ended too early (`UnexpectedEof`).
    #[error("{operation}: cannot read the answer from the {socket}: {source}")]
    Receive {
        /// What was attempted.
        operation: Command,
        /// Where.
        socket: Socket,
        /// Why.
        source: io::Error,
    },
    /// The answer is none of this protocol.
    #[error("{operation}: answer of the {socket}: {source}")]
    BadHeader {
        /// What was attempted.
        operation: Command,
        /// Where.
        socket: Socket,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// A part of the answer has a size that cannot be right.
    #[error("{operation}: answer of the {socket} names {length} bytes or entries of {part}")]
    BadLength {
        /// What was attempted.
        operation: Command,
        /// Where.
        socket: Socket,
        /// Of what.
        part: &'static str,
        /// How many.
        length: i64,
    },
    /// The daemon says no.
    #[error("{operation}: the daemon answers: {}", io::Error::from_raw_os_error(*.errno))]
    Refused {
        /// What was attempted.
        operation: Command,
        /// Positive errno; `run_start` and `run_check` of the C daemon say 1 for everything.
        errno: i32,
    },
    /// The JSON text is none that this library knows.
    #[cfg(feature = "state")]
    #[error("{operation}: the daemon's JSON makes no sense here: {source}")]
    Json {
        /// What was attempted.
        operation: Command,
        /// Where it stops making sense.
        source: serde_json::Error,
    },
    /// A name that the protocol cannot carry.
    #[error("{operation}: a name of {length} bytes, or with a NUL inside, does not fit")]
    Name {
        /// What was attempted.
        operation: Command,
        /// Bytes of the name.
        length: usize,
    },
    /// A text that the protocol cannot carry: the C library would cut it without a word.
    #[error("{operation}: a text of {length} bytes, at most 1023 without NUL fit")]
    Text {
        /// What was attempted.
        operation: Command,
        /// Bytes of the text.
        length: usize,
    },
}

impl Error {
    /// The positive errno that a C caller expects; EPROTO for answers that make no sense.
    #[must_use]
    pub fn errno(&self) -> i32 {
        match self {
            Self::Connect { source, .. }
            | Self::Send { source, .. }
            | Self::Receive { source, .. } => source.raw_os_error().unwrap_or(EPROTO),
            Self::BadHeader { .. } | Self::BadLength { .. } => EPROTO,
            #[cfg(feature = "state")]
            Self::Json { .. } => EPROTO,
            Self::Refused { errno, .. } => *errno,
            Self::Name { .. } | Self::Text { .. } => proto::errno::EINVAL,
        }
    }

    /// What was attempted.
    #[must_use]
    pub const fn operation(&self) -> Command {
        match self {
            Self::Connect { operation, .. }
            | Self::Send { operation, .. }
            | Self::Receive { operation, .. }
            | Self::BadHeader { operation, .. }
            | Self::BadLength { operation, .. }
            | Self::Refused { operation, .. }
            | Self::Name { operation, .. }
            | Self::Text { operation, .. } => *operation,
            #[cfg(feature = "state")]
            Self::Json { operation, .. } => *operation,
        }
    }

    /// The daemon has closed the connection without an answer, as the C daemon does with commands that it does not know.
    #[must_use]
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, Self::Receive { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof)
    }

    /// The daemon took longer than [`Client::with_timeout`] lets it.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        let late = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
        matches!(self, Self::Receive { source, .. } | Self::Send { source, .. } if late.contains(&source.kind()))
    }

    /// No daemon serves the socket.
    #[must_use]
    pub fn is_not_running(&self) -> bool {
        matches!(self, Self::Connect { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused)
    }
}

/// A result of this library.
pub type Result<T> = std::result::Result<T, Error>;

/// Where the daemon is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct Client {
    command_socket: Vec<u8>,
    query_socket: Vec<u8>,
    timeout: Option<Duration>,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

/// The answer of `dump_plocks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plocks {
    /// One line a lock.
    pub text: Vec<u8>,
    /// 0, or the negative errno of the daemon: -ENOENT unknown lockspace, -ENOSPC the text is cut.
    pub result: i32,
}

/// The answer of `lockspaces` or `lockspace_nodes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing<T> {
    /// What was listed, in the daemon's order.
    pub entries: Vec<T>,
    /// There were more than asked for.
    pub truncated: bool,
}

/// What became of a command that `run_start` began: bits `RUN_*` of [`proto`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunStatus {
    /// `RUN_*`; 0: the daemon does not know the uuid.
    pub status: u32,
    /// 0, or the negative number that the daemon said.
    pub result: i32,
}

impl Client {
    /// A client of the daemon of this machine (more precisely: of this network namespace).
    #[must_use]
    pub fn new() -> Self {
        Self::with_sockets(proto::COMMAND_SOCKET, proto::QUERY_SOCKET)
    }

    /// A client of a daemon that serves other abstract names; both without the leading NUL.
    #[must_use]
    pub fn with_sockets(command_socket: &[u8], query_socket: &[u8]) -> Self {
        Self {
            command_socket: command_socket.to_vec(),
            query_socket: query_socket.to_vec(),
            timeout: None,
        }
    }

    /// The same with a limit for each single read and write.
    #[must_use]
    pub const fn with_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Text of the debug ring, up to 1 MiB, without the last newline.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_debug(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpDebug)
    }

    /// Text of the ring of POSIX lock messages, up to 1 MiB, without the last newline.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_log_plock(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpLogPlock)
    }

    /// Options, one `name=value` a line.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_config(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpConfig)
    }

    /// Commands that were started on other nodes.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn dump_run(&self) -> Result<Vec<u8>> {
        self.dump(Command::DumpRun)
    }

    /// POSIX locks of a lockspace. An unknown lockspace is no error here, as the C library has it: see
    /// [`Plocks::result`].
    ///
    /// # Errors
    /// Name, connection or answer.
    pub fn dump_plocks(&self, lockspace: &[u8]) -> Result<Plocks> {
        let request = named(Command::DumpPlocks, lockspace)?;
        let mut connection = self.query(&request)?;
        let reply = connection.header()?;
        let text = connection.payload(&reply, proto::DUMP_MAX, "text")?;
        Ok(Plocks { text, result: reply.data })
    }

    /// All lockspaces, newest first. Asks for all of them; a C daemon 4.1 answers that with none.
    ///
    /// # Errors
    /// Connection, answer or refusal.
    pub fn lockspaces(&self) -> Result<Vec<Lockspace>> {
        Ok(self.lockspaces_up_to(0)?.entries)
    }

    /// Lockspaces, newest first, at most `max`; 0 for all of them, which a C daemon 4.1 takes literally.
    ///
    /// # Errors
    /// Connection, answer or refusal.
    pub fn lockspaces_up_to(&self, max: u16) -> Result<Listing<Lockspace>> {
        let mut request = Header::new(Command::Lockspaces);
        request.data = i32::from(max);
        self.query(&request)?.listing()
    }

    /// One lockspace.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn lockspace_info(&self, lockspace: &[u8]) -> Result<Lockspace> {
        self.query(&named(Command::LockspaceInfo, lockspace)?)?.structure()
    }

    /// One node of a lockspace. A node that was never seen is no error: only its id is set.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn node_info(&self, lockspace: &[u8], node: i32) -> Result<Node> {
        let mut request = named(Command::NodeInfo, lockspace)?;
        request.data = node;
        self.query(&request)?.structure()
    }

    /// Nodes of a lockspace, at most `max`.
    ///
    /// # Errors
    /// Name, connection, answer; refusal with ENOENT for an unknown lockspace.
    pub fn lockspace_nodes(
        &self,
        lockspace: &[u8],
        list: NodeList,
        max: u16,
    ) -> Result<Listing<Node>> {
        let mut request = named(Command::LockspaceNodes, lockspace)?;
        request.option = list.number();
        request.data = i32::from(max);
        self.query(&request)?.listing()
    }

    /// The status stream: the daemon, its nodes, the nodes of its start-up list. Records of a kind that is not known
    /// here are left out.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn status(&self) -> Result<Vec<StatusRecord>> {
        let mut connection = self.query(&Header::new(Command::DumpStatus))?;
        let mut records = Vec::new();
        let mut taken = 0_usize;
        while let Some(header) = connection.status_header()? {
            let (text, length) = connection.status_text(&header)?;
            taken = taken.saturating_add(length);
            if taken > LIST_MAX {
                return Err(connection.bad_length("status records", LIST_MAX));
            }
            if let Some(kind) = StatusKind::from_number(header.kind) {
                records.push(StatusRecord::new(kind, header.nodeid, text));
            }
        }
        Ok(records)
    }

    /// The state as the JSON text that the daemon sends. A C daemon does not know the question:
    /// [`Error::is_unknown_command`].
    ///
    /// # Errors
    /// Connection or answer.
    pub fn state_json(&self) -> Result<Vec<u8>> {
        self.document(Command::State)
    }

    /// The state.
    ///
    /// # Errors
    /// Connection or answer.
    #[cfg(feature = "state")]
    pub fn state(&self) -> Result<crate::state::State> {
        let text = self.state_json()?;
        parsed(Command::State, &text)
    }

    /// The recoveries of the last hours as JSON.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn history_json(&self) -> Result<Vec<u8>> {
        self.document(Command::History)
    }

    /// The recoveries of the last hours.
    ///
    /// # Errors
    /// Connection or answer.
    #[cfg(feature = "state")]
    pub fn history(&self) -> Result<crate::history::History> {
        let text = self.history_json()?;
        parsed(Command::History, &text)
    }

    /// What the daemon's flight recorder has, as the bytes of a file. A daemon that does not know the question does not
    /// answer: give a limit with [`Self::with_timeout`].
    ///
    /// # Errors
    /// Connection, answer; refusal with EPERM, or EOPNOTSUPP where the recorder is switched off.
    pub fn record_save(&self) -> Result<Vec<u8>> {
        let mut connection = self.command(&Header::new(Command::RecordSave), &[])?;
        let reply = connection.header()?;
        connection.refused(&reply)?;
        connection.payload(&reply, RECORDING_MAX, "recording")
    }

    /// A text answer that no buffer of a C caller bounds.
    fn document(&self, command: Command) -> Result<Vec<u8>> {
        let mut connection = self.query(&Header::new(command))?;
        let reply = connection.header()?;
        connection.refused(&reply)?;
        connection.payload(&reply, DOCUMENT_MAX, "document")
    }

    /// Tells the daemon that a node is fenced. Returns when the request is handed over; there is no answer.
    ///
    /// # Errors
    /// Connection.
    pub fn fence_ack(&self, node: u32) -> Result<()> {
        self.fence_ack_text(node.to_string().as_bytes())
    }

    /// The same with the node id as an operator wrote it.
    ///
    /// # Errors
    /// Name, connection.
    pub fn fence_ack_text(&self, node: &[u8]) -> Result<()> {
        self.command(&named(Command::FenceAck, node)?, &[]).map(drop)
    }

    /// Changes options: words `name=value`, `name=restore`, or `restore_all`. There is no answer.
    ///
    /// # Errors
    /// Text, connection.
    pub fn set_config(&self, text: &[u8]) -> Result<()> {
        let payload = padded(Command::SetConfig, text)?;
        self.command(&Header::new(Command::SetConfig), &payload).map(drop)
    }

    /// Has dlm.conf read again. There is no answer.
    ///
    /// # Errors
    /// Connection.
    pub fn reload_config(&self) -> Result<()> {
        self.command(&Header::new(Command::ReloadConfig), &[]).map(drop)
    }

    /// Has a command run on `node`, 0 for all. `flags`: one of `RUN_NODE_*`. Returns the uuid to ask for it with
    /// [`Self::run_check`].
    ///
    /// # Errors
    /// Text, connection, answer; refusal.
    pub fn run_start(&self, command: &[u8], node: i32, flags: i32) -> Result<String> {
        let payload = padded(Command::RunStart, command)?;
        let mut request = Header::new(Command::RunStart);
        request.data = node;
        request.flags = flags;
        let mut connection = self.command(&request, &payload)?;
        let reply = connection.header()?;
        connection.refused(&reply)?;
        Ok(String::from_utf8_lossy(reply.name_bytes()).into_owned())
    }

    /// Asks for a search for deadlocks, which no daemon has ever made.
    ///
    /// # Errors
    /// Name, connection.
    pub fn deadlock_check(&self, lockspace: &[u8]) -> Result<()> {
        self.command(&named(Command::DeadlockCheck, lockspace)?, &[]).map(drop)
    }

    /// Asks what became of a command, once a second until it is done or `wait` is over. `flags`: `RUN_CHECK_*`.
    ///
    /// # Errors
    /// Name, connection, answer. What the daemon says of an unknown uuid is in [`RunStatus::result`].
    pub fn run_check(&self, uuid: &[u8], wait: Duration, flags: i32) -> Result<RunStatus> {
        let mut request = named(Command::RunCheck, uuid)?;
        request.flags = flags;
        let started = Instant::now();
        let mut connection = self.command(&request, &[])?;
        loop {
            let status = connection.run_status()?;
            let left = wait.saturating_sub(started.elapsed());
            if status.status & proto::RUN_WAITING == 0 || left.is_zero() {
                return Ok(status);
            }
            std::thread::sleep(RUN_CHECK_INTERVAL.min(left));
            connection.send(&request, &[])?;
        }
    }

    /// A connection on which a file system acknowledges failures.
    ///
    /// # Errors
    /// Connection.
    pub fn fs_connect(&self) -> Result<FsConnection> {
        let operation = Command::FsRegister;
        self.connect(operation, Socket::Command).map(|connection| FsConnection { connection })
    }

    fn dump(&self, command: Command) -> Result<Vec<u8>> {
        let mut connection = self.query(&Header::new(command))?;
        let reply = connection.header()?;
        connection.refused(&reply)?;
        connection.payload(&reply, proto::DUMP_MAX, "text")
    }

    fn query(&self, request: &Header) -> Result<Connection> {
        self.begin(Socket::Query, request, &[])
    }

    fn command(&self, request: &Header, payload: &[u8]) -> Result<Connection> {
        self.begin(Socket::Command, request, payload)
    }

    fn begin(&self, socket: Socket, request: &Header, payload: &[u8]) -> Result<Connection> {
        let operation = Command::from_number(request.command).unwrap_or(Command::DumpDebug);
        let mut connection = self.connect(operation, socket)?;
        connection.send(request, payload)?;
        Ok(connection)
    }

    fn connect(&self, operation: Command, socket: Socket) -> Result<Connection> {
        let name = match socket {
            Socket::Command => &self.command_socket,
            Socket::Query => &self.query_socket,
        };
        let open = || {
            let stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            stream.set_read_timeout(self.timeout)?;
            stream.set_write_timeout(self.timeout)?;
            Ok(stream)
        };
        match open() {
            Ok(stream) => Ok(Connection { stream, operation, socket }),
            Err(source) => Err(Error::Connect { operation, socket, source }),
        }
    }
}

#[cfg(feature = "state")]
fn parsed<T: serde::de::DeserializeOwned>(operation: Command, text: &[u8]) -> Result<T> {
    serde_json::from_slice(text).map_err(|source| Error::Json { operation, source })
}

/// A header with a name in it.
fn named(operation: Command, name: &[u8]) -> Result<Header> {
    Header::new(operation).named(name).ok_or(Error::Name { operation, length: name.len() })
}

/// The fixed payload of `run_start` and `set_config`.
fn padded(operation: Command, text: &[u8]) -> Result<[u8; TEXT_LEN]> {
    let error = || Error::Text { operation, length: text.len() };
    if text.len() >= TEXT_LEN || text.contains(&0) {
        return Err(error());
    }
    let mut payload = [0; TEXT_LEN];
    payload.get_mut(..text.len()).ok_or_else(error)?.copy_from_slice(text);
    Ok(payload)
}

/// What a file system's acknowledgement or registration came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FsResult {
    /// Registered, notified, or what the daemon says.
    pub command: Option<Command>,
    /// The lockspace.
    pub lockspace: Vec<u8>,
    /// The node, of a notification.
    pub node: u32,
    /// 0 or a negative errno.
    pub result: i32,
}

/// A connection on which a file system registers for a lockspace and acknowledges failures.
#[derive(Debug)]
pub struct FsConnection {
    connection: Connection,
}

/// The connection as a descriptor, for a caller that keeps it, such as one in C.
impl From<FsConnection> for OwnedFd {
    fn from(connection: FsConnection) -> Self {
        connection.connection.stream.into()
    }
}

impl From<OwnedFd> for FsConnection {
    fn from(fd: OwnedFd) -> Self {
        let (operation, socket) = (Command::FsRegister, Socket::Command);
        Self { connection: Connection { stream: fd.into(), operation, socket } }
    }
}

impl FsConnection {
    /// Registers; the answer comes through [`Self::result`].
    ///
    /// # Errors
    /// Name, connection.
    pub fn register(&mut self, lockspace: &[u8]) -> Result<()> {
        self.connection.send(&named(Command::FsRegister, lockspace)?, &[])
    }

    /// Takes the registration back; there is no answer.
    ///
    /// # Errors
    /// Name, connection.
    pub fn unregister(&mut self, lockspace: &[u8]) -> Result<()> {
        self.connection.send(&named(Command::FsUnregister, lockspace)?, &[])
    }

    /// Says that the file system has seen a node's failure; the answer comes through [`Self::result`].
    ///
    /// # Errors
    /// Name, connection.
    pub fn notified(&mut self, lockspace: &[u8], node: i32) -> Result<()> {
        let mut request = named(Command::FsNotified, lockspace)?;
        request.data = node;
        self.connection.send(&request, &[])
    }

    /// The next answer.
    ///
    /// # Errors
    /// Connection or answer.
    pub fn result(&mut self) -> Result<FsResult> {
        let reply = self.connection.header()?;
        Ok(FsResult {
            command: Command::from_number(reply.command),
            lockspace: reply.name_bytes().to_vec(),
            node: reply.option,
            result: reply.data,
        })
    }
}

/// One connection, with what is attempted on it.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    operation: Command,
    socket: Socket,
}

impl Connection {
    fn send(&mut self, request: &Header, payload: &[u8]) -> Result<()> {
        self.operation = Command::from_number(request.command).unwrap_or(self.operation);
        let mut bytes = request.followed_by(payload.len()).as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        let (operation, socket) = (self.operation, self.socket);
        self.stream.write_all(&bytes).map_err(|source| Error::Send { operation, socket, source })
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let (operation, socket) = (self.operation, self.socket);
        match self.stream.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(source) => Err(Error::Receive { operation, socket, source }),
        }
    }

    fn read_struct<T: FromBytes>(&mut self, part: &'static str) -> Result<T> {
        let bytes = self.read(size_of::<T>())?;
        T::read_from_bytes(&bytes).map_err(|_| self.bad_length(part, bytes.len()))
    }

    fn header(&mut self) -> Result<Header> {
        let header: Header = self.read_struct("header")?;
        let (operation, socket) = (self.operation, self.socket);
        match header.payload_len() {
            Ok(_) => Ok(header),
            Err(source) => Err(Error::BadHeader { operation, socket, source }),
        }
    }

    fn payload(&mut self, header: &Header, max: usize, part: &'static str) -> Result<Vec<u8>> {
        let length = usize::try_from(header.len.saturating_sub(HEADER_LEN)).unwrap_or(usize::MAX);
        if length > max {
            return Err(self.bad_length(part, length));
        }
        self.read(length)
    }

    fn refused(&self, header: &Header) -> Result<()> {
        if header.data >= 0 {
            return Ok(());
        }
        Err(Error::Refused { operation: self.operation, errno: header.data.saturating_neg() })
    }

    /// A header, and always one structure behind it, which means nothing if the header says no.
    fn structure<T: FromBytes>(&mut self) -> Result<T> {
        let reply = self.header()?;
        self.refused(&reply)?;
        self.read_struct("structure")
    }

    /// A header, and the entries that its length names; -E2BIG says that there were more.
    fn listing<T: FromBytes>(&mut self) -> Result<Listing<T>> {
        let reply = self.header()?;
        let truncated = reply.data == -proto::errno::E2BIG;
        if !truncated {
            self.refused(&reply)?;
        }
        let bytes = self.payload(&reply, LIST_MAX, "entries")?;
        let chunks = bytes.chunks_exact(size_of::<T>());
        let complete = chunks.remainder().is_empty();
        let entries: Vec<T> = chunks.filter_map(|entry| T::read_from_bytes(entry).ok()).collect();
        let counted = truncated || usize::try_from(reply.data) == Ok(entries.len());
        if !complete || !counted {
            return Err(self.bad_length("entries", bytes.len()));
        }
        Ok(Listing { entries, truncated })
    }

    /// The head of the next status record; `None` at the end of the stream.
    fn status_header(&mut self) -> Result<Option<StatusHeader>> {
        let (operation, socket) = (self.operation, self.socket);
        let mut bytes = [0; size_of::<StatusHeader>()];
        let mut filled = 0_usize;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.stream.read(rest) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => {
                    let source = io::ErrorKind::UnexpectedEof.into();
                    return Err(Error::Receive { operation, socket, source });
                }
                Ok(count) => filled = filled.saturating_add(count),
                Err(source) if source.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(Error::Receive { operation, socket, source }),
            }
        }
        Ok(StatusHeader::read_from_bytes(&bytes).ok())
    }

    /// The text of a status record without its NUL, and the bytes that the record took.
    fn status_text(&mut self, header: &StatusHeader) -> Result<(String, usize)> {
        let mut parts = [0_usize; 2];
        for (part, length) in parts.iter_mut().zip([header.str_len, header.bin_len]) {
            if length > STATUS_PART_MAX {
                return Err(self.bad_length("a status record", length));
            }
            *part = usize::try_from(length).unwrap_or(0);
        }
        let [text, binary] = parts;
        let text = self.read(text)?;
        let binary = self.read(binary)?;
        let taken =
            size_of::<StatusHeader>().saturating_add(text.len()).saturating_add(binary.len());
        Ok((String::from_utf8_lossy(proto::until_nul(&text)).into_owned(), taken))
    }

    fn run_status(&mut self) -> Result<RunStatus> {
        let reply = self.header()?;
        let status = self.read(size_of::<u32>())?;
        let status = u32::read_from_bytes(&status).unwrap_or(0);
        Ok(RunStatus { status, result: reply.data })
    }

    fn bad_length(&self, part: &'static str, length: impl TryInto<i64>) -> Error {
        let length = length.try_into().unwrap_or(i64::MAX);
        Error::BadLength { operation: self.operation, socket: self.socket, part, length }
    }
}

const _: () = assert!(NAME_LEN == 64, "room for a uuid (DLMC_RUN_UUID_LEN) and a lockspace name");

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;
    use std::thread::{self, JoinHandle};

    /// A daemon that answers one connection with fixed bytes, and returns what it was sent.
    fn daemon(name: &str, expect: usize, answer: Vec<u8>) -> (Client, JoinHandle<Vec<u8>>) {
        let name = format!("dlmcontrol-test-{name}-{}", std::process::id());
        let listener =
            UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = vec![0; expect];
            stream.read_exact(&mut request).unwrap();
            stream.write_all(&answer).unwrap();
            request
        });
        (Client::with_sockets(name.as_bytes(), name.as_bytes()), server)
    }

    fn reply(command: Command, data: i32, payload: &[u8]) -> Vec<u8> {
        let mut header = Header::new(command).followed_by(payload.len());
        header.data = data;
        [header.as_bytes(), payload].concat()
    }

    #[test]
    fn no_daemon_is_told_apart() {
        let client = Client::with_sockets(b"dlmcontrol-test-nobody", b"dlmcontrol-test-nobody");
        let error = client.dump_debug().unwrap_err();
        assert!(error.is_not_running());
        assert_eq!(error.errno(), 111);
        assert!(error.to_string().starts_with("dump_debug: cannot connect to the query socket"));
    }

    #[test]
    fn lockspaces_are_read_by_their_count() {
        let entry = Lockspace { global_id: 7, ..Lockspace::default() };
        let payload = [entry.as_bytes(), entry.as_bytes()].concat();
        let (client, server) = daemon("ls", 96, reply(Command::Lockspaces, 2, &payload));
        assert_eq!(client.lockspaces().unwrap(), [entry, entry]);
        assert_eq!(
            server.join().unwrap()[8..24],
            [5, 0, 0, 0, 0, 0, 0, 0, 96, 0, 0, 0, 0, 0, 0, 0]
        );
        let (client, server) = daemon("ls-short", 96, reply(Command::Lockspaces, 3, &payload));
        assert!(matches!(client.lockspaces(), Err(Error::BadLength { .. })));
        server.join().unwrap();
    }

    #[test]
    fn too_many_nodes_are_no_error() {
        let node = Node { nodeid: 3, ..Node::default() };
        let answer = reply(Command::LockspaceNodes, -proto::errno::E2BIG, node.as_bytes());
        let (client, server) = daemon("nodes", 96, answer);
        let listing = client.lockspace_nodes(b"fs", NodeList::All, 1).unwrap();
        assert_eq!((listing.entries, listing.truncated), (vec![node], true));
        server.join().unwrap();
    }

    #[test]
    fn refusals_keep_their_errno() {
        let empty = Lockspace::default();
        let answer = reply(Command::LockspaceInfo, -proto::errno::ENOENT, empty.as_bytes());
        let (client, server) = daemon("info", 96, answer);
        let error = client.lockspace_info(b"fs").unwrap_err();
        assert_eq!((error.errno(), error.operation()), (2, Command::LockspaceInfo));
        server.join().unwrap();
    }

    #[test]
    fn oversized_answers_are_not_allocated() {
        let mut answer = reply(Command::DumpDebug, 0, &[]);
        answer[16..20].copy_from_slice(&u32::MAX.to_ne_bytes());
        let (client, server) = daemon("big", 96, answer);
        assert!(matches!(client.dump_debug(), Err(Error::BadLength { .. })));
        server.join().unwrap();
    }

    #[test]
    fn truncated_status_is_an_error_and_a_whole_one_is_not() {
        let text = b"member_count=3 monotime=43 \0";
        let header = StatusHeader {
            kind: 1,
            flags: 0,
            nodeid: 1,
            data32: 0,
            data64: 0,
            str_len: 28,
            bin_len: 0,
        };
        let whole = [header.as_bytes(), text].concat();
        for cut in 1..whole.len() {
            let (client, server) = daemon(&format!("cut{cut}"), 96, whole[..cut].to_vec());
            assert!(matches!(client.status(), Err(Error::Receive { .. })), "{cut}");
            server.join().unwrap();
        }
        let (client, server) = daemon("whole", 96, whole);
        let records = client.status().unwrap();
        assert_eq!(records[0].daemon().unwrap().monotime, 43);
        server.join().unwrap();
    }

    #[test]
    fn texts_are_sent_padded_and_never_cut() {
        let (client, server) = daemon("set", 96 + 1024, Vec::new());
        client.set_config(b"plock_debug=1").unwrap();
        let sent = server.join().unwrap();
        assert_eq!(sent[16..20], 1120_u32.to_ne_bytes());
        assert_eq!(sent[96..110], *b"plock_debug=1\0");
        let error = client.set_config(&[b'x'; 1024]).unwrap_err();
        assert!(matches!(error, Error::Text { length: 1024, .. }));
    }

    #[test]
    fn run_check_reports_the_status_behind_the_header() {
        let answer = reply(Command::RunCheck, 0, &proto::RUN_DONE.to_ne_bytes());
        let (client, server) = daemon("check", 96, answer);
        let status = client.run_check(b"ab4c9f22", Duration::ZERO, 1).unwrap();
        assert_eq!(status, RunStatus { status: proto::RUN_DONE, result: 0 });
        server.join().unwrap();
    }
}
