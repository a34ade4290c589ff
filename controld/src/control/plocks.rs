//! The text of `dlm_tool plocks` (spec/plocks.md section 8). There may be any number of locks, and the driver, who alone knows
//! them, does nothing else while it looks at them: it is asked for a few at a time.

use super::Command;
use super::commands::ask;
use dlm_core::plock::{DumpPlace, Mode, PlockFile, PlockResource, TransferEntry};
use dlm_core::types::LockspaceName;
use dlmcontrol::proto::DUMP_MAX;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The POSIX locks of a lockspace, but for the first `skip` lines. Ends behind [`DUMP_MAX`] bytes, which tells the reply that
/// it is cut: old libraries have no room for more. `Some(None)`: no such lockspace. `None`: the driver is gone.
pub async fn dump_plocks(
    commands: &mpsc::Sender<Command>,
    lockspace: &LockspaceName,
    skip: usize,
) -> Option<Option<String>> {
    let Some(files) = files(commands, lockspace).await? else { return Some(None) };
    let (mut text, mut skip, mut place) = (String::new(), skip, DumpPlace::default());
    loop {
        let (lockspace, files) = (lockspace.clone(), Arc::clone(&files));
        let part =
            ask(commands, |reply| Command::PlocksPart { lockspace, files, place, skip, reply });
        let Some(part) = part.await? else { return Some(None) };
        append_plocks(part.resources, &mut text);
        skip = skip.saturating_sub(part.skipped);
        match part.next {
            Some(next) if text.len() <= DUMP_MAX => place = next,
            Some(_) | None => return Some(Some(text)),
        }
    }
}

/// All files, oldest first.
async fn files(
    commands: &mpsc::Sender<Command>,
    lockspace: &LockspaceName,
) -> Option<Option<Arc<[PlockFile]>>> {
    let mut all: Vec<PlockFile> = Vec::new();
    loop {
        let (lockspace, last) = (lockspace.clone(), all.last().copied());
        match ask(commands, |reply| Command::PlockFiles { lockspace, last, reply }).await? {
            None => return Some(None),
            Some(some) if some.is_empty() => break,
            Some(some) => all.extend(some),
        }
    }
    all.sort_unstable();
    Some(Some(all.into()))
}

/// A line for each lock, and for each resource without any, until there are more than [`DUMP_MAX`] bytes.
pub fn append_plocks(resources: impl IntoIterator<Item = PlockResource>, text: &mut String) {
    for resource in resources {
        append(&resource, text);
        if text.len() > DUMP_MAX {
            return;
        }
    }
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

    fn text(resources: impl IntoIterator<Item = PlockResource>) -> String {
        let mut text = String::new();
        append_plocks(resources, &mut text);
        text
    }

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
            text([first, nobody]),
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
        for text in [text([resource(1, many), few(2)]), text((0..20_000).map(few))] {
            assert!((DUMP_MAX..DUMP_MAX + 200).contains(&text.len()), "{}", text.len());
            assert!(text.ends_with('\n'));
        }
    }
}
