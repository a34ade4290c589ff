//! The room as a whole: every message there and back, cut anywhere, damaged anyhow; and the traffic of the C daemon.

use super::*;
use dlm_core::message::{
    CLEAR_FIPU, CLEAR_STARTUP, ChangeCounts, FENCE_RESULT_ACKNOWLEDGED, FenceClear, FencePast,
    FenceResult, PROTOCOL_STATEFUL, PlocksDone, Protocol, ProtocolVersion, RUN_NODE_NONE,
    RUN_NODE_RECV, RunCounts, RunReply, RunRequest, START_HAVEPLOCK, START_JOINING, Start,
};
use dlm_core::plock::{
    FLAG_CLOSE, Holder, Mode, Op, PlockInfo, PlocksData, PlocksPart, RANGE_END, TransferEntry,
};
use dlm_core::run::RunUuid;
use dlm_core::types::{ChangeSeq, GlobalId, Group, LockspaceName, NodeId, Version, WallSeconds};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn packet(message: Message) -> Packet {
    Packet {
        version: Version::new(3, 1, 1),
        sender: node(7),
        global_id: GlobalId(0xd0b6_21e6),
        message,
    }
}

fn counts(members: &[u32]) -> ChangeCounts {
    ChangeCounts {
        started_count: 2,
        member_count: 3,
        joined_count: 1,
        remove_count: 0,
        failed_count: 0,
        members: members.iter().map(|id| node(*id)).collect(),
    }
}

fn uuid() -> RunUuid {
    RunUuid::new(b"b7899cc7-b89c-495d-a965-675fca2559af").unwrap()
}

fn request() -> RunRequest {
    let command = b"lvm lvs \xff".to_vec();
    RunRequest { dest: Some(node(3)), start: node(1), flags: RUN_NODE_RECV, uuid: uuid(), command }
}

fn reply() -> RunReply {
    RunReply {
        dest: None,
        start: node(1),
        flags: RUN_NODE_NONE,
        uuid: uuid(),
        pid: 4711,
        result: -1,
        counts: RunCounts { awaited: 2, replies: 1, failed: i32::MIN },
    }
}

/// Each field has bytes of its own.
fn lock() -> PlockInfo {
    PlockInfo {
        version: [1, 2, 3],
        op: Op::Lock,
        mode: Mode::Write,
        wait: true,
        flags: 0x81,
        pid: 4711,
        node: node(2),
        result: i32::MIN,
        fsid: GlobalId(0x1234_5678),
        number: 0x0123_4567_89ab_cdef,
        start: 1 << 62,
        end: u64::MAX,
        owner: 0xffff_8000_0000_0001,
    }
}

fn part(number: u64, owner: u32, entries: u64) -> PlocksPart {
    let entry = |start| TransferEntry {
        start,
        end: u64::MAX,
        holder: Holder { node: node(2), owner: 11 },
        pid: 4711,
        mode: Mode::Write,
        waiter: start > 0,
    };
    PlocksPart { number, owner, continues: number > 8, entries: (0..entries).map(entry).collect() }
}

/// One of each kind.
fn packets() -> Vec<Packet> {
    let run = ProtocolVersion { version: Version::new(3, 1, 1), flags: PROTOCOL_STATEFUL };
    let protocol = |features| Protocol {
        daemon_max: ProtocolVersion { flags: 0, ..run },
        kernel_max: ProtocolVersion { version: Version::new(1, 1, 1), flags: 0 },
        daemon_run: run,
        kernel_run: ProtocolVersion::default(),
        features,
    };
    let seq = ChangeSeq::from_wire(9);
    vec![
        packet(Message::Protocol(protocol(None))),
        packet(Message::Protocol(protocol(Some(0x8000_0001)))),
        packet(Message::Start(Start { seq, flags: 4, counts: counts(&[3, 1, 2]) })),
        packet(Message::PlocksDone(PlocksDone {
            seq,
            flags: START_HAVEPLOCK,
            data_count: u32::MAX,
            counts: counts(&[1, u32::MAX]),
        })),
        packet(Message::FenceResult(FenceResult {
            victim: node(3),
            result: FENCE_RESULT_ACKNOWLEDGED,
            wall: WallSeconds(u64::MAX),
            ring: u64::MAX,
        })),
        packet(Message::FenceClear(FenceClear { node: node(2), result: -61, flags: 1, ring: 24 })),
        packet(Message::FencePast(FencePast {
            since: 4,
            ring: u64::MAX,
            whole: false,
            side: vec![node(2), node(9)],
        })),
        packet(Message::RunRequest(request())),
        packet(Message::RunReply(reply())),
        packet(Message::ReleaseRecover { value: 1 }),
        packet(Message::Withdraw { stopped_for: None }),
        packet(Message::Withdraw { stopped_for: NodeId::new(7) }),
        packet(Message::PlocksData(PlocksData { seq, parts: vec![part(7, 0, 2), part(8, 3, 0)] })),
        packet(Message::PlocksData(PlocksData { seq, parts: vec![part(u64::MAX, 0, 1)] })),
        packet(Message::Plock(lock())),
        packet(Message::PlockSyncLock(PlockInfo { op: Op::Unknown(0), wait: false, ..lock() })),
        packet(Message::PlockSyncWaiter(PlockInfo { op: Op::Cancel, ..lock() })),
        packet(Message::PlockOwn { number: u64::MAX, owner: NodeId::new(u32::MAX) }),
        packet(Message::PlockOwn { number: 5, owner: None }),
        packet(Message::PlockDrop { number: 1 << 40 }),
        packet(Message::Other { kind: 99, words: [1, 2, 3], body: b"anything".to_vec() }),
        packet(Message::Other { kind: 0xffff, words: [0; 3], body: Vec::new() }),
    ]
}

