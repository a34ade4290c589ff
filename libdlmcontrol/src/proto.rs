//! The bytes of the socket protocol (spec/control-socket.md sections 1 to 5): a header of 96 bytes both ways, fixed
//! structures, and the records of the status stream. All numbers are in native byte order: both ends are one machine.

use std::fmt;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Abstract name of the socket for commands, without the leading NUL.
pub const COMMAND_SOCKET: &[u8] = b"dlmc_sock";
/// Abstract name of the socket for queries, without the leading NUL.
pub const QUERY_SOCKET: &[u8] = b"dlmc_query_sock";

/// First word of every header.
pub const MAGIC: u32 = 0xD13C_D13C;
/// Second word of every header; only the upper half is compared.
pub const VERSION: u32 = 0x0001_0001;
/// The part of the version that must agree.
const VERSION_MASK: u32 = 0xFFFF_0000;

/// Bytes of a [`Header`].
pub const HEADER_LEN: u32 = 96;
/// Most bytes of a name in a header; a name of full length has no NUL.
pub const NAME_LEN: usize = 64;
/// Most bytes of a text answer (`DLMC_DUMP_SIZE`): callers of the C library bring a buffer of this size.
pub const DUMP_MAX: usize = 1_048_576;
/// Bytes of the text of `run_start` and `set_config` as the C library sends it: NUL padded, at least one NUL.
pub const TEXT_LEN: usize = 1024;
/// Most bytes of each part of a status record.
pub const STATUS_PART_MAX: u32 = 4096;

/// `errno` values that are part of the protocol (asm-generic/errno.h), as positive numbers.
pub mod errno {
    /// The caller may not.
    pub const EPERM: i32 = 1;
    /// No such lockspace.
    pub const ENOENT: i32 = 2;
    /// The node has never been seen.
    pub const ESRCH: i32 = 3;
    /// More entries than asked for.
    pub const E2BIG: i32 = 7;
    /// Not yet.
    pub const EAGAIN: i32 = 11;
    /// The request makes no sense.
    pub const EINVAL: i32 = 22;
    /// The text is longer than the buffer.
    pub const ENOSPC: i32 = 28;
    /// The feature is switched off.
    pub const EOPNOTSUPP: i32 = 95;
}

/// What a header asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Command {
    /// Text of the debug ring.
    DumpDebug = 1,
    /// POSIX locks of a lockspace as text.
    DumpPlocks = 2,
    /// One lockspace.
    LockspaceInfo = 3,
    /// One node of a lockspace.
    NodeInfo = 4,
    /// All lockspaces.
    Lockspaces = 5,
    /// Nodes of a lockspace.
    LockspaceNodes = 6,
    /// A file system will acknowledge failures in this lockspace.
    FsRegister = 7,
    /// Takes the registration back.
    FsUnregister = 8,
    /// The file system has seen a node's failure.
    FsNotified = 9,
    /// Never did anything.
    DeadlockCheck = 10,
    /// Text of the ring of POSIX lock messages.
    DumpLogPlock = 11,
    /// An operator says that a node is fenced.
    FenceAck = 12,
    /// The status stream.
    DumpStatus = 13,
    /// Options as text.
    DumpConfig = 14,
    /// Run a command on other nodes.
    RunStart = 15,
    /// What became of it.
    RunCheck = 16,
    /// Commands that were started, as text.
    DumpRun = 17,
    /// Read dlm.conf again.
    ReloadConfig = 18,
    /// Change options.
    SetConfig = 19,
    /// The state as JSON (`docs/json.md`); of this daemon alone, a C daemon closes the connection unanswered.
    State = 1001,
    /// The recoveries of the last hours as JSON; of this daemon alone.
    History = 1002,
    /// The flight recorder's recording; of this daemon alone, on the command socket. A C daemon does not answer.
    RecordSave = 1003,
    /// As [`Command::DumpPlocks`], from the line whose number is in `option` on; of this daemon alone.
    PlocksFrom = 1004,
}

impl Command {
    /// All commands, in the order of their numbers.
    pub const ALL: [Self; 23] = [
        Self::DumpDebug,
        Self::DumpPlocks,
        Self::LockspaceInfo,
        Self::NodeInfo,
        Self::Lockspaces,
        Self::LockspaceNodes,
        Self::FsRegister,
        Self::FsUnregister,
        Self::FsNotified,
        Self::DeadlockCheck,
        Self::DumpLogPlock,
        Self::FenceAck,
        Self::DumpStatus,
        Self::DumpConfig,
        Self::RunStart,
        Self::RunCheck,
        Self::DumpRun,
        Self::ReloadConfig,
        Self::SetConfig,
        Self::State,
        Self::History,
        Self::RecordSave,
        Self::PlocksFrom,
    ];

