//! The testbed as a process of its own: the protocol between it and real daemons, for `make demo`.
//!
//! A daemon built with the cargo feature `testbed` opens **one** unix stream socket to the testbed instead of corosync
//! and the kernel. The connection is the node's life: when it breaks, the node has died (power off); `procdown N` on the
//! testbed's console is the other kind of death and leaves the node's kernel stopped. Fence agents and tools do not use
//! it: the agent of the demo is a program that asks the console socket to switch a node off.
//!
//! ```text
//! daemon                                             testbed
//!   Hello { node, version } ───────────────────────▶  node is known and not connected, or Refused { why }
//!                           ◀───────────────────────  Welcome { nodes, two_node, cluster_name }
//!   Join, Leave, Send, Kick, AnswerShutdown ───────▶  bus   (group messages are the wire room's bytes, not looked into)
//!   Write { token, lane, write }, Retire ──────────▶  model kernel of that node, each lane in order
//!                           ◀───────────────────────  Event: Nodelist, Quorum, Confchg, Ring, Message, ClusterLost,
//!                                                     Online, Offline, Slots, Withdraw, KernelDone
//! ```
//!
//! **Frames.** Both directions: u32 little endian length of what follows, then one JSON object with one field, the name
//! of the variant. A frame longer than [`FRAME_MAX`] or one that does not parse ends the connection with a reason in the
//! log: the reader never allocates by an unchecked length. Bytes (group messages, names) are hex strings, so that logs of
//! a demo can be read.
//!
//! **Order.** The testbed keeps one queue for each of: quorum service, each group, uevents, kernel log, each lane; frames
//! of different queues may overtake each other in the socket as the seed draws it, as they do between corosync's
//! connections. A daemon hands frames on in the order of arrival.
//!
//! **Backpressure.** The testbed stops reading from a daemon whose unread frames exceed [`QUEUE_MAX`] bytes; a daemon
//! reads always. Frames for a daemon that does not read count as a hung node: its ring breaks after the token timeout.
//!
//! **Time** is real: the delays that a simulated world draws become timers of one thread with `poll(2)`; bus, kernels and
//! power switch are the same models. The console is a second socket with one command a line: `join N LS`, `leave N LS`,
//! `crash N`, `boot N`, `procdown N`, `cut 1,2 3`, `heal`, `stops N MILLIS`, `fence N works|fails|hangs|lies`, `story`.

/// Version of this protocol; both ends are built together, so another number is refused.
pub const VERSION: u32 = 1;

/// Longest frame in bytes: a corosync message of 1 MiB in hex, and room around it.
pub const FRAME_MAX: u32 = 4 * 1024 * 1024;

/// Bytes that may wait for one daemon before the testbed stops listening to it.
pub const QUEUE_MAX: usize = 16 * 1024 * 1024;

/// Why a frame cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFrame {
    /// Longer than [`FRAME_MAX`]: this many bytes.
    TooLong(u32),
    /// Empty frames mean nothing.
    Empty,
}

impl std::fmt::Display for BadFrame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLong(length) => write!(f, "frame of {length} bytes, at most {FRAME_MAX}"),
            Self::Empty => f.write_str("empty frame"),
        }
    }
}

impl std::error::Error for BadFrame {}

/// Put one frame behind what is in `out`.
///
/// # Errors
/// The body is empty or too long.
pub fn put_frame(body: &[u8], out: &mut Vec<u8>) -> Result<(), BadFrame> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    check(length)?;
    out.extend(length.to_le_bytes());
    out.extend(body);
    Ok(())
}

/// Take the first frame out of `bytes`; `None` while it is not complete.
///
/// # Errors
/// The length is refused as soon as its four bytes are there.
pub fn take_frame(bytes: &mut Vec<u8>) -> Result<Option<Vec<u8>>, BadFrame> {
    let Some(head) = bytes.first_chunk::<4>() else { return Ok(None) };
    let length = u32::from_le_bytes(*head);
    check(length)?;
    let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(head.len());
    if bytes.len() < end {
        return Ok(None);
    }
    let rest = bytes.split_off(end);
    let mut frame = std::mem::replace(bytes, rest);
    Ok(Some(frame.split_off(4)))
}

const fn check(length: u32) -> Result<(), BadFrame> {
    match length {
        0 => Err(BadFrame::Empty),
        1..=FRAME_MAX => Ok(()),
        _ => Err(BadFrame::TooLong(length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in_at_every_cut() {
        let mut all = Vec::new();
        put_frame(b"one", &mut all).unwrap();
        put_frame(b"three", &mut all).unwrap();
        for cut in 0..all.len() {
            let (mut bytes, mut frames) = (all[..cut].to_vec(), Vec::new());
            while let Some(frame) = take_frame(&mut bytes).unwrap() {
                frames.push(frame);
            }
            bytes.extend(&all[cut..]);
            while let Some(frame) = take_frame(&mut bytes).unwrap() {
                frames.push(frame);
            }
            assert_eq!(frames, [b"one".to_vec(), b"three".to_vec()], "cut at {cut}");
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn lengths_are_checked_before_the_body() {
        assert_eq!(take_frame(&mut vec![0xff; 4]), Err(BadFrame::TooLong(u32::MAX)));
        assert_eq!(take_frame(&mut vec![0; 4]), Err(BadFrame::Empty));
        assert_eq!(put_frame(b"", &mut Vec::new()), Err(BadFrame::Empty));
    }
}