#[test]
fn every_message_survives_the_wire() {
    for packet in packets() {
        assert_eq!(decode(&encode(&packet)).as_ref(), Ok(&packet));
    }
}

#[test]
fn header_is_laid_out_as_specified() {
    let seq = ChangeSeq::from_wire(0x1111_2222);
    let start = Start { seq, flags: START_JOINING, counts: counts(&[]) };
    let bytes = encode(&packet(Message::Start(start)));
    assert_eq!(
        bytes[..40],
        *b"\x03\0\x01\0\x01\0\x02\0\x07\0\0\0\0\0\0\0\xe6\x21\xb6\xd0\x01\0\0\0\x22\x22\x11\x11\0\0\0\0\0\0\0\0\0\0\0\0"
    );
}

#[test]
fn defect_74_message_cut_anywhere_is_rejected_or_still_whole() {
    for packet in packets() {
        let bytes = encode(&packet);
        for length in 0..bytes.len() {
            let cut = decode(&bytes[..length]);
            match &packet.message {
                Message::Other { kind, words, body } if length >= HEADER_LENGTH => {
                    let body = body[..length - HEADER_LENGTH].to_vec();
                    let message = Message::Other { kind: *kind, words: *words, body };
                    assert_eq!(cut, Ok(Packet { message, ..packet.clone() }));
                }
                Message::Protocol(protocol) if length >= 72 => {
                    let message = Message::Protocol(Protocol { features: None, ..*protocol });
                    assert_eq!(cut, Ok(Packet { message, ..packet.clone() }));
                }
                _ => assert!(cut.is_err(), "{packet:?} cut to {length}: {cut:?}"),
            }
        }
    }
}

#[test]
fn bytes_after_a_known_message_are_ignored() {
    for packet in packets() {
        let mut bytes = encode(&packet);
        bytes.extend_from_slice(&[0xee; 3]);
        match packet.message {
            Message::Other { .. } => {}
            Message::RunRequest(_) | Message::RunReply(_) => {
                assert!(matches!(decode(&bytes), Err(DecodeError::Long { excess: 3, .. })));
            }
            _ => assert_eq!(decode(&bytes).as_ref(), Ok(&packet)),
        }
    }
}

#[test]
fn errors_say_how_long_the_message_must_be() {
    let mut bytes = encode(&packets()[4]);
    bytes.truncate(1063);
    let text = decode(&bytes).unwrap_err().to_string();
    assert_eq!(text, "FENCE_RESULT: message of 1063 bytes, needs 1064");
    let text = decode(&bytes[..39]).unwrap_err().to_string();
    assert_eq!(text, "header: message of 39 bytes, needs 40");
}

/// The C daemon's log of such a reply took a number for a text.
#[test]
fn defect_29_run_reply_of_another_length_is_refused_in_words() {
    let mut long = encode(&packet(Message::RunReply(reply())));
    assert_eq!(long.len(), 136);
    long.resize(300, 0);
    for length in (HEADER_LENGTH..300).filter(|length| *length != 136) {
        let text = decode(&long[..length]).unwrap_err().to_string();
        assert!(text.starts_with("RUN_REPLY: ") && text.contains("bytes"), "{length}: {text}");
    }
}

#[test]
fn sender_zero_is_rejected() {
    let mut bytes = encode(&packets()[0]);
    bytes[8] = 0;
    assert_eq!(decode(&bytes), Err(DecodeError::NoNode { part: Part::Header }));
}