    /// The command of a number, `None` where there is none.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|command| command.number() == number)
    }

    /// The number in the header.
    #[must_use]
    #[expect(
        clippy::as_conversions,
        reason = "reads the discriminant of a fieldless repr(u32) enum"
    )]
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The word for errors and logs, as the library's function is called without its prefix.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DumpDebug => "dump_debug",
            Self::DumpPlocks => "dump_plocks",
            Self::LockspaceInfo => "lockspace_info",
            Self::NodeInfo => "node_info",
            Self::Lockspaces => "lockspaces",
            Self::LockspaceNodes => "lockspace_nodes",
            Self::FsRegister => "fs_register",
            Self::FsUnregister => "fs_unregister",
            Self::FsNotified => "fs_notified",
            Self::DeadlockCheck => "deadlock_check",
            Self::DumpLogPlock => "dump_log_plock",
            Self::FenceAck => "fence_ack",
            Self::DumpStatus => "dump_status",
            Self::DumpConfig => "dump_config",
            Self::RunStart => "run_start",
            Self::RunCheck => "run_check",
            Self::DumpRun => "dump_run",
            Self::ReloadConfig => "reload_config",
            Self::SetConfig => "set_config",
            Self::State => "state",
            Self::History => "history",
            Self::RecordSave => "record_save",
            Self::PlocksFrom => "plocks_from",
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why 96 bytes are no header that we can act upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The stream is out of step, or the peer speaks something else.
    #[error("header starts with {0:#010x}, not with the protocol's magic number")]
    Magic(u32),
    /// Another major version.
    #[error("header has version {0:#010x}, of which the upper half is not ours")]
    Version(u32),
    /// A length below that of the header itself.
    #[error("header names a total length of {0} bytes, less than its own")]
    Length(u32),
}

/// The header of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Header {
    /// [`MAGIC`]
    pub magic: u32,
    /// [`VERSION`]
    pub version: u32,
    /// Number of a [`Command`].
    pub command: u32,
    /// Argument of some commands.
    pub option: u32,
    /// [`HEADER_LEN`] and what follows, in bytes.
    pub len: u32,
    /// Request: argument; answer: 0 or more, or a negative errno.
    pub data: i32,
    /// Argument of the run commands.
    pub flags: i32,
    /// 0
    pub unused: i32,
    /// Argument, NUL padded.
    pub name: [u8; NAME_LEN],
}

const _: () = assert!(size_of::<Header>() == 96, "header");

impl Header {
    /// A header of a command alone, with nothing behind it.
    #[must_use]
    pub const fn new(command: Command) -> Self {
        Self {
            magic: MAGIC,
            version: VERSION,
            command: command.number(),
            option: 0,
            len: HEADER_LEN,
            data: 0,
            flags: 0,
            unused: 0,
            name: [0; NAME_LEN],
        }
    }

    /// The same with a name; `None` where it is longer than [`NAME_LEN`] or has a NUL inside, which would cut it.
    #[must_use]
    pub fn named(mut self, name: &[u8]) -> Option<Self> {
        if name.contains(&0) {
            return None;
        }
        self.name = [0; NAME_LEN];
        self.name.get_mut(..name.len())?.copy_from_slice(name);
        Some(self)
    }

    /// The same with a length that counts `payload` bytes behind the header; what does not fit the field is cut to it.
    #[must_use]
    pub fn followed_by(mut self, payload: usize) -> Self {
        self.len = u32::try_from(payload).unwrap_or(u32::MAX).saturating_add(HEADER_LEN);
        self
    }

    /// The name up to its first NUL.
    #[must_use]
    pub fn name_bytes(&self) -> &[u8] {
        until_nul(&self.name)
    }

    /// The bytes that follow this header.
    ///
    /// # Errors
    /// Magic number, version or length are wrong.
    pub fn payload_len(&self) -> Result<u32, HeaderError> {
        if self.magic != MAGIC {
            return Err(HeaderError::Magic(self.magic));
        }
        if self.version & VERSION_MASK != VERSION & VERSION_MASK {
            return Err(HeaderError::Version(self.version));
        }
        self.len.checked_sub(HEADER_LEN).ok_or(HeaderError::Length(self.len))
    }
}

/// Bytes up to the first NUL, all where there is none.
#[must_use]
pub fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or(bytes)
}

