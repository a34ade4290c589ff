//! The text of `dlm_tool plocks` (spec/plocks.md section 8).

use dlm_core::plock::{Mode, PlockResource, TransferEntry};
use dlmcontrol::proto::DUMP_MAX;
use std::fmt::Write as _;

/// A line for each lock, and for each resource without any, but for the first `skip` lines. Ends behind [`DUMP_MAX`] bytes,
/// which tells the reply that it is cut: old libraries have no room for more, and the daemon's loop does nothing else
/// meanwhile.
#[must_use]
pub fn plocks_text(resources: impl IntoIterator<Item = PlockResource>, skip: usize) -> String {
    let mut text = String::new();
    let mut skip = skip;
    for resource in resources {
        let lines = resource.entries.len().saturating_add(resource.pending.len()).max(1);
        if lines <= skip {
            skip = skip.saturating_sub(lines);
            continue;
        }
        append(&resource, skip, &mut text);
        skip = 0;
        if text.len() > DUMP_MAX {
            break;
        }
    }
    text
}

fn append(resource: &PlockResource, skip: usize, text: &mut String) {
    let PlockResource { number, owner, unused_millis, entries, pending } = resource;
    if entries.is_empty() && pending.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{number} rown {owner} unused_ms {unused_millis}");
    }
    let granted_and_waiting =
        entries.iter().map(|entry| (entry, if entry.waiter { " WAITING" } else { "" }));
    let pending = pending.iter().map(|entry| (entry, " PENDING"));
    for (entry, state) in granted_and_waiting.chain(pending).skip(skip) {
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
            plocks_text([first, nobody], 0),
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
        for text in
            [plocks_text([resource(1, many), few(2)], 0), plocks_text((0..20_000).map(few), 0)]
        {
            assert!((DUMP_MAX..DUMP_MAX + 200).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with('\n'));
        }
    }

    #[test]
    fn parts_from_any_line_on_make_the_whole() {
        let entry = |start| entry(start, Mode::Read, false);
        let all = || {
            let waits = PlockResource { pending: vec![entry(7)], ..resource(3, vec![entry(8)]) };
            [resource(1, vec![entry(1), entry(2), entry(3)]), resource(2, Vec::new()), waits]
        };
        let whole = plocks_text(all(), 0);
        let lines: Vec<&str> = whole.split_inclusive('\n').collect();
        assert_eq!(lines.len(), 6);
        for skip in 0..8 {
            let rest = lines.get(skip..).unwrap_or_default().concat();
            assert_eq!(plocks_text(all(), skip), rest, "{skip}");
        }
    }
}
