//! What every command prints of a daemon's answers, and with `--json`: one snapshot, in which no command of the table is
//! missing. What the answers are has been seen with a C daemon (tests/golden/tool/README.md), or is the daemon's own test's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::args::{self, Parsed};
use dlm_tools::commands::COMMANDS;
use dlm_tools::run::{Environment, Tool};
use dlmcontrol::Client;
use dlmcontrol::proto::{self, Command, Header};
use expect_test::expect_file;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::Path;
use std::thread;
use zerocopy::{FromBytes as _, IntoBytes as _};

const STATE: &str = include_str!("../../controld/src/control/testdata/state.json");

/// `lockdebug` and `lockdump` read files of the kernel, as seen on a machine.
const DEBUG: &str = "../tests/golden/tool/lockdebug-sample";

const LINES: [&str; 42] = [
    "explain",
    "explain fs",
    "explain nosuch",
    "explain --json fs",
    "check",
    "check fs",
    "check nosuch",
    "check --json",
    "history",
    "history nosuch",
    "history --json",
    "ls",
    "ls -n",
    "ls nosuch",
    "ls --json",
    "status",
    "status -v",
    "dump",
    "dump --json",
    "plocks fs",
    "plocks --json fs",
    "log_plock",
    "log_plock --json",
    "lockdebug foo",
    "lockdebug -s -v -w foo",
    "lockdebug --json foo",
    "lockdebug --json nosuch",
    "lockdump foo",
    "lockdump -M foo",
    "lockdump --json foo",
    "dump_config",
    "dump_config --json",
    "set_config post_join_delay=5",
    "reload_config",
    "fence_ack 3",
    "deadlock_check fs",
    "run -i 1 -- lvm lvs",
    "run_start -- lvm lvs",
    "run_check 5-waits",
    "run_cancel 5-waits",
    "run_list",
    "run_list --json",
];

/// Those that have their files' tests: `record` and `replay` in tests/testbed, `watch` in watch.rs; the kernel's own
/// commands on machines (tests/vm).
const ELSEWHERE: [&str; 6] = ["record", "replay", "watch", "join", "leave", "joinleave"];

fn captured(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tool").join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn text(command: Command, text: &str) -> Vec<u8> {
    [Header::new(command).followed_by(text.len()).as_bytes(), text.as_bytes()].concat()
}

/// What the daemon says; `None`: nothing.
fn answer(asked: &Header) -> Option<Vec<u8>> {
    let command = Command::ALL.into_iter().find(|one| one.number() == asked.command).unwrap();
    let history = serde_json::json!({
        "schema_version": 1, "now": {"boot_ms": 9000, "wall_ms": 1_700_000_009_000_u64},
        "token_ms": 1000, "consensus_ms": 1200, "recoveries": [], "fencings": [],
    });
    Some(match command {
        Command::DumpDebug => text(command, "15 our_nodeid 1\n"),
        Command::DumpPlocks | Command::PlocksFrom => {
            text(command, "79937 WR 0-9 nodeid 3 pid 31\n")
        }
        Command::DumpLogPlock => text(command, "fs read plock 13841 LK WR 5-e 1/11/b w 0\n"),
        Command::DumpConfig => text(command, "log_debug=0\npost_join_delay=30 (dlm.conf)\n"),
        Command::DumpRun => {
            text(command, "run_uuid 5-waits start_nodeid 1\nrun_command lvm lvs \n\n")
        }
        Command::LockspaceInfo if !asked.name.starts_with(b"fs") => {
            let mut header = Header::new(command).followed_by(size_of::<proto::Lockspace>());
            header.data = -2;
            [header.as_bytes(), proto::Lockspace::default().as_bytes()].concat()
        }
        Command::Lockspaces => captured("locks-ls_-n/0.answer"),
        Command::LockspaceInfo => captured("locks-ls_-n_fs/0.answer"),
        Command::LockspaceNodes => captured("locks-ls_-n/1.answer"),
        Command::DumpStatus => captured("fencing-wait-status/0.answer"),
        Command::State => text(command, STATE),
        Command::History => text(command, &history.to_string()),
        Command::RunStart => {
            let mut header = Header::new(command);
            header.name[..7].copy_from_slice(b"5-waits");
            header.as_bytes().to_vec()
        }
        Command::RunCheck => {
            let waits = asked.name.starts_with(b"5-waits").then_some(proto::RUN_WAITING);
            let status = waits.unwrap_or(proto::RUN_DONE | proto::RUN_FAILED);
            [Header::new(command).followed_by(4).as_bytes(), &status.to_ne_bytes()].concat()
        }
        Command::FenceAck | Command::ReloadConfig | Command::SetConfig => return None,
        other => panic!("nobody asks for {other:?}"),
    })
}

