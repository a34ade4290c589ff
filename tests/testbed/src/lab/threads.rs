//! The threads of a process, as the kernel lists them.

use anyhow::Context as _;
use std::collections::BTreeMap;
use std::fs;

/// Whom a thread runs before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// `SCHED_RR`: before all ordinary ones.
    First,
    /// `SCHED_OTHER`.
    Ordinary,
    /// `SCHED_BATCH`: it takes the processor from nobody when it wakes.
    GivesWay,
}

/// Where the policy stands in a line of `/proc/PID/task/TID/stat`, counted behind the name: field 41 (proc(5)), of which
/// two stand before that.
const POLICY: usize = 41 - 3;

/// By the names of the threads, of which the kernel keeps 15 bytes. A main thread has its program's.
pub(super) fn of_process(pid: u32) -> anyhow::Result<BTreeMap<String, Turn>> {
    let place = format!("/proc/{pid}/task");
    let threads = fs::read_dir(&place).with_context(|| format!("read {place}"))?;
    let mut found = BTreeMap::new();
    for thread in threads {
        let path = thread.with_context(|| format!("read {place}"))?.path().join("stat");
        // One that has just ended is none.
        let Ok(line) = fs::read_to_string(&path) else { continue };
        let (name, turn) = thread_of(&line).with_context(|| format!("no thread: {line}"))?;
        found.insert(name.to_owned(), turn);
    }
    Ok(found)
}

/// `1 (name) S ...`; a name may have spaces and parentheses. The numbers are those of sched.h.
fn thread_of(line: &str) -> Option<(&str, Turn)> {
    let (before, behind) = line.rsplit_once(") ")?;
    let (_, name) = before.split_once(" (")?;
    let turn = match behind.split(' ').nth(POLICY)? {
        "0" => Turn::Ordinary,
        "2" => Turn::First,
        "3" => Turn::GivesWay,
        _ => return None,
    };
    Some((name, turn))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_found_by_its_name() {
        let (ready, told) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("a (b) c".to_owned()).spawn(move || {
            ready.send(()).unwrap();
            ended.recv()
        });
        told.recv().unwrap();
        let found = of_process(std::process::id()).unwrap();
        assert_eq!(found.get("a (b) c"), Some(&Turn::Ordinary), "{found:?}");
        drop(end);
        assert!(thread.unwrap().join().unwrap().is_err());
    }

    #[test]
    fn turns_are_told_by_number() {
        let line = |policy| format!("1 (x) {}{policy} 0 0", "0 ".repeat(POLICY));
        assert_eq!(thread_of(&line(2)), Some(("x", Turn::First)));
        assert_eq!(thread_of(&line(3)), Some(("x", Turn::GivesWay)));
        for line in ["", "1 (x) S 1", "1 x S 1 2", &line(1)] {
            assert_eq!(thread_of(line), None, "{line}");
        }
    }
}
