//! POSIX locks in scripts. LOCK is `lock 5 w 0-9 1/7/a [wait] [close]`: what, inode, mode, range, node/pid/owner.
//!
//! | line | event |
//! |---|---|
//! | `plock LS lock 5 w 0-9 7/a [wait] [close]` | our kernel asks; also `unlock`, `get`, `cancel`, `op9` |
//! | `said LS from 2 lock 5 w 0-9 7/a` | a PLOCK of node 2; `3/7/a`: that says it is of node 3 |
//! | `said LS from 2 own 5 2`, `own 5 0`, `drop 5` | of a resource's owner |
//! | `said LS from 2 synclock 5 w 0-9 7/a`, `syncwaiter ..` | an owner hands over |
//! | `data LS from 2 seq 71 number 5 rown 0 [continue] entries w:0-9:2/7/a r:5-5:3/1/b:waits` | a part of a transfer |
//! | `done LS from 2 seq 71 count 1 [counts 2/1/0/0]` | its end, about the change of our last START |
//! | `locks LS` | shows all locks |

use super::args::{Args, node};
use dlm_core::Core;
use dlm_core::message::{Message, PlocksDone};
use dlm_core::plock::{
    FLAG_CLOSE, Holder, Mode, Op, PlockInfo, PlocksData, PlocksPart, TransferEntry,
};
use dlm_core::types::{ChangeSeq, Group, LockspaceName, NodeId};

/// `node`: whose, where the words name only pid and owner.
fn info(words: &[&str], name: &LockspaceName, us: NodeId) -> PlockInfo {
    let [op, number, mode, range, who, flags @ ..] = words else {
        panic!("no lock: {words:?}");
    };
    let (start, end) = range.split_once('-').expect("a range");
    let who: Vec<&str> = who.split('/').collect();
    let [named @ .., pid, owner] = who.as_slice() else {
        panic!("neither pid nor owner: {words:?}")
    };
    PlockInfo {
        version: [1, 2, 0],
        op: match *op {
            "lock" | "synclock" | "syncwaiter" => Op::Lock,
            "unlock" => Op::Unlock,
            "get" => Op::Get,
            "cancel" => Op::Cancel,
            other => Op::Unknown(other.trim_start_matches("op").parse().expect("an operation")),
        },
        mode: if *mode == "w" { Mode::Write } else { Mode::Read },
        wait: flags.contains(&"wait"),
        flags: if flags.contains(&"close") { FLAG_CLOSE } else { 0 },
        pid: pid.parse().expect("a pid"),
        node: named.first().map_or(us, |named| node(named)),
        result: 0,
        fsid: Group::Lockspace(name.clone()).global_id(),
        number: number.parse().expect("an inode"),
        start: start.parse().expect("first byte"),
        end: end.parse().expect("last byte"),
        owner: u64::from_str_radix(owner, 16).expect("an owner"),
    }
}

/// A request of our kernel.
pub(crate) fn request(line: &str, us: NodeId) -> PlockInfo {
    let args = Args::new(line, &[]);
    info(&args.list("")[1..], &args.lockspace(), us)
}

/// What another node says.
pub(crate) fn said(line: &str) -> (Group, NodeId, Message) {
    let args = Args::new(line, &["from"]);
    let (name, from) = (args.lockspace(), args.node("from"));
    let words = &args.list("from")[1..];
    let number = || words[1].parse().expect("an inode");
    let message = match words[0] {
        "own" => {
            let owner = NodeId::new(words[2].parse().expect("an owner"));
            Message::PlockOwn { number: number(), owner }
        }
        "drop" => Message::PlockDrop { number: number() },
        "synclock" => Message::PlockSyncLock(info(words, &name, from)),
        "syncwaiter" => Message::PlockSyncWaiter(info(words, &name, from)),
        _ => Message::Plock(info(words, &name, from)),
    };
    (Group::Lockspace(name), from, message)
}

/// A part of a transfer, or several of them, with `and` between.
pub(crate) fn data(line: &str) -> (Group, NodeId, Message) {
    let mut parts = line.split(" and ");
    let first = parts.next().unwrap_or_default();
    let args = Args::new(first, &PART_KEYS);
    let others = parts.map(|words| part(&Args::new(&format!("data - {words}"), &PART_KEYS)));
    let data = PlocksData {
        seq: ChangeSeq::from_wire(args.number("seq")),
        parts: std::iter::once(part(&args)).chain(others).collect(),
    };
    (Group::Lockspace(args.lockspace()), args.node("from"), Message::PlocksData(data))
}

const PART_KEYS: [&str; 6] = ["from", "seq", "number", "rown", "continue", "entries"];