fn serve(mut stream: UnixStream) {
    let mut header = [0; 96];
    // On one connection a run's result is asked for again and again.
    while stream.read_exact(&mut header).is_ok() {
        let asked = Header::read_from_bytes(&header).unwrap();
        let mut payload = vec![0; usize::try_from(asked.len).unwrap() - header.len()];
        stream.read_exact(&mut payload).unwrap();
        if let Some(answer) = answer(&asked) {
            stream.write_all(&answer).unwrap();
        }
        if asked.command != Command::RunCheck.number() {
            return;
        }
    }
}

#[test]
fn every_command_prints_what_it_printed() {
    let socket = format!("dlm-tool-commands-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&socket).unwrap();
    let listener = UnixListener::bind_addr(&address).unwrap();
    thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap())));
    let client = Client::with_sockets(socket.as_bytes(), socket.as_bytes());
    let debug = Path::new(env!("CARGO_MANIFEST_DIR")).join(DEBUG);
    let folder = debug.display().to_string();
    let environment = Environment { client, debug, ..Environment::default() };
    let mut printed = String::new();
    for line in LINES {
        let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        let Ok(Parsed::Run(invocation)) = args::parse(b"dlm_tool", &words) else {
            panic!("{line}: no command")
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let mut tool = Tool { environment: &environment, out: &mut out, err: &mut err };
        let code = tool.run(&invocation).unwrap();
        let _ = writeln!(printed, "==== dlm_tool {line}");
        // The whole state is a file of its own.
        let out = String::from_utf8(out).unwrap();
        let whole = serde_json::from_str::<serde_json::Value>(&out)
            .is_ok_and(|one| one.get("meters").is_some());
        printed.push_str(if whole { "(the state)\n" } else { &out });
        for line in String::from_utf8(err).unwrap().lines() {
            let line = line.replace(&folder, "DEBUG");
            let _ = writeln!(printed, "stderr: {line}");
        }
        let _ = writeln!(printed, "---- exit {code}");
    }
    let printed = without_now(&printed);
    expect_file!["commands.txt"].assert_eq(&printed);
}

/// The time of asking, which is in the fence lines of `status`.
fn without_now(text: &str) -> String {
    let line = |line: &str| match line.split_once(" now ").filter(|_| line.starts_with("fence ")) {
        Some((head, tail)) => {
            let tail = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
            format!("{head} now T{tail}\n")
        }
        None => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

#[test]
fn no_command_is_missing() {
    let here = LINES.iter().flat_map(|line| line.split(' ').next());
    let tested: BTreeSet<&str> = here.chain(ELSEWHERE).collect();
    let all: BTreeSet<&str> = COMMANDS.iter().map(|entry| entry.name).collect();
    assert_eq!(tested, all);
    let with_json =
        |name: &str| LINES.iter().any(|line| line.starts_with(name) && line.contains("--json"));
    for entry in COMMANDS.iter().filter(|entry| entry.json && entry.name != "status") {
        assert!(with_json(entry.name), "{} --json", entry.name);
    }
}
