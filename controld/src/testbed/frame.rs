//! Frames: what the two ends say, as JSON behind a length.

use super::FRAME_MAX;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, Read, Write};
use std::net::SocketAddr;

/// What a daemon says. Lockspaces, and messages, are hex strings; no lockspace is the daemon group, or the cluster's lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// First.
    Hello {
        /// [`super::VERSION`].
        version: u32,
        /// Which node.
        node: u32,
        /// Its cluster is a real corosync.
        corosync: bool,
    },
    /// Join a group.
    Join {
        /// Which.
        lockspace: Option<String>,
    },
    /// Leave it in order.
    Leave {
        /// Which.
        lockspace: Option<String>,
    },
    /// Multicast.
    Send {
        /// Where.
        lockspace: Option<String>,
        /// The message.
        bytes: String,
    },
    /// Remove a node.
    Kick {
        /// Which.
        node: u32,
    },
    /// Answer to the shutdown question.
    AnswerShutdown {
        /// May go.
        allow: bool,
    },
    /// A kernel write.
    Write {
        /// For the answer.
        token: u64,
        /// Its lane.
        lockspace: Option<String>,
        /// What.
        write: WriteFrame,
    },
    /// The result of a request for a POSIX lock: the record for the device, in hex.
    PlockResult {
        /// 64 bytes.
        record: String,
    },
    /// No more writes for this lockspace's lane.
    Retire {
        /// Which.
        lockspace: String,
    },
    /// The process ends, the node does not.
    Bye,
}

/// A kernel write, as `dlm_core::effect::KernelWrite` has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "field by field what the core's type documents")]
pub enum WriteFrame {
    AddComm {
        node: u32,
        addresses: Vec<SocketAddr>,
        local: bool,
    },
    RemoveComm {
        node: u32,
    },
    Stop,
    Start {
        first: Option<u32>,
        nodir: bool,
        members: Vec<(u32, u32)>,
        renew: Vec<u32>,
        release_recover: Vec<u32>,
    },
    EventDone {
        result: i32,
    },
    Release {
        stop: bool,
    },
    AckWithdraw {
        table: String,
    },
}

/// Why a member came or went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the core's words")]
pub enum ReasonFrame {
    Join,
    NodeUp,
    Leave,
    NodeDown,
    ProcDown,
}

/// A configuration change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfchgFrame {
    /// Members now.
    pub members: Vec<u32>,
    /// Who came.
    pub joined: Vec<(u32, ReasonFrame)>,
    /// Who went.
    pub left: Vec<(u32, ReasonFrame)>,
}

/// What the testbed says: the events of both seams, as `dlm_core::event::Event` has them, and three words of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "field by field what the core's type documents")]
pub enum Notice {
    /// The answer to `Hello`: what corosync's configuration would say.
    Welcome {
        nodes: Vec<u32>,
        two_node: bool,
        cluster_name: String,
    },
    /// The other answer.
    Refused {
        why: String,
    },
    /// The node has lost power.
    PowerOff,
    Nodelist {
        joined: Vec<u32>,
        left: Vec<u32>,
    },
    Quorum {
        quorate: bool,
        ring: (u32, u64),
        members: Vec<u32>,
        addresses: Vec<(u32, Vec<SocketAddr>)>,
    },
    Confchg {
        lockspace: Option<String>,
        change: ConfchgFrame,
    },
    Ring {
        lockspace: Option<String>,
        ring: (u32, u64),
    },
    Message {
        lockspace: Option<String>,
        from: u32,
        bytes: String,
    },
    ClusterLost {
        why: String,
    },
    Online {
        lockspace: String,
    },
    Offline {
        lockspace: String,
        release_recover: u32,
    },
    KernelDone {
        token: u64,
        error: Option<String>,
    },
    Slots {
        lockspace: String,
        generation: u32,
        slots: Vec<(u32, u32)>,
    },
    Withdraw {
        table: String,
        lockspace: String,
    },
    /// A record of the plock device, in hex.
    PlockRequest {
        record: String,
    },
}

/// Why a frame cannot be taken or given.
#[derive(Debug, thiserror::Error)]
pub enum BadFrame {
    /// The connection.
    #[error("the connection is broken: {0}")]
    Io(#[from] io::Error),
    /// An impossible length.
    #[error("frame of {0} bytes; there are those of 1 to {FRAME_MAX}")]
    Length(u64),
    /// No JSON, or no frame of this protocol.
    #[error("frame that is none: {0}")]
    Parse(#[from] serde_json::Error),
    /// A frame whose content cannot be.
    #[error("{field} cannot be {value}")]
    Content {
        /// What.
        field: &'static str,
        /// As it came.
        value: String,
    },
}

/// Write one frame.
///
/// # Errors
/// The connection is broken, or the frame too long.
pub fn write_frame(to: &mut impl Write, frame: &impl Serialize) -> Result<(), BadFrame> {
    let body = serde_json::to_vec(frame)?;
    let length = u32::try_from(body.len()).ok().filter(|length| *length <= FRAME_MAX);
    let Some(length) = length else {
        return Err(BadFrame::Length(u64::try_from(body.len()).unwrap_or(u64::MAX)));
    };
    let bytes = [&length.to_le_bytes()[..], &body].concat();
    Ok(to.write_all(&bytes)?)
}

/// Read one frame; blocks. The length is checked before there is room for the body.
///
/// # Errors
/// The connection is broken or at its end, or the frame is none.
pub fn read_frame<T: DeserializeOwned>(from: &mut impl Read) -> Result<T, BadFrame> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_le_bytes(head);
    if !(1..=FRAME_MAX).contains(&length) {
        return Err(BadFrame::Length(length.into()));
    }
    let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
    from.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// Bytes as hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Hex as bytes; `field` is for the error.
///
/// # Errors
/// Something else than pairs of hex digits.
pub fn unhex(field: &'static str, text: &str) -> Result<Vec<u8>, BadFrame> {
    let bad = || BadFrame::Content { field, value: text.to_owned() };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(|chars| pair(chars).ok_or_else(bad)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut bytes = Vec::new();
        write_frame(&mut bytes, &Request::Bye).unwrap();
        write_frame(&mut bytes, &Request::Kick { node: 3 }).unwrap();
        let mut from = bytes.as_slice();
        assert_eq!(read_frame::<Request>(&mut from).unwrap(), Request::Bye);
        assert_eq!(read_frame::<Request>(&mut from).unwrap(), Request::Kick { node: 3 });
        for cut in 0..9 {
            assert!(read_frame::<Request>(&mut &bytes[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn lengths_are_checked_before_the_body() {
        let long = read_frame::<Request>(&mut &[0xff; 4][..]);
        assert!(matches!(long, Err(BadFrame::Length(0xffff_ffff))));
        assert!(matches!(read_frame::<Request>(&mut &[0; 4][..]), Err(BadFrame::Length(0))));
    }

    #[test]
    fn hex_of_all_bytes_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unhex("bytes", &hex(&all)).unwrap(), all);
        for bad in ["0", "0x", "é", "000"] {
            assert!(unhex("bytes", bad).is_err(), "{bad}");
        }
    }
}