fn part(args: &Args<'_>) -> PlocksPart {
    let entries = args.list("entries").into_iter().map(|word| {
        let words: Vec<&str> = word.split(':').collect();
        let [mode, range, who, rest @ ..] = words.as_slice() else { panic!("no entry: {word}") };
        let (start, end) = range.split_once('-').expect("a range");
        let who: Vec<&str> = who.split('/').collect();
        let owner = u64::from_str_radix(who[2], 16).expect("an owner");
        TransferEntry {
            start: start.parse().expect("first byte"),
            end: end.parse().expect("last byte"),
            holder: Holder { node: node(who[0]), owner },
            pid: who[1].parse().expect("a pid"),
            mode: if *mode == "w" { Mode::Write } else { Mode::Read },
            waiter: !rest.is_empty(),
        }
    });
    PlocksPart {
        number: args.number("number"),
        owner: args.number_or("rown", 0),
        continues: args.has("continue"),
        entries: entries.collect(),
    }
}

/// The end of a transfer; `counts`: of the change that it names unless the line does.
pub(crate) fn done(
    line: &str,
    mut counts: dlm_core::message::ChangeCounts,
) -> (Group, NodeId, Message) {
    let args = Args::new(line, &["from", "seq", "count", "counts"]);
    if args.has("counts") {
        let all: Vec<i32> = args.one("counts").split('/').filter_map(|n| n.parse().ok()).collect();
        counts.member_count = all[0];
        counts.joined_count = all[1];
        counts.remove_count = all[2];
        counts.failed_count = all[3];
    }
    let done = PlocksDone {
        seq: ChangeSeq::from_wire(args.number("seq")),
        flags: 2,
        data_count: args.number("count"),
        counts,
    };
    (Group::Lockspace(args.lockspace()), args.node("from"), Message::PlocksDone(done))
}

fn mode(mode: Mode) -> char {
    if mode == Mode::Write { 'w' } else { 'r' }
}

/// LOCK.
fn lock(info: &PlockInfo) -> String {
    let op = match info.op {
        Op::Lock => "lock".to_string(),
        Op::Unlock => "unlock".to_string(),
        Op::Get => "get".to_string(),
        Op::Cancel => "cancel".to_string(),
        Op::Unknown(number) => format!("op{number}"),
    };
    format!(
        "{op} {} {} {}-{} {}/{}/{:x}{}{}",
        info.number,
        mode(info.mode),
        info.start,
        info.end,
        info.node,
        info.pid,
        info.owner,
        if info.wait { " wait" } else { "" },
        if info.is_close() { " close" } else { "" }
    )
}

fn entry(entry: &TransferEntry) -> String {
    format!(
        "{}:{}-{}:{}/{}/{:x}{}",
        mode(entry.mode),
        entry.start,
        entry.end,
        entry.holder.node,
        entry.pid,
        entry.holder.owner,
        if entry.waiter { ":waits" } else { "" }
    )
}

/// A result.
pub(crate) fn result(info: &PlockInfo) -> String {
    format!("result {} of {}", info.result, lock(info))
}

/// One of the messages about POSIX locks.
pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Plock(info) => lock(info),
        Message::PlockOwn { number, owner } => {
            format!("own {number} {}", owner.map_or(0, NodeId::get))
        }
        Message::PlockDrop { number } => format!("drop {number}"),
        Message::PlockSyncLock(info) => {
            format!("sync{}", lock(&PlockInfo { op: Op::Lock, ..*info }))
        }
        Message::PlockSyncWaiter(info) => format!("syncwaiter of {}", lock(info)),
        Message::PlocksData(PlocksData { seq, parts }) => {
            let parts: Vec<String> = parts.iter().map(part_text).collect();
            format!("data seq {seq} {}", parts.join(" and "))
        }
        Message::PlocksDone(done) => format!(
            "done seq {} counts {}/{}/{}/{} started {} count {}",
            done.seq,
            done.counts.member_count,
            done.counts.joined_count,
            done.counts.remove_count,
            done.counts.failed_count,
            done.counts.started_count,
            done.data_count
        ),
        other => format!("{other:?}"),
    }
}

fn part_text(PlocksPart { number, owner, continues, entries }: &PlocksPart) -> String {
    let entries: Vec<String> = entries.iter().map(entry).collect();
    let continues = if *continues { " continue" } else { "" };
    format!("number {number} rown {owner}{continues} entries {}", entries.join(" "))
}

/// The answer to `locks`.
pub(crate) fn locks(core: &Core, line: &str) -> Vec<String> {
    let name = Args::new(line, &[]).lockspace();
    let lockspaces = core.snapshot().lockspaces;
    let needs = lockspaces.iter().any(|lockspace| lockspace.name == name && lockspace.need_plocks);
    let mut lines = vec![format!("{name}{}", if needs { " not synchronised" } else { "" })];
    for resource in core.plocks(&name).into_iter().flatten() {
        let mut text = format!("{} rown {}", resource.number, resource.owner);
        for held in &resource.entries {
            text += &format!(" {}", entry(held));
        }
        for pending in &resource.pending {
            text += &format!(" pending:{}", entry(pending));
        }
        lines.push(text);
    }
    lines
}
