//! Uevents of the machine's own kernel that nothing has happened for.

use std::os::fd::AsRawFd as _;

use anyhow::{Context, Result};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, sendto, socket,
};

/// `NLMSG_MIN_TYPE` of linux/netlink.h: what is no message of netlink's own.
const TYPE: u16 = 0x10;
/// `NLM_F_REQUEST` of linux/netlink.h.
const REQUEST: u16 = 1;
/// Size of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Has the kernel send these strings to everybody who listens for its uevents, as it does for root of a network namespace
/// (`uevent_net_rcv_skb` of lib/kobject_uevent.c). It puts a SEQNUM behind them.
pub(crate) fn uevent(strings: &[&str]) -> Result<()> {
    let length: usize = strings.iter().map(|string| string.len() + 1).sum();
    let length = u32::try_from(HEADER + length).context("a datagram of that length")?;
    let mut datagram = length.to_ne_bytes().to_vec();
    datagram.extend([TYPE, REQUEST].map(u16::to_ne_bytes).as_flattened());
    // Sequence number and sender: nobody's.
    datagram.resize(HEADER, 0);
    for string in strings {
        datagram.extend_from_slice(string.as_bytes());
        datagram.push(0);
    }
    let protocol = SockProtocol::NetlinkKObjectUEvent;
    let socket =
        socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)
            .context("open a netlink socket")?;
    sendto(socket.as_raw_fd(), &datagram, &NetlinkAddr::new(0, 0), MsgFlags::empty())
        .context("send to the kernel")?;
    Ok(())
}
