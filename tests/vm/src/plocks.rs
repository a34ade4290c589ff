//! What a daemon says of POSIX locks (`dlm_tool plocks`).

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};

use crate::actor::Mode;
use crate::node::Node;

/// A lock, or a wish for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Plock {
    pub(crate) inode: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// As the daemon counts nodes.
    pub(crate) node: u8,
    pub(crate) process: u32,
    pub(crate) mode: Mode,
    pub(crate) waits: bool,
}

impl Node<'_> {
    /// The POSIX locks of a lockspace, as the daemon there sees them.
    pub(crate) fn plocks(&self, lockspace: &str) -> Result<BTreeSet<Plock>> {
        let text = self.ok(&format!("dlm_tool plocks {lockspace}"))?;
        let mut found = BTreeSet::new();
        // A resource without locks has a line of its own in ownership mode.
        for line in text.lines().filter(|line| line.contains(" pid ")) {
            let plock = parse(line).with_context(|| format!("dlm_tool plocks: {line:?}"))?;
            ensure!(found.insert(plock), "node {} lists twice: {line}", self.id());
        }
        Ok(found)
    }
}

/// `INODE WR|RD START-END nodeid N pid P owner HEX rown N [WAITING]`.
fn parse(line: &str) -> Option<Plock> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [inode, mode, range, "nodeid", node, "pid", process, "owner", _, "rown", _, rest @ ..] =
        words.as_slice()
    else {
        return None;
    };
    let (start, end) = range.split_once('-')?;
    Some(Plock {
        inode: inode.parse().ok()?,
        start: start.parse().ok()?,
        end: end.parse().ok()?,
        node: node.parse().ok()?,
        process: process.parse().ok()?,
        mode: match *mode {
            "WR" => Mode::Write,
            "RD" => Mode::Read,
            _ => return None,
        },
        waits: match rest {
            [] => false,
            ["WAITING" | "PENDING"] => true,
            _ => return None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_locks_and_waiters_are_read() {
        let line = "33129 WR 4-9223372036854775807 nodeid 2 pid 411 owner ffff8880 rown 0";
        let plock = parse(line).expect("a lock's line");
        assert_eq!((plock.start, plock.node, plock.process, plock.waits), (4, 2, 411, false));
        assert!(parse(&format!("{line} WAITING")).is_some_and(|plock| plock.waits));
        assert_eq!(parse("33129 rown 0 unused_ms 20"), None);
        assert_eq!(parse(&line.replace("WR", "XX")), None);
    }
}
