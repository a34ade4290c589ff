//! A file system's connection.

use super::connection::Connection;
use super::{Client, Result, Socket, named};
use crate::proto::Command;
use std::os::fd::OwnedFd;

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

impl Client {
    /// A connection on which a file system acknowledges failures.
    ///
    /// # Errors
    /// Connection.
    pub fn fs_connect(&self) -> Result<FsConnection> {
        let operation = Command::FsRegister;
        self.connect(operation, Socket::Command).map(|connection| FsConnection { connection })
    }
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
