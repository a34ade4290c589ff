//! What the harness on the host and the agent in a guest say to each other over the management network.
//!
//! One TCP connection carries one request and its reply. A request is one frame, a reply one or more
//! frames, the last of kind [`EXIT`]. The host closing the connection early means: stop that command.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;

/// Where the agent listens in each guest.
pub const AGENT_PORT: u16 = 7000;
/// Where the host's power switch listens: the guests' fence agent asks it to switch a node off.
pub const POWER_PORT: u16 = 7001;
/// Where the host collects acknowledgements of the workload generators.
pub const LEDGER_PORT: u16 = 7002;
/// Where the actors of a scenario report for work, see [`crate::Actor`].
pub const STAGE_PORT: u16 = 7003;
/// The host's address in the management network.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 254);
/// A frame longer than this is refused: more than any daemon binary, less than a guest's memory.
pub const FRAME_LIMIT: u32 = 128 << 20;

/// Request: the body is a shell command.
pub const RUN: u8 = b'r';
/// Request: the body is `MODE PATH\n` (mode in octal) and the file's bytes.
pub const PUT: u8 = b'p';
/// Request: report the guest's clocks; the reply's [`OUT`] is three numbers in nanoseconds,
/// `MONOTONIC REALTIME PRINTK`, all of one moment.
pub const CLOCKS: u8 = b'c';
/// Request: the body is nanoseconds since 1970 in decimal; set the guest's clock to it.
pub const SET_CLOCK: u8 = b's';
/// Reply: standard output.
pub const OUT: u8 = b'o';
/// Reply: standard error.
pub const ERR: u8 = b'e';
/// Reply, always the last: exit status in decimal, 128 + signal if one ended the command.
pub const EXIT: u8 = b'x';

/// One frame: a kind and a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What the body is, one of the constants above.
    pub kind: u8,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Writes one frame. Fails as the stream does, or if the body is over [`FRAME_LIMIT`].
pub fn write_frame(stream: &mut impl Write, kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= FRAME_LIMIT);
    let Some(length) = length else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "frame too long"));
    };
    stream.write_all(&[kind])?;
    stream.write_all(&length.to_le_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

/// Reads one frame. Fails as the stream does, or if the length is over [`FRAME_LIMIT`].
pub fn read_frame(stream: &mut impl Read) -> io::Result<Frame> {
    let mut kind = [0; 1];
    let mut length = [0; 4];
    stream.read_exact(&mut kind)?;
    stream.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_LIMIT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = Vec::new();
    let read = stream.take(u64::from(length)).read_to_end(&mut body)?;
    if u32::try_from(read) != Ok(length) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame { kind: kind[0], body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_comes_back_as_sent() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, RUN, b"true").expect("written to memory");
        let frame = read_frame(&mut bytes.as_slice()).expect("a whole frame");
        assert_eq!(frame, Frame { kind: RUN, body: b"true".to_vec() });
    }

    #[test]
    fn frame_cut_anywhere_is_an_error() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, RUN, b"true").expect("written to memory");
        for length in 0..bytes.len() {
            assert!(read_frame(&mut &bytes[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn frame_over_the_limit_is_refused() {
        assert!(read_frame(&mut [RUN, 255, 255, 255, 255].as_slice()).is_err());
    }
}
