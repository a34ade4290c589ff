//! `explain`, `check` and `watch` have words for everything that can be waited for: the lists are exhaustive matches, so
//! that a new kind does not compile before it is named here, and its words are then read in the snapshot. That the
//! daemon's core gets into each of these waits, and lists it then, is its own test (`controld/core/tests/waits`).
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use dlm_tools::{check, explain, watch, words};
use dlmcontrol::state::{
    Attempt, DaemonPhase, Lockspace, LockspaceState, Node, Outcome, Reason, SlotsKnown, State,
    Time, Wait, Write, WriteKind,
};
use expect_test::{expect, expect_file};
use std::fmt::Write as _;

/// A list of all variants; the match does not compile without one of them.
macro_rules! every {
    ($list:ident, $type:ident: $($name:ident)*) => {
        const $list: &[$type] = &[$($type::$name),*];
        const _: fn($type) = |one| match one {
            $($type::$name => (),)*
        };
    };
}

every!(OF_DAEMON_AND_NODES_AND_LOCKSPACES, Reason:
    DaemonGroup Protocols Proposal UnknownRings UnknownQuorum UnknownMerge UnknownStartup UnknownVictims
    UnknownClearance UnknownAgreement MergedRemoval MergedOperator Addresses KernelWrite KernelRetry KernelHeld
    RunReplies RunCommands PlockRate CorosyncQueue
    FenceProtocol FenceRings FenceQuorum FenceMerge FenceJoinDelay FenceAgent FenceOtherAgent FenceResult FencePause
    FenceActor FenceOperator
    Queued Join Rejoin Leave Stop Rings Quorum Fencing NodeGone Ghost Comms Withdraw Handover Starts Disallowed Plocks
    WithdrawAnswer Other);

every!(WRITES, WriteKind: AddComm RemoveComm Stop Start Release EventDone AckWithdraw Other);

every!(PHASES, DaemonPhase: Corosync Unfencing Kernel Running Ending Other);

every!(STATES, LockspaceState: Running Joining Stopped Starting Leaving Other);

const NOW: Time = Time { boot_ms: 100_000, wall_ms: 1_700_000_100_000 };

fn ago(seconds: u64) -> Time {
    Time { boot_ms: NOW.boot_ms - 1000 * seconds, wall_ms: NOW.wall_ms - 1000 * seconds }
}

fn wait(reason: Reason, nodes: &[u32]) -> Wait {
    let until = Some(Time { boot_ms: NOW.boot_ms + 5_000, wall_ms: 0 });
    let write = matches!(reason, Reason::KernelWrite | Reason::KernelRetry | Reason::KernelHeld)
        .then_some(Write { kind: WriteKind::Start, failures: 0, error: None, queued: 0 });
    let count = Some(u64::try_from(nodes.len()).unwrap());
    Wait { reason, nodes: nodes.to_vec(), since: ago(4), waiting_ms: 4_000, until, write, count }
}

fn running() -> State {
    let mut state = State { now: NOW, ..State::default() };
    state.daemon.phase = DaemonPhase::Running;
    state.cluster.our_node = Some(1);
    state.cluster.quorate = true;
    state.cluster.members = vec![1, 2];
    state
}

/// The lines of a text that say what is waited for, and what can be done.
fn told(state: &State) -> String {
    let text = explain::explain(state, None).unwrap();
    let wanted = |line: &&str| line.contains("It waits for ") || line.contains("What to do: ");
    text.lines().filter(wanted).map(|line| format!("    {}\n", line.trim())).collect()
}

fn name(of: &impl serde::Serialize) -> String {
    serde_json::to_string(of).unwrap().trim_matches('"').to_owned()
}

