//! Corosync itself: who we are, where nodes are, removal of nodes, questions before a shutdown (corosync/cfg.h).

use crate::error::{Error, Result};
use crate::ffi::{ADDRESS_LENGTH, CfgConnection};
use crate::types::Dispatch;
use std::ffi::CString;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, BorrowedFd};

/// How corosync was asked to shut down (`corosync_cfg_shutdown_flags_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownKind {
    /// It waits for answers, and a no keeps it running.
    Request,
    /// It waits for answers, and goes whatever they are.
    Regardless,
    /// It goes at once.
    Immediate,
}

impl ShutdownKind {
    pub(crate) const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Request,
            1 => Self::Regardless,
            _ => Self::Immediate,
        }
    }
}

/// The answer to a shutdown question (`corosync_cfg_shutdown_reply_flags_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownAnswer {
    /// Corosync is needed.
    No,
    /// Corosync may go.
    Yes,
}

/// A connection to the configuration service.
pub struct Cfg(CfgConnection);

impl Cfg {
    /// Connect.
    ///
    /// # Errors
    /// Corosync's: `CS_ERR_LIBRARY` where it does not run, `CS_ERR_TRY_AGAIN` while it starts.
    pub fn connect() -> Result<Self> {
        CfgConnection::open().map(Self)
    }

    /// The own node.
    ///
    /// # Errors
    /// Corosync's.
    pub fn local_node(&self) -> Result<u32> {
        self.0.local_node()
    }

    /// Ask to be asked before corosync shuts down. Corosync then waits for an answer to each question.
    ///
    /// # Errors
    /// Corosync's.
    pub fn track(&self) -> Result<()> {
        self.0.track()
    }

    /// Read one note of corosync's, without waiting.
    ///
    /// # Errors
    /// Corosync's; the connection is of no more use.
    pub fn dispatch_one(&self) -> Result<Dispatch<ShutdownKind>> {
        self.0.dispatch_one().map(Into::into)
    }

    /// Answer a shutdown question.
    ///
    /// # Errors
    /// Corosync's, also where no question is open.
    pub fn answer_shutdown(&self, answer: ShutdownAnswer) -> Result<()> {
        self.0.answer_shutdown(match answer {
            ShutdownAnswer::No => 0,
            ShutdownAnswer::Yes => 1,
        })
    }

    /// Have corosync on a node end itself, possibly our own.
    ///
    /// # Errors
    /// [`Error::Nul`], or corosync's; `CS_ERR_TRY_AGAIN` during changes of the ring.
    pub fn kill_node(&self, node: u32, reason: &str) -> Result<()> {
        let text = CString::new(reason)
            .map_err(|_| Error::Nul { what: "reason", text: reason.to_owned() })?;
        self.0.kill_node(node, &text)
    }

    /// A node's addresses, one a link, without a port.
    ///
    /// # Errors
    /// Corosync's, also for a node that it does not know.
    pub fn node_addresses(&self, node: u32) -> Result<Vec<SocketAddr>> {
        Ok(self.0.node_addresses(node)?.iter().filter_map(socket_address).collect())
    }
}

impl AsFd for Cfg {
    /// Readable when [`Cfg::dispatch_one`] would find something, closed on exec.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl fmt::Debug for Cfg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cfg").field(&self.as_fd()).finish()
    }
}

/// `AF_INET` of linux/socket.h.
const AF_INET: u16 = 2;
/// `AF_INET6` of linux/socket.h.
const AF_INET6: u16 = 10;

/// From a `sockaddr_in` or `sockaddr_in6`; nothing from a family that is neither.
fn socket_address(bytes: &[u8; ADDRESS_LENGTH]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(field(bytes, 0)?);
    let port = u16::from_be_bytes(field(bytes, 2)?);
    match family {
        AF_INET => Some((Ipv4Addr::from(field::<4>(bytes, 4)?), port).into()),
        AF_INET6 => {
            let flow = u32::from_be_bytes(field(bytes, 4)?);
            let address = Ipv6Addr::from(field::<16>(bytes, 8)?);
            let scope = u32::from_ne_bytes(field(bytes, 24)?);
            Some(SocketAddrV6::new(address, port, flow, scope).into())
        }
        _ => None,
    }
}

/// `N` bytes from an offset.
fn field<const N: usize>(bytes: &[u8; ADDRESS_LENGTH], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sockaddr(parts: &[(usize, &[u8])]) -> [u8; ADDRESS_LENGTH] {
        let mut bytes = [0; ADDRESS_LENGTH];
        for (at, part) in parts {
            bytes[*at..at + part.len()].copy_from_slice(part);
        }
        bytes
    }

    #[test]
    fn both_address_families_are_read() {
        let four = sockaddr(&[(0, &AF_INET.to_ne_bytes()), (4, &[10, 1, 0, 2])]);
        assert_eq!(socket_address(&four), "10.1.0.2:0".parse().ok());
        let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];
        let scope = 3_u32.to_ne_bytes();
        let six = sockaddr(&[(0, &AF_INET6.to_ne_bytes()), (8, &local), (24, &scope)]);
        assert_eq!(socket_address(&six), "[fe80::9%3]:0".parse().ok());
    }

    #[test]
    fn an_unset_address_is_none() {
        assert_eq!(socket_address(&[0; ADDRESS_LENGTH]), None);
    }
}