#[test]
fn run_strings_without_end_are_cut_and_names_must_be_printable() {
    let mut bytes = encode(&packet(Message::RunRequest(request())));
    bytes[136..].fill(b'x');
    let Message::RunRequest(cut) = decode(&bytes).unwrap().message else { panic!() };
    assert_eq!(cut.command, [b'x'; 1023]);
    for bad in [0, b'\n', 0x80] {
        bytes[72] = bad;
        assert_eq!(decode(&bytes), Err(DecodeError::NoUuid { part: Part::RunRequest }));
    }
    bytes[72..136].fill(b'a');
    assert_eq!(decode(&bytes), Err(DecodeError::NoUuid { part: Part::RunRequest }));
    bytes[44..48].fill(0);
    assert_eq!(decode(&bytes), Err(DecodeError::NoNode { part: Part::RunRequest }));
}

/// One line of a capture.
struct Captured {
    place: String,
    /// Group name and CPG sender; `None` for a message on its way out.
    delivered: Option<(String, u32)>,
    bytes: Vec<u8>,
}

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/wire")
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// All messages that the tap of the C daemons saw, by file name.
fn captures() -> BTreeMap<String, Vec<Captured>> {
    let mut captures = BTreeMap::new();
    for entry in std::fs::read_dir(golden_folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            captures.insert(name.clone(), lines.map(|line| captured(&name, line)).collect());
        }
    }
    captures
}

fn captured(file: &str, line: &str) -> Captured {
    let words: Vec<&str> = line.split_whitespace().collect();
    let field = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let delivered = field("group=").map(|group| {
        let (from, _pid) = field("from=").unwrap().split_once('/').unwrap();
        (group.to_owned(), from.parse().unwrap())
    });
    assert_eq!(words[2] == "DELIVER", delivered.is_some(), "{file}: {line}");
    let bytes = hex(words.last().unwrap());
    assert_eq!(field("len=").unwrap(), bytes.len().to_string(), "{file}: {line}");
    Captured { place: format!("{file} at {}", words[0]), delivered, bytes }
}

fn group(name: &str) -> Group {
    name.strip_prefix("dlm:ls:").map_or(Group::Daemon, |lockspace| {
        Group::Lockspace(LockspaceName::new(lockspace.as_bytes()).unwrap())
    })
}

fn family(message: &Message) -> &'static str {
    match message {
        Message::Protocol(_) => "PROTOCOL",
        Message::Start(_) => "START",
        Message::PlocksDone(_) => "PLOCKS_DONE",
        Message::FenceResult(_) => "FENCE_RESULT",
        Message::FenceClear(_) | Message::FencePast(_) => "FENCE_CLEAR",
        Message::ReleaseRecover { .. } => "RELEASE_RECOVER",
        Message::Withdraw { .. } => "WITHDRAW",
        Message::Plock(_)
        | Message::PlockOwn { .. }
        | Message::PlockDrop { .. }
        | Message::PlockSyncLock(_)
        | Message::PlockSyncWaiter(_) => "PLOCK family",
        Message::PlocksData(_) => "PLOCKS_DATA",
        Message::RunRequest(_) | Message::RunReply(_) => "RUN",
        Message::Other { .. } => "unknown",
    }
}

#[test]
fn traffic_of_the_c_daemon_comes_back_to_the_byte() {
    let mut seen = BTreeMap::new();
    for captured in captures().values().flatten() {
        let packet = decode(&captured.bytes).unwrap_or_else(|e| panic!("{}: {e}", captured.place));
        assert_eq!(encode(&packet), captured.bytes, "{}", captured.place);
        if let Some((name, from)) = &captured.delivered {
            assert_eq!(packet.sender, node(*from), "{}", captured.place);
            assert_eq!(packet.global_id, group(name).global_id(), "{}", captured.place);
        }
        *seen.entry(family(&packet.message)).or_insert(0) += 1;
    }
    let expected = BTreeMap::from([
        ("FENCE_CLEAR", 23),
        ("FENCE_RESULT", 6),
        ("PLOCK family", 112),
        ("PLOCKS_DATA", 12),
        ("PLOCKS_DONE", 81),
        ("PROTOCOL", 88),
        ("RUN", 24),
        ("START", 208),
    ]);
    assert_eq!(seen, expected);
}

/// The message that the C daemon of `file` sent or got at this time of its clock.
fn at(file: &str, time: &str) -> Packet {
    let captures = captures();
    let place = format!("{file} at {time}");
    let captured = captures[file].iter().find(|captured| captured.place == place);
    decode(&captured.unwrap_or_else(|| panic!("no {place}")).bytes).unwrap()
}

