//! Bytes of a request become a typed one, here and nowhere else (spec/control-socket.md sections 2 and 3).

use super::{Published, answer, queries::Clocked, state};
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{Instant, NodeId};
use dlmcontrol::proto::{self, Header, HeaderError, NAME_LEN, NodeList, TEXT_LEN, errno};
use zerocopy::FromBytes as _;

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

/// Most bytes behind a header that are read at all; a client that announces more is dropped.
pub(crate) const PAYLOAD_HARD_MAX: usize = 4096;

/// A header whose magic number and version are right, and the bytes that follow it.
pub(crate) fn header(bytes: &[u8; HEADER_BYTES]) -> Result<(Header, usize), HeaderError> {
    // The length is right by type, so the default is never taken; its magic number would be refused.
    let header = Header::read_from_bytes(bytes)
        .unwrap_or(Header { magic: 0, ..Header::new(proto::Command::DumpDebug) });
    let payload = header.payload_len()?;
    Ok((header, usize::try_from(payload).unwrap_or(usize::MAX)))
}

/// The name of a header, kept as it came because answers echo it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EchoedName(pub(crate) [u8; NAME_LEN]);

impl EchoedName {
    pub(crate) fn bytes(&self) -> &[u8] {
        proto::until_nul(&self.0)
    }
}

/// A request on the query socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Query {
    DumpDebug,
    DumpLogPlock,
    DumpConfig,
    DumpRun,
    /// `command`: whose answer it is. `skip`: lines to leave out.
    DumpPlocks {
        command: proto::Command,
        name: EchoedName,
        skip: usize,
    },
    LockspaceInfo(EchoedName),
    NodeInfo {
        name: EchoedName,
        node: i32,
    },
    /// With a maximum: the rule of the 4.1 library, whose buffer has just that many entries.
    Lockspaces {
        max: Option<usize>,
    },
    /// `list` is `None` for a number without meaning, which is answered with no nodes.
    LockspaceNodes {
        name: EchoedName,
        list: Option<NodeList>,
        max: usize,
    },
    Status,
    /// The JSON document.
    State,
    /// Recoveries as JSON.
    History,
}

impl Query {
    /// `None` for a command that this socket does not serve.
    pub(crate) fn parse(header: &Header) -> Option<Self> {
        use proto::Command as C;
        let name = EchoedName(header.name);
        let positive = usize::try_from(header.data).ok().filter(|max| *max > 0);
        Some(match C::from_number(header.command)? {
            C::DumpDebug => Self::DumpDebug,
            command @ C::DumpPlocks => Self::DumpPlocks { command, name, skip: 0 },
            command @ C::PlocksFrom => {
                let skip = usize::try_from(header.option).unwrap_or(usize::MAX);
                Self::DumpPlocks { command, name, skip }
            }
            C::LockspaceInfo => Self::LockspaceInfo(name),
            C::NodeInfo => Self::NodeInfo { name, node: header.data },
            C::Lockspaces => Self::Lockspaces { max: positive },
            C::LockspaceNodes => {
                let list = NodeList::from_number(header.option);
                Self::LockspaceNodes { name, list, max: positive.unwrap_or(0) }
            }
            C::DumpLogPlock => Self::DumpLogPlock,
            C::DumpStatus => Self::Status,
            C::DumpConfig => Self::DumpConfig,
            C::DumpRun => Self::DumpRun,
            C::State => Self::State,
            C::History => Self::History,
            C::FsRegister
            | C::FsUnregister
            | C::FsNotified
            | C::DeadlockCheck
            | C::FenceAck
            | C::RunStart
            | C::RunCheck
            | C::ReloadConfig
            | C::SetConfig
            | C::RecordSave => return None,
        })
    }
}

impl Query {
    /// The answer may be long: some 1 MiB.
    pub(crate) const fn is_text(&self) -> bool {
        match self {
            Self::DumpDebug
            | Self::DumpLogPlock
            | Self::DumpPlocks { .. }
            | Self::State
            | Self::History => true,
            Self::DumpConfig
            | Self::DumpRun
            | Self::LockspaceInfo(_)
            | Self::NodeInfo { .. }
            | Self::Lockspaces { .. }
            | Self::LockspaceNodes { .. }
            | Self::Status => false,
        }
    }
}

/// A request on the command socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    FenceAck(NodeId),
    SetConfig(String),
    ReloadConfig,
    RecordSave,
    RunStart { command: String, node: Option<NodeId>, flags: i32 },
    RunCheck { uuid: String, flags: i32 },
    FsRegister(EchoedName),
    FsNotified { name: EchoedName, node: i32 },
}

/// What is wrong with a request whose header is right. The connection stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadOrder {
    /// No command of this socket. The text is upstream's.
    #[error("unknown command {0}")]
    Unknown(u32),
    /// Nothing to do, nothing to answer: file systems that acknowledge failures are not served.
    #[error("fs_unregister without registration")]
    Unregister,
    #[error("fence_ack of {0:?}, which is no node id")]
    FenceAckNode(String),
    #[error("set_config with {0} bytes, more than 1024")]
    ConfigLength(usize),
    /// To be answered with this negative number.
    #[error("run_start with a command of {length} bytes for node {node}")]
    RunStart { length: usize, node: i32, result: i32 },
}

