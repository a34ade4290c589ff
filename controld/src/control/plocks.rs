//! The text of `dlm_tool plocks` (spec/plocks.md section 8).

use dlm_core::plock::{Mode, PlockResource, TransferEntry};
use dlmcontrol::proto::DUMP_MAX;
use std::fmt::Write as _;

/// A line for each lock, and for each resource without any. Ends behind [`DUMP_MAX`] bytes, which tells the reply that it
/// is cut: old libraries have no room for more.
#[must_use]
pub fn plocks_text(resources: impl IntoIterator<Item = PlockResource>) -> String {
    let mut text = String::new();
    for resource in resources {
        append(&resource, &mut text);
        if text.len() > DUMP_MAX {
            break;
        }
    }
    text
}

fn append(resource: &PlockResource, text: &mut String) {
    let PlockResource { number, owner, unused_millis, entries, pending } = resource;
    if entries.is_empty() && pending.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number} rown {owner} unused_ms {unused_millis}");
    }
    let granted_and_waiting =
        entries.iter().map(|entry| (entry, if entry.waiter { " WAITING" } else { "" }));
    let pending = pending.iter().map(|entry| (entry, " PENDING"));
    for (entry, state) in granted_and_waiting.chain(pending) {
        let TransferEntry { start, end, holder, pid, mode, .. } = entry;
        let mode = match mode {
            Mode::Read => "RD",
            Mode::Write => "WR",
        };
        let (node, lock_owner) = (holder.node, holder.owner);
        let _ = writeln!(
            text,
            "{number} {mode} {start}-{end} nodeid {node} pid {pid} owner {lock_owner:x} rown {owner}{state}"
        );
        // One resource may have more locks than there is room for.
        if text.len() > DUMP_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dlm_core::plock::Holder;
    use dlm_core::types::NodeId;

    fn entry(start: u64, mode: Mode, waiter: bool) -> TransferEntry {
        let holder = Holder { node: NodeId::new(2).unwrap(), owner: 0xff11_0000_049c_0580 };
        TransferEntry { start, end: start + 9, holder, pid: 315, mode, waiter }
    }

    fn resource(number: u64, entries: Vec<TransferEntry>) -> PlockResource {
        PlockResource { number, owner: -1, unused_millis: 1234, entries, pending: Vec::new() }
    }

    #[test]
    fn locks_waiters_and_pending_requests_are_told_apart() {
        let entries = vec![entry(20, Mode::Write, false), entry(0, Mode::Read, true)];
        let first = PlockResource {
            pending: vec![entry(5, Mode::Write, true)],
            ..resource(79937, entries)
        };
        let nobody = PlockResource { owner: 0, ..resource(u64::MAX, Vec::new()) };
        assert_eq!(
            plocks_text([first, nobody]),
            "79937 WR 20-29 nodeid 2 pid 315 owner ff110000049c0580 rown -1\n\
             79937 RD 0-9 nodeid 2 pid 315 owner ff110000049c0580 rown -1 WAITING\n\
             79937 WR 5-14 nodeid 2 pid 315 owner ff110000049c0580 rown -1 PENDING\n\
             18446744073709551615 rown 0 unused_ms 1234\n"
        );
    }

    #[test]
    fn a_text_ends_soon_behind_what_fits() {
        let many = vec![entry(0, Mode::Read, false); 20_000];
        let few = |number| resource(number, vec![entry(0, Mode::Read, false)]);
        for text in [plocks_text([resource(1, many), few(2)]), plocks_text((0..20_000).map(few))] {
            assert!((DUMP_MAX..DUMP_MAX + 200).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with('\n'));
        }
    }
}
