//! A file that becomes everybody's may have any number of locks: they go out bit by bit, each behind one that has come back.

use crate::runner::{Run, prepared};
use dlm_core::message::Message;
use dlm_core::snapshot::Wait;

/// Words about files that are given up, on their way at most.
const ON_WAY: usize = 256;
/// Many times that.
const LOCKS: usize = 20_000;

/// With 2 in a lockspace with ownership; file 5 has so many locks of ours, and a waiter.
fn owner(locks: usize) -> Run {
    let mut run = prepared(
        "nodes 1 2 3\nplock on",
        &["up 2 ring 4", "join fs members 2 ring 4 unset 2", "done fs from 2 seq 71 count 0"],
    );
    lock_file_5(&mut run, locks);
    run
}

fn lock_file_5(run: &mut Run, locks: usize) {
    run.line("plock fs lock 5 w 0-0 7/a");
    run.line("echo all");
    for at in 1..locks {
        run.line(&format!("plock fs lock 5 w {at}-{at} 7/a"));
    }
    run.line("plock fs lock 5 r 0-9 8/b wait");
    run.take_shown();
}

/// 3 joins, as a C daemon or one of ours, and says START.
fn joins(run: &mut Run, kind: &str, word: &str) {
    daemon_joins(run, kind);
    lockspace_joins(run, word);
}

fn daemon_joins(run: &mut Run, kind: &str) {
    for line in [
        "quorum 1 ring 8 members 1 2 3",
        "confchg daemon members 1 2 3 joined 3",
        "ring daemon 8",
        &format!("protocol from 3 run 3.1.1 {kind}"),
        "echo all",
    ] {
        run.line(line);
    }
}

fn lockspace_joins(run: &mut Run, word: &str) {
    for line in [
        "confchg fs members 1 2 3 joined 3",
        "ring fs 8",
        "kernel all",
        &format!(
            "start fs from 3 seq 1 counts 3/1/0/0 started 0 members 1 2 3 flags joining {word}"
        ),
    ] {
        run.line(line);
    }
}

fn is_word(message: &Message) -> bool {
    matches!(
        message,
        Message::PlockSyncLock(_)
            | Message::PlockSyncWaiter(_)
            | Message::PlockOwn { owner: None, .. }
    )
}

fn on_way(run: &Run) -> usize {
    run.under_way().filter(|message| is_word(message)).count()
}

fn starts_sent(run: &Run) -> usize {
    run.under_way().filter(|message| matches!(message, Message::Start(_))).count()
}

fn wait(run: &Run) -> Option<Wait> {
    run.snapshot().lockspaces.remove(0).wait
}

/// All words about a file in the order in which they come back, without its number; never too many are on their way.
fn words(run: &mut Run, file: u64) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        let next = run.under_way().next().cloned();
        let Some(message) = next else { break };
        assert!(on_way(run) <= ON_WAY, "{} words so far", words.len());
        match message {
            Message::PlockSyncLock(info) if info.number == file => {
                words.push(format!("lock {}", info.start));
            }
            Message::PlockSyncWaiter(info) if info.number == file => {
                words.push(format!("waiter {}", info.start));
            }
            Message::PlockOwn { number, owner: None } if number == file => {
                words.push("nobody".to_string());
            }
            _ => {}
        }
        run.line("echo");
        let sent = run.take_shown().iter().filter(|line| line.starts_with("send")).count();
        assert!(sent <= 2, "a step says {sent} words");
    }
    words
}

#[test]
fn locks_of_a_file_that_is_given_up_wait_for_each_other() {
    let mut run = owner(LOCKS);
    run.line("said fs from 2 own 5 2");
    assert_eq!(on_way(&run), ON_WAY);
    run.take_shown();
    let mut expected: Vec<String> = (0..LOCKS).map(|at| format!("lock {at}")).collect();
    expected.extend(["waiter 0".to_string(), "nobody".to_string()]);
    assert_eq!(words(&mut run, 5), expected);
    assert_eq!(on_way(&run), 0);
}

#[test]
fn requests_for_a_file_that_is_given_up_wait_for_its_last_word() {
    let mut run = owner(2 * ON_WAY);
    run.line("said fs from 2 own 5 2");
    run.line("echo");
    run.take_shown();
    run.line("plock fs unlock 5 w 0-0 7/a");
    run.line("plock fs lock 5 w 9000-9000 7/a");
    assert_eq!(run.take_shown(), [""; 0], "nothing is carried out here, nor said");
    while on_way(&run) > 0 {
        run.line("echo");
    }
    let shown = run.take_shown();
    let plocks: Vec<&String> =
        shown.iter().filter(|line| !line.starts_with("send fs sync")).collect();
    assert_eq!(
        plocks,
        ["send fs own 5 0", "send fs unlock 5 w 0-0 1/7/a", "send fs lock 5 w 9000-9000 1/7/a"]
    );
}

#[test]
fn small_file_is_given_up_beside_a_big_one() {
    let mut run = owner(LOCKS);
    run.line("plock fs lock 6 w 0-9 7/a");
    run.line("echo all");
    run.line("said fs from 2 own 5 2");
    run.line("said fs from 2 own 6 2");
    run.take_shown();
    for _ in 0..4 {
        run.line("echo");
    }
    assert!(run.take_shown().contains(&"send fs own 6 0".to_string()));
    assert!(on_way(&run) <= ON_WAY);
}

