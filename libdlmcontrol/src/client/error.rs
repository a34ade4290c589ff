//! Why a call failed.

use crate::proto::{self, Command, HeaderError};
use std::fmt;
use std::io;

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

    /// The daemon took longer than [`Client::with_timeout`](crate::Client::with_timeout) lets it.
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