#[test]
fn every_reason_has_words_advice_and_a_code() {
    let mut out = String::new();
    for reason in OF_DAEMON_AND_NODES_AND_LOCKSPACES {
        let code = words::code(*reason);
        let _ = writeln!(out, "{} {code} ({})", name(reason), words::word(code));
        // About several nodes, one, and nobody in particular.
        for nodes in [&[2, 3][..], &[3], &[]] {
            let mut state = running();
            state.cluster.waits.push(wait(*reason, nodes));
            let lines = told(&state);
            assert_eq!(lines.lines().count(), 2, "{}: {lines}", name(reason));
            assert_eq!(check::verdict(&state, None).code, code);
            let seen: String = watch::rows(&state, 500)
                .into_iter()
                .flat_map(|row| row.into_iter().map(|(_, text)| text))
                .collect();
            let said = lines.lines().next().unwrap().trim().trim_start_matches("It ");
            assert!(seen.contains(said.trim_end_matches('.')), "{said}: {seen}");
            // Some are never about nobody.
            if !out.ends_with(&lines) && !lines.contains("no node") {
                out.push_str(&lines);
            }
        }
    }
    expect_file!["every_wait.txt"].assert_eq(&out);
}

#[test]
fn every_kernel_write_is_named_with_its_failures_and_what_is_behind_it() {
    let mut out = String::new();
    for kind in WRITES {
        for (reason, failures, error, queued) in [
            (Reason::KernelWrite, 0, None, 0),
            (Reason::KernelRetry, 2, Some("No space left on device"), 3),
        ] {
            let mut state = running();
            let write = Write { kind: *kind, failures, error: error.map(str::to_owned), queued };
            state.cluster.waits.push(Wait { write: Some(write), ..wait(reason, &[3]) });
            out.push_str(told(&state).lines().next().unwrap().trim());
            out.push('\n');
        }
    }
    expect![[r#"
        It waits for the kernel to take the address of node 3, for 4.0 s now.
        It waits for another try in 5.0 s to take the address of node 3, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to drop the address of node 3, for 4.0 s now.
        It waits for another try in 5.0 s to drop the address of node 3, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to stop the lockspace, for 4.0 s now.
        It waits for another try in 5.0 s to stop the lockspace, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to start the lockspace, for 4.0 s now.
        It waits for another try in 5.0 s to start the lockspace, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to let the lockspace go, for 4.0 s now.
        It waits for another try in 5.0 s to let the lockspace go, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to take the answer to its uevent, for 4.0 s now.
        It waits for another try in 5.0 s to take the answer to its uevent, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to take the answer to gfs2's withdraw, for 4.0 s now.
        It waits for another try in 5.0 s to take the answer to gfs2's withdraw, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
        It waits for the kernel to take a write that this dlm_tool has no words for, for 4.0 s now.
        It waits for another try in 5.0 s to take a write that this dlm_tool has no words for, failed 2 times: No space left on device, 3 more behind it, for 4.0 s now.
    "#]].assert_eq(&out);
}

#[test]
fn kernel_that_blocks_for_long_is_called_that() {
    let mut state = running();
    state.cluster.waits.push(Wait { waiting_ms: 10_001, ..wait(Reason::Stop, &[]) });
    assert!(told(&state).contains("the kernel blocks: see the kernel log"), "{}", told(&state));
}

/// All that the explanation of a node can have: the fence agents' tries, results, output and counts.
#[test]
fn every_end_of_a_fence_agent_is_told() {
    const ENDS: [Outcome; 7] = [
        Outcome::Exited(0),
        Outcome::Exited(1),
        Outcome::Signalled(9),
        Outcome::NotStarted(2),
        Outcome::NotStarted(13),
        Outcome::Other,
        Outcome::Running,
    ];
    // A new end must be named above.
    let _ = |end: Outcome| match end {
        Outcome::Exited(_)
        | Outcome::Signalled(_)
        | Outcome::NotStarted(_)
        | Outcome::Other
        | Outcome::Running => (),
    };
    let mut out = String::new();
    for outcome in ENDS {
        let mut node = Node { node: 3, left_reason: "nodedown".to_owned(), ..Node::default() };
        node.waits.push(wait(Reason::FencePause, &[3]));
        node.fencing.needed = true;
        node.fencing.failed = Some(ago(30));
        node.fencing.attempts.push(Attempt {
            device: "power".to_owned(),
            agent: "fence_ipmilan".to_owned(),
            started: ago(20),
            ended: (outcome != Outcome::Running).then(|| ago(8)),
            outcome,
            output: "1\n2\n3\nConnection timed out\n".to_owned(),
        });
        if outcome == Outcome::Running {
            node.fencing.failures = 4;
            node.fencing.failed_by = [(1, 1), (2, -2)].into();
            node.fencing.config_error = Some("line 7: no agent".to_owned());
        }
        let mut state = running();
        state.nodes.push(node);
        let text = explain::explain(&state, None).unwrap();
        let lines = text.lines().skip_while(|line| !line.starts_with("Node 3 failed"));
        let skipped = if out.is_empty() { 0 } else { 3 };
        out.extend(lines.skip(skipped).map(|line| format!("{line}\n")));
    }
    expect![[r#"
        Node 3 failed 30 s ago (nodedown) and must be fenced.
          It waits for the next attempt in 5.0 s, after a failure, for 4.0 s now.
            What to do: repair the fence device, or make sure that the node is off and run `dlm_tool fence_ack 3`.
          Fence agent fence_ipmilan (device power), begun 20 s ago: succeeded after 12 s.
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 20 s ago: failed with exit status 1 after 12 s.
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 20 s ago: was ended by signal 9 after 12 s.
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 20 s ago: could not be started: No such file or directory (os error 2).
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 20 s ago: could not be started: Permission denied (os error 13).
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Fence agent fence_ipmilan (device power), begun 20 s ago: ended in a way that this dlm_tool does not know.
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
          Node 1 tried and failed, last with result 1.
          Node 2 tried and failed, last with result -2.
          Attempts of this node that failed in a row: 4.
          Its fence devices in dlm.conf cannot be used: line 7: no agent.
          Fence agent fence_ipmilan (device power), begun 20 s ago: has been running for 20 s.
            it wrote: 2
            it wrote: 3
            it wrote: Connection timed out
    "#]].assert_eq(&out);
}

#[test]
fn every_phase_of_the_daemon_and_state_of_a_lockspace_has_a_sentence() {
    let mut out = String::new();
    for phase in PHASES {
        let mut state = running();
        state.daemon.phase = *phase;
        out.push_str(explain::explain(&state, None).unwrap().lines().next().unwrap());
        out.push('\n');
        let ready = *phase == DaemonPhase::Running;
        assert_eq!(check::verdict(&state, None).code == words::RUNNING, ready);
    }
    for (what, without_quorum) in STATES.iter().zip([false; 6]).chain([(&STATES[0], true)]) {
        let lockspace = Lockspace {
            name: "fs".to_owned(),
            id: String::new(),
            state: *what,
            without_quorum,
            members: vec![1, 2],
            started: None,
            pending: None,
            slots_known: SlotsKnown::Predicted,
            slots: Vec::new(),
            our_jid: Some(0),
            nodes: Vec::new(),
            waits: Vec::new(),
            meters: None,
        };
        let mut state = running();
        state.lockspaces.push(lockspace);
        let text = explain::explain(&state, Some("fs")).unwrap();
        out.push_str(text.lines().nth(3).unwrap());
        out.push('\n');
    }
    expect![[r#"
        The daemon of node 1 is connecting to corosync, which has to run here.
        The daemon of node 1 is unfencing this node with the agents of dlm.conf.
        The daemon of node 1 waits for the kernel's dlm devices, which the module dlm brings.
        The daemon of node 1 is up, and waits for nothing itself.
        The daemon of node 1 is ending: kernels are being stopped.
        The daemon of node 1 is at something that this dlm_tool does not know.
        Lockspace fs runs.
        Lockspace fs is being joined, and grants no locks yet.
        Lockspace fs is stopped: its members have changed.
        Lockspace fs is being started by the kernel.
        Lockspace fs is being left.
        Lockspace fs is in a state that this dlm_tool does not know.
        Lockspace fs runs, without quorum, as its members have not changed.
    "#]]
    .assert_eq(&out);
}
