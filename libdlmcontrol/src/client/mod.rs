//! A client of `dlm_controld`: one method for each command, each over a connection of its own, as the daemon's
//! protocol wants it (spec/control-socket.md section 3). Works with this daemon and with the C one, 4.1 to 4.3.
//!
//! Calls block. Without [`Client::with_timeout`] they wait as long as the daemon takes.

mod commands;
mod connection;
mod error;
mod filesystem;
mod queries;
#[cfg(test)]
mod served;

pub use commands::RunStatus;
pub use error::{Error, Result, Socket};
pub use filesystem::{FsConnection, FsResult};
pub use queries::{Listing, Plocks};

use crate::proto::{self, Command, Header};
use connection::Connection;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::time::Duration;

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

/// A header with a name in it.
fn named(operation: Command, name: &[u8]) -> Result<Header> {
    Header::new(operation).named(name).ok_or(Error::Name { operation, length: name.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_daemon_is_told_apart() {
        let client = Client::with_sockets(b"dlmcontrol-test-nobody", b"dlmcontrol-test-nobody");
        let error = client.dump_debug().unwrap_err();
        assert!(error.is_not_running());
        assert_eq!(error.errno(), 111);
        assert!(error.to_string().starts_with("dump_debug: cannot connect to the query socket"));
    }
}