/// In front of the START with which ownership ends all of it has been said.
#[test]
fn start_with_a_c_daemon_waits_for_all_words() {
    let mut run = owner(3 * ON_WAY);
    run.line("plock fs lock 6 w 0-9 7/a");
    run.line("echo all");
    joins(&mut run, "c", "");
    let mut echoes = 0;
    while starts_sent(&run) == 0 {
        assert_eq!(wait(&run), Some(Wait::Handover));
        assert_eq!(on_way(&run), ON_WAY);
        run.line("echo");
        echoes += 1;
    }
    // The locks, a waiter, and two times nobody.
    assert_eq!(echoes, 3 * ON_WAY + 1 + 1 + 2 - ON_WAY);
    let last: Vec<&Message> = run.under_way().skip(ON_WAY - 1).collect();
    assert!(matches!(last[..], [Message::PlockOwn { number: 6, owner: None }, Message::Start(_)]));
    assert_ne!(wait(&run), Some(Wait::Handover));
}

/// What nothing has been said of stays ours where the joiner dies.
#[test]
fn joiner_that_dies_costs_no_file_that_was_still_to_be_given_up() {
    let mut run = owner(2 * ON_WAY);
    run.line("plock fs lock 6 w 0-9 7/a");
    run.line("echo all");
    joins(&mut run, "c", "");
    assert_eq!(wait(&run), Some(Wait::Handover));
    run.line("confchg fs members 1 2 left 3");
    run.line("kernel all");
    run.line("echo all");
    run.take_shown();
    run.line("plock fs lock 6 w 20-29 7/a");
    assert_eq!(run.take_shown(), ["result 0 of lock 6 w 20-29 1/7/a"]);
    run.line("plock fs lock 5 w 9000-9000 7/a");
    assert_eq!(run.take_shown(), ["send fs lock 5 w 9000-9000 1/7/a"]);
}

/// A START that keeps ownership waits for nothing: a joiner of ours takes the rest of a file behind the barrier.
#[test]
fn join_of_one_of_ours_waits_for_no_word() {
    let mut run = owner(2 * ON_WAY);
    run.line("said fs from 2 own 5 2");
    joins(&mut run, "", "ownership unset");
    assert_eq!(starts_sent(&run), 1);
}

/// Who leaves says no more.
#[test]
fn leaver_says_no_more_of_its_files() {
    let mut run = owner(2 * ON_WAY);
    run.line("said fs from 2 own 5 2");
    run.line("offline fs");
    run.line("kernel all");
    run.line("confchg fs members 2 left 1");
    run.take_shown();
    run.line("echo all");
    assert!(!run.take_shown().iter().any(|line| line.starts_with("send")));
}

/// What is on its way where ownership ends is void, and nothing waits for it where ownership begins again.
#[test]
fn words_of_ended_ownership_hold_up_no_later_ones() {
    let mut run = owner(0);
    let files = 10..=10 + 2 * ON_WAY;
    for number in files.clone() {
        run.line(&format!("plock fs lock {number} w 0-9 7/a"));
        run.line("echo all");
        run.line(&format!("plock fs unlock {number} w 0-9 7/a"));
    }
    joins(&mut run, "c", "");
    run.line("echo all");
    for number in files {
        run.line(&format!("said fs from 2 own {number} 2"));
    }
    assert_eq!(on_way(&run), ON_WAY);
    run.line("agree fs from 2 unset 2");
    run.line("kernel all");
    run.line("echo all");
    assert_eq!(on_way(&run), 0);
    for line in [
        "confchg fs members 1 2 left 3",
        "kernel all",
        "echo all",
        "agree fs unset 2",
        "kernel all",
        "plock fs lock 9 w 0-9 7/a",
        "echo all",
        "said fs from 2 own 9 2",
    ] {
        run.line(line);
    }
    let shown = run.take_shown();
    assert_eq!(shown[shown.len() - 2..], ["send fs synclock 9 w 0-9 1/7/a", "send fs own 9 0"]);
}

/// With 2, a C daemon that has ownership; file 5 has so many locks of ours, and a waiter.
fn owner_beside_a_c_daemon(locks: usize) -> Run {
    let mut run = prepared(
        "nodes 1 2 3\nplock on\nplock_ownership on",
        &["up 2 ring 4", "join fs members 2 ring 4", "done fs from 2 seq 71 count 0"],
    );
    lock_file_5(&mut run, locks);
    run
}

/// A C daemon refuses locks of a file that has an owner, so none is half handed over where it joins.
#[test]
fn start_where_c_daemons_have_ownership_waits_for_files_that_are_begun() {
    let mut run = owner_beside_a_c_daemon(2 * ON_WAY);
    daemon_joins(&mut run, "c");
    run.line("said fs from 2 own 5 2");
    lockspace_joins(&mut run, "");
    while starts_sent(&run) == 0 {
        assert_eq!(on_way(&run), ON_WAY);
        assert_eq!(wait(&run), Some(Wait::Handover));
        run.line("echo");
    }
    let last: Vec<&Message> = run.under_way().skip(ON_WAY - 1).collect();
    assert!(matches!(last[..], [Message::PlockOwn { number: 5, owner: None }, Message::Start(_)]));
}

#[test]
fn file_that_is_asked_for_between_start_and_barrier_waits_for_that() {
    let mut run = owner_beside_a_c_daemon(3);
    joins(&mut run, "c", "");
    assert_eq!(starts_sent(&run), 1);
    run.take_shown();
    run.line("said fs from 2 own 5 2");
    run.line("said fs from 2 own 5 2");
    assert_eq!(on_way(&run), 0);
    run.line("plock fs lock 5 w 9000-9000 7/a");
    assert_eq!(run.take_shown(), ["result 0 of lock 5 w 9000-9000 1/7/a"], "still ours");
    run.line("echo");
    run.line("agree fs");
    run.line("kernel all");
    assert_eq!(on_way(&run), 6, "four locks, a waiter, and that nobody owns it");
}