/// `struct dlmc_node`: a node as a lockspace knows it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Node {
    /// Who.
    pub nodeid: i32,
    /// `NODE_*`
    pub flags: u32,
    /// Number of the change that added it last.
    pub added_seq: u32,
    /// Number of the change that removed it last.
    pub removed_seq: u32,
    /// CPG reason of its last failure: 3 nodedown, 5 procdown, 0 never.
    pub fail_reason: i32,
    /// 0
    pub padding: u32,
    /// Seconds since 1970 of its last failure.
    pub fail_walltime: u64,
    /// Seconds of the monotonic clock of its last failure.
    pub fail_monotime: u64,
}

const _: () = assert!(size_of::<Node>() == 40, "dlmc_node");

/// Member of the change that the list is about.
pub const NODE_MEMBER: u32 = 1;
/// Its start message has come.
pub const NODE_START: u32 = 2;
/// Merged with state of its own.
pub const NODE_DISALLOWED: u32 = 4;
/// Is to be fenced.
pub const NODE_NEED_FENCING: u32 = 8;
/// A file system is to acknowledge its failure.
pub const NODE_CHECK_FS: u32 = 0x10;

/// `struct dlmc_change`: one change of a lockspace's members.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
#[repr(C)]
pub struct Change {
    /// Members.
    pub member_count: i32,
    /// Who came.
    pub joined_count: i32,
    /// Who went.
    pub remove_count: i32,
    /// Those of them that failed.
    pub failed_count: i32,
    /// `WAIT_*`, or with `wait_messages` the number of start messages that are missing.
    pub wait_condition: i32,
    /// 1: start messages are waited for.
    pub wait_messages: i32,
    /// Number of the change; 0: there is none.
    pub seq: u32,
    /// The oldest change that it was merged with.
    pub combined_seq: u32,
}

const _: () = assert!(size_of::<Change>() == 32, "dlmc_change");

/// Nothing is waited for, or it was not looked at yet.
pub const WAIT_NONE: i32 = 0;
/// All services on one ring.
pub const WAIT_RINGID: i32 = 1;
/// Quorum.
pub const WAIT_QUORUM: i32 = 2;
/// Fencing of failed nodes.
pub const WAIT_FENCING: i32 = 3;
/// The file system's acknowledgement.
pub const WAIT_FSDONE: i32 = 4;

/// Bytes of a lockspace name with its NUL.
pub const LOCKSPACE_NAME_LEN: usize = 65;

/// `struct dlmc_lockspace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Lockspace {
    /// The last completed change.
    pub cg_prev: Change,
    /// The change in progress.
    pub cg_next: Change,
    /// `LOCKSPACE_*`
    pub flags: u32,
    /// Id in the kernel and between nodes.
    pub global_id: u32,
    /// Name, with at least one NUL.
    pub name: [u8; LOCKSPACE_NAME_LEN],
    /// 0
    pub padding: [u8; 3],
}

const _: () = assert!(size_of::<Lockspace>() == 140, "dlmc_lockspace");

impl Default for Lockspace {
    fn default() -> Self {
        Self {
            cg_prev: Change::default(),
            cg_next: Change::default(),
            flags: 0,
            global_id: 0,
            name: [0; LOCKSPACE_NAME_LEN],
            padding: [0; 3],
        }
    }
}

impl Lockspace {
    /// The name up to its NUL.
    #[must_use]
    pub fn name_bytes(&self) -> &[u8] {
        until_nul(&self.name)
    }
}

/// First start still pending.
pub const LOCKSPACE_JOINING: u32 = 1;
/// We are leaving.
pub const LOCKSPACE_LEAVING: u32 = 2;
/// The kernel is stopped.
pub const LOCKSPACE_KERNEL_STOPPED: u32 = 4;
/// A file system acknowledges failures.
pub const LOCKSPACE_FS_REGISTERED: u32 = 8;
/// POSIX lock state is not complete.
pub const LOCKSPACE_NEED_PLOCKS: u32 = 0x10;
/// POSIX lock messages are kept for later.
pub const LOCKSPACE_SAVE_PLOCKS: u32 = 0x20;

/// Which nodes of a lockspace are listed: the `option` of [`Command::LockspaceNodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeList {
    /// All ever seen.
    All,
    /// Members of the last completed change.
    Members,
    /// Members of the change in progress.
    Next,
}

