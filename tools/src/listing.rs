//! The text of `dlm_tool ls` (spec/cli.md section 4): what pacemaker's controld agent greps for "wait fencing".

use dlmcontrol::proto::{self, Change, Lockspace, Node};
use std::fmt::Write as _;

/// First line, if there is any lockspace.
pub const HEADING: &str = "dlm lockspaces\n";

/// What a query for nodes came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// The nodes, in any order.
    Listed(Vec<Node>),
    /// It failed.
    Failed {
        /// What the C library's function returns: the daemon's negative errno, or -1.
        result: i32,
        /// `errno` behind a -1, else 0.
        errno: i32,
    },
}

/// A lockspace with the nodes that were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The lockspace.
    pub lockspace: Lockspace,
    /// Members of the last completed change.
    pub members: Nodes,
    /// Members of the change in progress; `None` while there is none.
    pub next: Option<Nodes>,
    /// All nodes ever seen, if asked for.
    pub all: Option<Nodes>,
}

/// Whether a change is in progress, so that its members are worth a question.
#[must_use]
pub const fn changing(lockspace: &Lockspace) -> bool {
    lockspace.cg_next.seq != 0
}

/// One lockspace, with the empty line behind it. The name is printed as it is, which need not be UTF-8.
#[must_use]
pub fn lockspace(listed: &Listed) -> Vec<u8> {
    let Listed { lockspace, members, next, all } = listed;
    let mut out = [b"name          ", lockspace.name_bytes(), b"\n"].concat();
    let mut text = String::new();
    let _ = writeln!(text, "id            {:#010x}", lockspace.global_id);
    let _ = writeln!(text, "flags         {:#010x} {}", lockspace.flags, flags(lockspace.flags));
    let _ = writeln!(text, "change        {}", change(&lockspace.cg_prev));
    let _ = writeln!(text, "members       {}", ids(members));
    if let Some(next) = next {
        let _ = writeln!(text, "new change    {}", change(&lockspace.cg_next));
        let _ = writeln!(text, "new status    wait {}", wait(&lockspace.cg_next));
        let _ = writeln!(text, "new members   {}", ids(next));
    }
    if let Some(all) = all {
        history(&mut text, all);
    }
    text.push('\n');
    out.extend_from_slice(text.as_bytes());
    out
}

fn flags(bits: u32) -> String {
    const NAMES: [(u32, &str); 6] = [
        (proto::LOCKSPACE_SAVE_PLOCKS, "save_plock"),
        (proto::LOCKSPACE_NEED_PLOCKS, "need_plock"),
        (proto::LOCKSPACE_FS_REGISTERED, "fs_reg"),
        (proto::LOCKSPACE_KERNEL_STOPPED, "kern_stop"),
        (proto::LOCKSPACE_LEAVING, "leave"),
        (proto::LOCKSPACE_JOINING, "join"),
    ];
    let set: Vec<&str> =
        NAMES.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect();
    set.join(",")
}

fn change(change: &Change) -> String {
    format!(
        "member {} joined {} remove {} failed {} seq {},{}",
        change.member_count,
        change.joined_count,
        change.remove_count,
        change.failed_count,
        signed(change.combined_seq),
        signed(change.seq)
    )
}

fn wait(change: &Change) -> String {
    if change.wait_messages != 0 {
        return format!("messages {}", change.wait_condition);
    }
    match change.wait_condition {
        proto::WAIT_RINGID => "ringid",
        proto::WAIT_QUORUM => "quorum",
        proto::WAIT_FENCING => "fencing",
        proto::WAIT_FSDONE => "fsdone",
        _ => "unknown",
    }
    .to_owned()
}

fn sorted(nodes: &[Node]) -> Vec<Node> {
    let mut nodes = nodes.to_vec();
    nodes.sort_by_key(|node| node.nodeid);
    nodes
}

/// Ids in their order, each with a blank behind it.
fn ids(nodes: &Nodes) -> String {
    match nodes {
        Nodes::Listed(nodes) => {
            sorted(nodes).iter().map(|node| format!("{} ", node.nodeid)).collect()
        }
        Nodes::Failed { .. } => "error".to_owned(),
    }
}

fn history(text: &mut String, nodes: &Nodes) {
    let nodes = match nodes {
        Nodes::Listed(nodes) => nodes,
        Nodes::Failed { result, errno } => {
            let _ = writeln!(text, "all nodes error {result} {errno}");
            return;
        }
    };
    text.push_str("all nodes\n");
    for node in sorted(nodes) {
        let _ = writeln!(
            text,
            "nodeid {} member {} failed {} start {} seq_add {} seq_rem {} check {}",
            node.nodeid,
            membership(node.flags),
            node.fail_reason,
            u8::from(node.flags & proto::NODE_START != 0),
            node.added_seq,
            node.removed_seq,
            check(&node)
        );
    }
}

fn membership(flags: u32) -> i32 {
    if flags & proto::NODE_DISALLOWED != 0 {
        -1
    } else {
        i32::from(flags & proto::NODE_MEMBER != 0)
    }
}

fn check(node: &Node) -> String {
    if node.flags & proto::NODE_NEED_FENCING != 0 {
        format!("fence {}", node.fail_monotime)
    } else if node.flags & proto::NODE_CHECK_FS != 0 {
        "fs".to_owned()
    } else {
        "none".to_owned()
    }
}

/// Numbers of changes are unsigned, and printed as if they were not.
fn signed(number: u32) -> i32 {
    i32::from_ne_bytes(number.to_ne_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(nodeid: i32, flags: u32) -> Node {
        Node { nodeid, flags, fail_monotime: 222, ..Node::default() }
    }

    fn named(name: &[u8]) -> Lockspace {
        let mut lockspace = Lockspace::default();
        lockspace.name[..name.len()].copy_from_slice(name);
        lockspace
    }

    #[test]
    fn every_condition_has_its_word() {
        let words = ["unknown", "ringid", "quorum", "fencing", "fsdone", "unknown"];
        for (condition, word) in (0..).zip(words) {
            assert_eq!(wait(&Change { wait_condition: condition, ..Change::default() }), word);
        }
        let messages = Change { wait_messages: 1, wait_condition: 2, ..Change::default() };
        assert_eq!(wait(&messages), "messages 2");
    }

    #[test]
    fn fencing_comes_before_the_file_system() {
        let both = proto::NODE_NEED_FENCING | proto::NODE_CHECK_FS;
        assert_eq!(check(&node(1, both)), "fence 222");
        assert_eq!(check(&node(1, proto::NODE_CHECK_FS)), "fs");
        assert_eq!(check(&node(1, 0)), "none");
        assert_eq!(membership(proto::NODE_DISALLOWED | proto::NODE_MEMBER), -1);
    }

    #[test]
    fn failed_queries_show_in_their_line() {
        let failed = Nodes::Failed { result: -2, errno: 0 };
        let listed = Listed {
            lockspace: named(b"f\xffo"),
            members: failed.clone(),
            next: Some(failed.clone()),
            all: Some(failed),
        };
        let text = lockspace(&listed);
        assert!(text.starts_with(b"name          f\xffo\nid            0x00000000\n"));
        let text = String::from_utf8_lossy(&text);
        for line in ["members       error\n", "new members   error\n", "all nodes error -2 0\n\n"] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn nodes_are_sorted_by_id() {
        let nodes = Nodes::Listed(vec![node(3, 0), node(-9, 0), node(1, 0)]);
        assert_eq!(ids(&nodes), "-9 1 3 ");
        assert_eq!(ids(&Nodes::Listed(vec![])), "");
    }
}