impl Order {
    /// `payload`: the bytes behind the header, at most [`PAYLOAD_HARD_MAX`].
    pub(crate) fn parse(header: &Header, payload: &[u8]) -> Result<Self, BadOrder> {
        use proto::Command as C;
        let unknown = BadOrder::Unknown(header.command);
        let name = EchoedName(header.name);
        match C::from_number(header.command).ok_or_else(|| unknown.clone())? {
            C::FenceAck => fence_ack(name.bytes()),
            C::SetConfig if payload.len() > TEXT_LEN => Err(BadOrder::ConfigLength(payload.len())),
            C::SetConfig => Ok(Self::SetConfig(config_text(payload))),
            C::ReloadConfig => Ok(Self::ReloadConfig),
            C::RecordSave => Ok(Self::RecordSave),
            C::RunStart => run_start(header, payload),
            C::RunCheck => {
                let uuid = String::from_utf8_lossy(name.bytes()).into_owned();
                Ok(Self::RunCheck { uuid, flags: header.flags })
            }
            C::FsRegister => Ok(Self::FsRegister(name)),
            C::FsNotified => Ok(Self::FsNotified { name, node: header.data }),
            C::FsUnregister => Err(BadOrder::Unregister),
            C::DumpDebug
            | C::DumpPlocks
            | C::PlocksFrom
            | C::LockspaceInfo
            | C::NodeInfo
            | C::Lockspaces
            | C::LockspaceNodes
            | C::DeadlockCheck
            | C::DumpLogPlock
            | C::DumpStatus
            | C::DumpConfig
            | C::DumpRun
            | C::State
            | C::History => Err(unknown),
        }
    }
}

/// The node id is text. C reads leading digits and takes `3x` for 3; to declare a node fenced by mistake costs data, so
/// anything but a number is refused.
fn fence_ack(name: &[u8]) -> Result<Order, BadOrder> {
    std::str::from_utf8(name)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .and_then(NodeId::new)
        .map(Order::FenceAck)
        .ok_or_else(|| BadOrder::FenceAckNode(String::from_utf8_lossy(name).into_owned()))
}

/// The last byte counts as NUL whatever it is, as in C.
fn config_text(payload: &[u8]) -> String {
    let text = payload.split_last().map_or(payload, |(_, text)| text);
    String::from_utf8_lossy(proto::until_nul(text)).into_owned()
}

fn run_start(header: &Header, payload: &[u8]) -> Result<Order, BadOrder> {
    let length = payload.len();
    let refused = |result| BadOrder::RunStart { length, node: header.data, result };
    let command = proto::until_nul(payload);
    if length > TEXT_LEN {
        return Err(refused(-1));
    }
    if command.is_empty() {
        return Err(refused(-errno::EINVAL));
    }
    let node = u32::try_from(header.data).map_err(|_| refused(-errno::EINVAL))?;
    let command = String::from_utf8_lossy(command).into_owned();
    Ok(Order::RunStart { command, node: NodeId::new(node), flags: header.flags })
}

/// Any bytes as a request to both sockets, answered from an empty state: must neither panic nor grow without bound.
pub fn fuzz_request(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
        return;
    };
    let Ok((head, length)) = header(head) else {
        return;
    };
    if let Some(query) = Query::parse(&head) {
        let state = Clocked { published: &Published::default(), monotime: 0 };
        let answered = answer::state(&query, &state);
        debug_assert!(answered.is_none_or(|answer| answer.len() < proto::DUMP_MAX));
    }
    if length <= PAYLOAD_HARD_MAX {
        let payload = payload.get(..length).unwrap_or(payload);
        drop(Order::parse(&head, payload));
    }
}

/// Whatever can be asked, answered from the state of a core that was told anything: must not panic, nor answer a C program
/// with more than that has room for.
pub fn fuzz_answers(snapshot: Snapshot, taken: Instant) {
    let published = &Published { snapshot, taken, ..Published::default() };
    let names = published.snapshot.lockspaces.iter().map(|lockspace| lockspace.name.as_bytes());
    for name in names.chain([&b""[..]]) {
        let mut padded = [0; NAME_LEN];
        padded.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
        for command in proto::Command::ALL {
            for (data, option) in [(0, 1), (1, 2), (4, 3), (i32::MAX, 4), (-1, 1)] {
                let header = Header { name: padded, data, option, ..Header::new(command) };
                let Some(query) = Query::parse(&header) else { continue };
                let state = Clocked { published, monotime: 0 };
                let length = answer::state(&query, &state).map_or(0, |answer| answer.len());
                debug_assert!(length <= HEADER_BYTES.saturating_add(proto::DUMP_MAX), "{query:?}");
            }
        }
    }
    let time = dlmcontrol::state::Time::default();
    let document = state::state(published, time, time);
    debug_assert!(answer::document(proto::Command::State, &document).is_some());
}