#[test]
fn first_protocol_of_the_c_daemon_has_no_run_versions() {
    let expected = Packet {
        version: Version::default(),
        sender: node(1),
        global_id: GlobalId(0),
        message: Message::Protocol(Protocol {
            daemon_max: ProtocolVersion { version: Version::new(3, 1, 1), flags: 0 },
            kernel_max: ProtocolVersion { version: Version::new(1, 1, 1), flags: 0 },
            daemon_run: ProtocolVersion::default(),
            kernel_run: ProtocolVersion::default(),
            features: None,
        }),
    };
    assert_eq!(at("node1.txt", "18.256319"), expected);
}

#[test]
fn protocol_of_a_daemon_that_ran_a_lockspace_is_stateful() {
    let Message::Protocol(protocol) = at("node1.txt", "126.187188").message else { panic!() };
    let run = ProtocolVersion { version: Version::new(3, 1, 1), flags: PROTOCOL_STATEFUL };
    assert_eq!(protocol.daemon_run, run);
}

#[test]
fn c_daemon_clears_a_joiner_of_both_its_doubts() {
    let flags = CLEAR_STARTUP | CLEAR_FIPU;
    let clear = FenceClear { node: node(3), result: 0, flags, ring: 0 };
    assert_eq!(at("node1.txt", "126.187869").message, Message::FenceClear(clear));
}

#[test]
fn c_daemon_tells_that_a_node_is_fenced() {
    let wall = WallSeconds(1_795_257_248);
    let fence = FenceResult { victim: node(3), result: 0, wall, ring: 0 };
    assert_eq!(at("node2.txt", "105.532507").message, Message::FenceResult(fence));
}

#[test]
fn data_node_counts_its_plock_messages() {
    let counts = ChangeCounts {
        started_count: 4,
        member_count: 3,
        joined_count: 1,
        remove_count: 0,
        failed_count: 0,
        members: vec![node(1), node(2), node(3)],
    };
    let seq = ChangeSeq::from_wire(5);
    let expected = Packet {
        version: Version::new(3, 1, 1),
        sender: node(1),
        global_id: Group::Lockspace(LockspaceName::new(b"fs").unwrap()).global_id(),
        message: Message::PlocksDone(PlocksDone {
            seq,
            flags: START_HAVEPLOCK,
            data_count: 1,
            counts: counts.clone(),
        }),
    };
    assert_eq!(at("node1.txt", "93.475005"), expected);
    let start = Message::Start(Start { seq, flags: START_HAVEPLOCK, counts });
    assert_eq!(at("node1.txt", "93.457540").message, start);
}

#[test]
fn c_daemon_asks_for_a_command_and_is_answered() {
    let asked = RunRequest {
        dest: None,
        start: node(1),
        flags: RUN_NODE_NONE,
        uuid: uuid(),
        command: b"/bin/true ".to_vec(),
    };
    let expected = Packet {
        version: Version::new(3, 1, 1),
        sender: node(1),
        global_id: GlobalId(0),
        message: Message::RunRequest(asked),
    };
    assert_eq!(at("node1.txt", "42.724763"), expected);
    let counts = RunCounts::default();
    let answer = RunReply { pid: 202, result: 1, counts, ..reply() };
    assert_eq!(at("node1.txt", "43.772916").message, Message::RunReply(answer));
}

/// What the C daemon of the node said in the lockspace of the captures.
fn in_fs(sender: u32, message: Message) -> Packet {
    Packet { sender: node(sender), ..packet(message) }
}

/// The file that processes lock in the captures.
const FILE: u64 = 17_493;

/// A lock of the whole file's first ten bytes that does not wait.
fn captured_lock() -> PlockInfo {
    PlockInfo {
        version: [1, 2, 0],
        op: Op::Lock,
        mode: Mode::Write,
        wait: false,
        flags: 0,
        pid: 227,
        node: node(2),
        result: 0,
        fsid: GlobalId(0xd0b6_21e6),
        number: FILE,
        start: 0,
        end: 9,
        owner: 0xff11_0000_049c_0b00,
    }
}

#[test]
fn c_daemon_multicasts_a_request_as_it_has_read_it() {
    let waits = PlockInfo { wait: true, pid: 230, ..captured_lock() };
    let close = PlockInfo {
        op: Op::Unlock,
        mode: Mode::Read,
        flags: FLAG_CLOSE,
        pid: 230,
        end: RANGE_END,
        ..captured_lock()
    };
    let read = PlockInfo {
        mode: Mode::Read,
        wait: true,
        node: node(1),
        start: 100,
        end: 199,
        owner: 0xff11_0000_049c_0dc0,
        ..captured_lock()
    };
    let unlock = PlockInfo { op: Op::Unlock, wait: false, start: 120, end: 129, ..read };
    for (file, time, info) in [
        ("ownership-node2.txt", "69.324063", captured_lock()),
        ("ownership-node2.txt", "70.796504", waits),
        ("ownership-node2.txt", "76.580457", close),
        ("node1.txt", "64.844688", read),
        ("node2.txt", "63.477124", unlock),
    ] {
        let expected = in_fs(info.node.get(), Message::Plock(info));
        assert_eq!(at(file, time), expected, "{file} at {time}");
    }
}

