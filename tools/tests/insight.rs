//! What `check`, `explain` and `--json` say of states of the daemon.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::args::{self, Parsed};
use dlm_tools::run::{Environment, Tool};
use dlm_tools::{check, explain, words};
use dlmcontrol::Client;
use dlmcontrol::state::{DaemonPhase, LockspaceState, Reason, State, Time, Wait};
use expect_test::{Expect, expect};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::thread;

/// What the daemon's own test has the daemon say: node 3 must be fenced, our agent failed twice. What the daemon itself
/// waits for there is among all waits (`every_wait.rs`).
fn fencing() -> State {
    let text = include_str!("../../controld/src/control/testdata/state.json");
    let mut state: State = serde_json::from_str(text).unwrap();
    state.cluster.waits.clear();
    state
}

/// The same when nothing is waited for any more.
fn calm() -> State {
    let mut state = fencing();
    state.nodes.retain(|node| node.waits.is_empty());
    for lockspace in &mut state.lockspaces {
        lockspace.waits.clear();
        lockspace.pending = None;
        lockspace.state = LockspaceState::Running;
    }
    state
}

fn explained(state: &State, expected: &Expect) {
    expected.assert_eq(&explain::explain(state, None).unwrap());
}

fn verdict(state: &State, name: Option<&str>, expected: &Expect) {
    let verdict = check::verdict(state, name);
    expected.assert_eq(&format!("{} {}", verdict.code, verdict.line));
}

fn wait(reason: Reason, nodes: &[u32]) -> Wait {
    let since = Time { boot_ms: 100_000, wall_ms: 1_700_000_100_000 };
    let (until, write) = (None, None);
    Wait { reason, nodes: nodes.to_vec(), since, waiting_ms: 4_000, until, write, count: None }
}