impl NodeList {
    /// `DLMC_NODES_*`
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::All => 1,
            Self::Members => 2,
            Self::Next => 3,
        }
    }

    /// `None` for a number without meaning.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::All),
            2 => Some(Self::Members),
            3 => Some(Self::Next),
            _ => None,
        }
    }
}

/// `run_start`: the starting node does not run it.
pub const RUN_NODE_NONE: u32 = 1;
/// `run_start`: the starting node runs it at once.
pub const RUN_NODE_FIRST: u32 = 2;
/// `run_start`: the starting node runs it when its own message arrives.
pub const RUN_NODE_RECV: u32 = 4;
/// `run_check`: forget it if it is done.
pub const RUN_CHECK_CLEAR: u32 = 1;
/// `run_check`: forget it.
pub const RUN_CHECK_CANCEL: u32 = 2;
/// Answer of `run_check`: answers are missing.
pub const RUN_WAITING: u32 = 1;
/// Answer of `run_check`: all have answered.
pub const RUN_DONE: u32 = 2;
/// Answer of `run_check`: it failed somewhere.
pub const RUN_FAILED: u32 = 4;

/// What a status record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusKind {
    /// The daemon.
    Daemon,
    /// A node of the daemon group.
    DaemonNode,
    /// A node that is still to be dealt with at start-up.
    StartupNode,
}

impl StatusKind {
    /// The number in the record.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Daemon => 1,
            Self::DaemonNode => 2,
            Self::StartupNode => 3,
        }
    }

    /// `None` for numbers without meaning.
    #[must_use]
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Daemon),
            2 => Some(Self::DaemonNode),
            3 => Some(Self::StartupNode),
            _ => None,
        }
    }
}

/// Head of a record of the status stream; `str_len` and then `bin_len` bytes follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct StatusHeader {
    /// Number of a [`StatusKind`].
    pub kind: u32,
    /// 0
    pub flags: u32,
    /// The node it is about; of the daemon: its own.
    pub nodeid: i32,
    /// 0
    pub data32: u32,
    /// 0; 32 bits wide in spite of its name.
    pub data64: u32,
    /// Bytes of text with its NUL, at most [`STATUS_PART_MAX`].
    pub str_len: u32,
    /// 0
    pub bin_len: u32,
}

const _: () = assert!(size_of::<StatusHeader>() == 28, "status record");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_numbered_without_a_gap_and_ours_far_from_them() {
        for (index, command) in Command::ALL.into_iter().enumerate() {
            let of_c = index <= 18;
            let number = if of_c { index + 1 } else { index + 1001 - 19 };
            assert_eq!(usize::try_from(command.number()).unwrap(), number);
            assert_eq!(Command::from_number(command.number()), Some(command));
        }
        assert_eq!(Command::from_number(0), None);
        assert_eq!(Command::from_number(20), None);
    }

    #[test]
    fn header_is_laid_out_as_the_c_library_sends_it() {
        let mut header = Header::new(Command::LockspaceNodes).named(b"fs").unwrap();
        header.option = NodeList::Members.number();
        header.data = 128;
        let bytes = header.as_bytes();
        assert_eq!(bytes[..8], [0x3c, 0xd1, 0x3c, 0xd1, 1, 0, 1, 0]);
        assert_eq!(bytes[8..24], [6, 0, 0, 0, 2, 0, 0, 0, 0x60, 0, 0, 0, 0x80, 0, 0, 0]);
        assert_eq!(bytes[24..36], [0, 0, 0, 0, 0, 0, 0, 0, b'f', b's', 0, 0]);
        assert_eq!(Header::read_from_bytes(bytes).unwrap(), header);
    }

    #[test]
    fn names_that_would_be_cut_are_refused() {
        let header = Header::new(Command::DumpPlocks);
        assert_eq!(header.named(&[b'x'; 64]).unwrap().name_bytes(), [b'x'; 64]);
        assert!(header.named(&[b'x'; 65]).is_none());
        assert!(header.named(b"a\0b").is_none());
    }

    #[test]
    fn only_the_upper_half_of_the_version_counts() {
        let mut header = Header::new(Command::DumpDebug);
        header.version = 0x0001_0007;
        assert_eq!(header.payload_len(), Ok(0));
        header.version = 0x0002_0001;
        assert_eq!(header.payload_len(), Err(HeaderError::Version(0x0002_0001)));
        header.magic = 7;
        assert_eq!(header.payload_len(), Err(HeaderError::Magic(7)));
        header = Header::new(Command::DumpDebug);
        header.len = 95;
        assert_eq!(header.payload_len(), Err(HeaderError::Length(95)));
    }
}
