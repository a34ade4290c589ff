//! The text of `dlm_tool status` (spec/cli.md section 4), short and as `status -v`, from the status stream.

use crate::proto::StatusKind;
use crate::status::{DaemonStatus, NodeStatus, StatusRecord};
use std::fmt::Write as _;

/// What stands for a start-up node that has not been seen: the C tool never fills in its id, and support tools compare
/// the line.
const UNKNOWN_STARTUP: &str = "startup node 0\n";

/// The verbose form: every record in the order of the stream, one pair a line, then the start-up nodes.
#[must_use]
pub fn verbose(records: &[StatusRecord]) -> String {
    let mut out = String::new();
    for record in records {
        let heading = match record.kind() {
            StatusKind::Daemon => "our_nodeid",
            StatusKind::DaemonNode => "nodeid",
            StatusKind::StartupNode => continue,
        };
        let _ = writeln!(out, "{heading} {}", record.node());
        // Each pair has a blank behind it, the last one too: hence the last line of four blanks.
        for pair in record.text().split(' ') {
            let _ = writeln!(out, "    {pair}");
        }
    }
    let startup = records.iter().filter(|record| record.kind() == StatusKind::StartupNode);
    out.extend(startup.map(|_| UNKNOWN_STARTUP));
    out
}

/// The short form; `now`: wall clock, seconds since 1970, shown beside fail times.
#[must_use]
pub fn brief(records: &[StatusRecord], now: u64) -> String {
    let mut out = String::new();
    for daemon in records.iter().filter_map(StatusRecord::daemon) {
        daemon_lines(&mut out, &daemon);
    }
    let mut nodes: Vec<NodeStatus> = records
        .iter()
        .filter(|record| record.kind() == StatusKind::DaemonNode)
        .filter_map(StatusRecord::node_status)
        .collect();
    nodes.sort_by_key(|node| node.node);
    for record in records.iter().filter(|record| record.kind() == StatusKind::StartupNode) {
        match nodes.iter().find(|node| node.node == record.node()) {
            Some(node) => {
                out.push_str("startup ");
                node_line(&mut out, node);
            }
            None => out.push_str(UNKNOWN_STARTUP),
        }
    }
    for node in nodes.iter().filter(|node| node.need_fencing) {
        fence_line(&mut out, node, now);
    }
    for node in &nodes {
        node_line(&mut out, node);
    }
    out
}

fn daemon_lines(out: &mut String, daemon: &DaemonStatus) {
    let _ = writeln!(
        out,
        "cluster nodeid {} quorate {} ring seq {} {}",
        daemon.our_node,
        u8::from(daemon.quorate),
        low(daemon.cluster_ringid),
        low(daemon.daemon_ringid)
    );
    let init = if daemon.fence_in_progress_unknown { "fence_init" } else { "" };
    let (now, pid) = (low(daemon.monotime), low(daemon.fence_pid));
    let _ = writeln!(out, "daemon now {now} fence_pid {pid} {init}");
}

fn fence_line(out: &mut String, node: &NodeStatus, now: u64) {
    let how = if node.delay_fencing {
        "delay".to_owned()
    } else {
        format!("pid {}", low(node.fence_pid))
    };
    let _ = writeln!(
        out,
        "fence {} {} {how} actor {} fail {} fence {} now {}{}{}",
        node.node,
        node.left_reason,
        low(node.fence_actor_last),
        low(node.fail_walltime),
        low(node.fence_walltime),
        low(now),
        if node.fence_result_wait { " result_wait" } else { "" },
        if node.killed { " killed" } else { "" }
    );
}

fn node_line(out: &mut String, node: &NodeStatus) {
    let _ = writeln!(
        out,
        "node {} {} add {} rem {} fail {} fence {} at {} {}",
        node.node,
        if node.member { 'M' } else { 'X' },
        low(node.add_time),
        low(node.rem_time),
        low(node.fail_monotime),
        low(node.fence_monotime),
        low(node.fence_actor_done),
        low(node.fence_walltime)
    );
}

/// The C tool prints 32 bits of each number, ring ids included.
fn low(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: StatusKind, node: i32, text: &str) -> StatusRecord {
        StatusRecord::new(kind, node, text.to_owned())
    }

    const FAILED: &str = "member=0 killed=1 left_reason=nodedown need_fencing=1 delay_fencing=1 fence_pid=7 \
         fence_result_wait=1 fence_actor_last=1 fail_walltime=30 fence_walltime=50 ";

    #[test]
    fn startup_nodes_come_first_even_if_they_are_sent_first() {
        let records = [
            record(StatusKind::StartupNode, 3, ""),
            record(StatusKind::StartupNode, 7, ""),
            record(StatusKind::DaemonNode, 3, "member=1 add_time=10 "),
            record(StatusKind::DaemonNode, 2, ""),
        ];
        let member = "node 3 M add 10 rem 0 fail 0 fence 0 at 0 0\n";
        let other = "node 2 X add 0 rem 0 fail 0 fence 0 at 0 0\n";
        assert_eq!(brief(&records, 0), format!("startup {member}startup node 0\n{other}{member}"));
    }

    #[test]
    fn fencing_shows_what_it_waits_for() {
        let waiting = [record(StatusKind::DaemonNode, 2, FAILED)];
        let text = brief(&waiting, 99);
        let line = "fence 2 nodedown delay actor 1 fail 30 fence 50 now 99 result_wait killed\n";
        assert!(text.starts_with(line), "{text}");
        let running = FAILED.replace("delay_fencing=1", "delay_fencing=0").replace("killed=1", "");
        let text = brief(&[record(StatusKind::DaemonNode, 2, &running)], 99);
        let line = "fence 2 nodedown pid 7 actor 1 fail 30 fence 50 now 99 result_wait\n";
        assert!(text.starts_with(line), "{text}");
    }

    #[test]
    fn ring_numbers_are_cut_to_32_bits() {
        let text = "daemon_ringid=99999999999 cluster_ringid=48 quorate=1 monotime=1234 ";
        assert_eq!(
            brief(&[record(StatusKind::Daemon, 5, text)], 0),
            "cluster nodeid 5 quorate 1 ring seq 48 1215752191\ndaemon now 1234 fence_pid 0 \n"
        );
    }

    #[test]
    fn verbose_keeps_the_blank_line_that_agents_skip() {
        let records = [
            record(StatusKind::StartupNode, 7, "member=0 "),
            record(StatusKind::Daemon, 1, "quorate=1 stateful_merge_wait=0 "),
        ];
        assert_eq!(
            verbose(&records),
            "our_nodeid 1\n    quorate=1\n    stateful_merge_wait=0\n    \nstartup node 0\n"
        );
        assert_eq!(verbose(&[]), "");
    }
}