#[test]
fn failed_fencing_is_explained() {
    explained(
        &fencing(),
        &expect![[r#"
        The daemon of node 1 is up, and waits for nothing itself.
          The partition has quorum; the daemon's group has nodes 1 and 2.

        Lockspace fs is stopped: its members have changed.
          Its last start was with nodes 1, 2 and 3.
          Its next start will be with nodes 1 and 2; START has come from nobody.
          It waits for fencing of node 3, for 6.0 s now.
            What to do: see the fencing of the node below.

        Lockspace t1 is stopped: its members have changed.
          Its last start was with nodes 1, 2 and 3.
          Its next start will be with nodes 1 and 2; START has come from nobody.
          It waits for the kernel to stop the lockspace, for 7.0 s now.
            What to do: usually milliseconds; a stop lasts until locking activity has ceased.

        Node 3 failed 8.0 s ago (nodedown) and must be fenced.
          It waits for the next attempt in 2.0 s, after a failure, for 1.0 s now.
            What to do: repair the fence device, or make sure that the node is off and run `dlm_tool fence_ack 3`.
          Node 1 tried and failed, last with result 1.
          Attempts of this node that failed in a row: 2.
          Fence agent fence_ipmilan (device power), begun 6.0 s ago: failed with exit status 1 after 2.0 s.
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 3.0 s ago: was ended by signal 9 after 2.0 s.
            it wrote: Connection timed out
    "#]],
    );
    assert_eq!(explain::explain(&fencing(), Some("nosuch")), None);
}

#[test]
fn calm_is_explained_too() {
    explained(
        &calm(),
        &expect![[r#"
        The daemon of node 1 is up, and waits for nothing itself.
          The partition has quorum; the daemon's group has nodes 1 and 2.

        Lockspace fs runs.
          Its last start was with nodes 1, 2 and 3.

        Lockspace t1 runs.
          Its last start was with nodes 1, 2 and 3.
    "#]],
    );
}

/// Of a daemon that is busy or hangs only its last state is known.
#[test]
fn old_state_is_told_as_old() {
    let mut state = calm();
    state.stale_ms = Some(12_000);
    verdict(
        &state,
        None,
        &expect![
            "3 no answer: dlm_controld is busy or hangs; 12 s ago it said: running: 2 lockspaces"
        ],
    );
    let text = explain::explain(&state, Some("fs")).unwrap();
    let first = "The daemon's event loop DOES NOT ANSWER. What follows it said 12 s ago.\n";
    assert!(text.starts_with(first), "{text}");
}

/// The daemon is newer than this tool.
#[test]
fn what_a_newer_daemon_waits_for_is_no_error() {
    let text = include_str!("../../controld/src/control/testdata/state.json");
    let text = text.replace("\"reason\": \"fencing\"", "\"reason\": \"sunspots\"");
    let state: State = serde_json::from_str(&text).unwrap();
    verdict(
        &state,
        Some("fs"),
        &expect![
            "29 other: lockspace fs waits for something that this dlm_tool has no words for, as it is older than the daemon, about node 3, for 6.0 s now"
        ],
    );
    let text = explain::explain(&state, Some("fs")).unwrap();
    assert!(text.contains("use the dlm_tool that came with the daemon"), "{text}");
}

#[test]
fn merge_names_who_must_be_reset() {
    let mut state = calm();
    state.lockspaces.clear();
    state.cluster.waits.push(wait(Reason::MergedOperator, &[2, 3]));
    explained(
        &state,
        &expect![[r#"
        The daemon of node 1 is up.
          The partition has quorum; the daemon's group has nodes 1 and 2.
          It waits for an operator: nodes 2 and 3 merged with state of another partition, and no side may act, for 4.0 s now.
            What to do: choose the side that goes on, and reset the nodes of all other sides.
    "#]],
    );
    verdict(
        &state,
        None,
        &expect![
            "23 merge: the daemon waits for an operator: nodes 2 and 3 merged with state of another partition, and no side may act, for 4.0 s now"
        ],
    );
}

#[test]
fn verdicts_name_what_holds_up_a_lockspace() {
    verdict(
        &fencing(),
        None,
        &expect!["22 fencing: lockspace fs waits for fencing of node 3, for 6.0 s now"],
    );
    verdict(
        &fencing(),
        Some("t1"),
        &expect![
            "25 kernel: lockspace t1 waits for the kernel to stop the lockspace, for 7.0 s now"
        ],
    );
    verdict(&calm(), None, &expect!["0 running: 2 lockspaces"]);
    verdict(&calm(), Some("fs"), &expect!["0 running: lockspace fs"]);
    verdict(&calm(), Some("nosuch"), &expect!["4 no lockspace: no lockspace nosuch here"]);
    let mut starting = calm();
    starting.daemon.phase = DaemonPhase::Kernel;
    verdict(
        &starting,
        None,
        &expect!["5 daemon not ready: the daemon is waiting for the kernel's dlm devices"],
    );
    let mut alone = calm();
    alone.lockspaces.iter_mut().for_each(|lockspace| lockspace.without_quorum = true);
    verdict(
        &alone,
        None,
        &expect!["0 running: 2 lockspaces, without quorum as their members did not change"],
    );
}

fn run(line: &str, client: &Client) -> (String, String, u8) {
    let words: Vec<Vec<u8>> = line.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    let Ok(Parsed::Run(invocation)) = args::parse(b"dlm_tool", &words) else {
        panic!("{line}: no command")
    };
    let environment = Environment { client: client.clone(), ..Environment::default() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let mut tool = Tool { environment: &environment, out: &mut out, err: &mut err };
    let code = tool.run(&invocation).unwrap();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), code)
}

#[test]
fn without_a_daemon_nothing_is_claimed() {
    let client = Client::with_sockets(b"dlm-tool-insight-nobody", b"dlm-tool-insight-nobody");
    let (out, err, code) = run("check", &client);
    assert!(out.starts_with("no daemon: dlm_controld does not run: "), "{out}");
    assert_eq!((err.as_str(), code), ("", words::NO_DAEMON));
    for line in ["explain fs", "ls --json", "--json status", "dump_config --json", "dump --json"] {
        let (out, err, code) = run(line, &client);
        assert_eq!((out.as_str(), code), ("", words::NO_DAEMON), "{line}");
        assert!(err.starts_with("no daemon: "), "{line}: {err}");
    }
    let (_, err, code) = run("fence_ack 3 --json", &client);
    assert_eq!(code, words::CANNOT_SAY);
    assert!(err.starts_with("--json is for queries: explain, "), "{err}");
}

/// It closes the connection where it does not know a command.
#[test]
fn c_daemon_is_recognised() {
    let socket = format!("dlm-tool-insight-c-{}", std::process::id());
    let listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&socket).unwrap()).unwrap();
    let closing = thread::spawn(move || {
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().unwrap();
            std::io::Read::read_exact(&mut stream, &mut [0; 96]).unwrap();
        }
    });
    let client = Client::with_sockets(socket.as_bytes(), socket.as_bytes());
    let (out, _, code) = run("check", &client);
    assert_eq!((out, code), (format!("unknown: {}\n", check::NEEDS_OURS), words::CANNOT_SAY));
    let (_, err, code) = run("explain", &client);
    assert_eq!((err, code), (format!("unknown: {}\n", check::NEEDS_OURS), words::CANNOT_SAY));
    closing.join().unwrap();
}