#[test]
fn c_daemon_claims_a_file_hands_it_over_and_drops_it() {
    let own = |owner| Message::PlockOwn { number: FILE, owner };
    assert_eq!(at("ownership-node1.txt", "59.340173"), in_fs(1, own(Some(node(1)))));
    assert_eq!(at("ownership-node2.txt", "69.295054"), in_fs(2, own(Some(node(2)))));
    let lock = PlockInfo {
        version: [0; 3],
        op: Op::Unknown(0),
        pid: 235,
        node: node(1),
        fsid: GlobalId(0),
        owner: 0xff11_0000_049c_1b80,
        ..captured_lock()
    };
    let sync = Message::PlockSyncLock(lock);
    assert_eq!(at("ownership-node1.txt", "69.003776"), in_fs(1, sync));
    assert_eq!(at("ownership-node1.txt", "69.006002"), in_fs(1, own(None)));
    let drop = Message::PlockDrop { number: 143_417 };
    assert_eq!(at("ownership-node2.txt", "100.756160"), in_fs(2, drop));
}

#[test]
fn c_daemon_sends_a_joiner_locks_and_waiters_of_a_file() {
    let seq = ChangeSeq::from_wire(5);
    let data = |number, entries| {
        let part = PlocksPart { number, owner: 0, continues: false, entries };
        Message::PlocksData(PlocksData { seq, parts: vec![part] })
    };
    let granted = TransferEntry {
        start: 5,
        end: 14,
        holder: Holder { node: node(2), owner: 0xff11_0000_049c_0580 },
        pid: 229,
        mode: Mode::Write,
        waiter: false,
    };
    let holder = Holder { node: node(1), owner: 0xff11_0000_049c_1080 };
    let waits = TransferEntry { holder, pid: 235, waiter: true, ..granted };
    assert_eq!(at("node1.txt", "93.470847"), in_fs(1, data(FILE, vec![granted, waits])));
    // Nobody has locks there any more.
    assert_eq!(at("ownership-node1.txt", "91.416784"), in_fs(1, data(143_417, Vec::new())));
}

/// Deterministic numbers (splitmix64), so that a failure shows itself again.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }
}

/// One damage of the kinds that find parser faults: bits, interesting words where counts are, cuts, growth.
fn damage(bytes: &mut Vec<u8>, numbers: &mut Numbers) {
    const WORDS: [u32; 8] = [0, 1, 3, 5, 1024, 1025, 0x7fff_ffff, u32::MAX];
    let at = numbers.below(bytes.len().min(96));
    match numbers.below(5) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << numbers.below(8),
        1 if !bytes.is_empty() => bytes[at] = numbers.byte(),
        2 if bytes.len() >= 96 => {
            let word = WORDS[numbers.below(WORDS.len())];
            let at = at / 4 * 4;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        3 => bytes.truncate(numbers.below(bytes.len() + 1)),
        _ => {
            let more = numbers.below(64);
            bytes.extend((0..more).map(|_| numbers.byte()));
        }
    }
}

#[test]
fn damaged_traffic_never_panics() {
    let mut numbers = Numbers(1);
    for captured in captures().values().flatten() {
        fuzz_wire(&captured.bytes);
        for _ in 0..100 {
            let mut bytes = captured.bytes.clone();
            for _ in 0..=numbers.below(3) {
                damage(&mut bytes, &mut numbers);
            }
            fuzz_wire(&bytes);
        }
    }
}

#[test]
fn wire_touches_nothing_outside_its_bytes() {
    let room = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/wire");
    let outside = ["fs", "net", "thread", "time", "process", "env", "io", "sync", "os"];
    for entry in std::fs::read_dir(room).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for word in ["tokio", "nix", "libc"].map(|word| format!("{word}::")) {
            assert!(!text.contains(&word), "{} uses {word}", path.display());
        }
        for module in outside {
            let word = format!("std::{module}");
            assert!(!text.contains(&word), "{} uses {word}", path.display());
        }
        assert!(!text.contains("std::{"), "{} hides what it uses of std", path.display());
    }
}
