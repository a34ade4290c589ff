//! Whole daemons with their real tool and a real fence agent, on the testbed. Needs root, and the programs beside this one:
//! `tests/check/tiers/demo` builds them.

mod daemons;
#[path = "daemons/plocks.rs"]
mod plocks;

use daemons::{is_done, join, programs, start, times, wait_for_members};
use dlm_core::effect::Effect;
use dlm_core::event::Event;
use dlm_core::message::Message;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use plocks::{plock_results, wait_for_plock};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use testbed::kernel::Callback;
use testbed::lab::{Lab, PATIENCE, Said, Turn};
use testbed::live::{Options, Sight, What};

/// Start-up fencing must not begin before all daemons are there.
const SETTINGS: &str = "post_join_delay=5\n";

/// A cluster of so many nodes whose daemons are members.
fn cluster(nodes: u32, settings: &str) -> Lab {
    let options = Options { nodes, seed: 1, token: Duration::from_millis(300) };
    let mut lab = Lab::new(programs(), options, &format!("{SETTINGS}{settings}")).unwrap();
    start(&mut lab, nodes);
    lab
}

fn dump(lab: &Lab, node: u32) -> String {
    lab.tool(node, &["dump"]).unwrap().out
}

fn ok(said: &Said) {
    assert_eq!((said.status, said.err.as_str()), (Some(0), ""), "{said:?}");
}

#[test]
fn failed_node_is_fenced_once_and_recovered() {
    let mut lab = cluster(3, "");
    join(&mut lab, 3, "demo");
    lab.kill_daemon(3).unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    let done = |sights: &[Sight]| {
        [1, 2].iter().all(|node| {
            let replayed = |what: &What| {
                matches!(what, What::Called(_, Callback::RecoverSlot { node, jid: Some(2) })
                    if node.get() == 3)
            };
            let order: Vec<bool> = sights
                .iter()
                .filter(|sight| sight.node.get() == *node)
                .filter(|sight| replayed(&sight.what) || is_done(&sight.what))
                .map(|sight| is_done(&sight.what))
                .collect();
            // The lockspace was complete, journal 2 was replayed, then it went on.
            order.ends_with(&[true, false, true])
        })
    };
    assert!(lab.testbed().wait_until(PATIENCE, done), "{:#?}", lab.testbed().sights());
    let sights = lab.testbed().sights();
    let agents: usize = [1, 2]
        .map(|node| times(&sights, node, |what| matches!(what, What::AgentAsks(_))))
        .iter()
        .sum();
    assert_eq!(agents, 1, "runs of the agent");

    let status = lab.tool(1, &["status"]).unwrap();
    ok(&status);
    let lines: Vec<&str> = status.out.lines().collect();
    assert!(lines[0].starts_with("cluster nodeid 1 quorate 1 ring seq "), "{lines:?}");
    assert!(
        lines[1].starts_with("daemon now ") && lines[1].ends_with(" fence_pid 0 "),
        "{lines:?}"
    );
    assert!(lines[2].starts_with("node 1 M add ") && lines[3].starts_with("node 2 M add "));
    assert!(lines[4].starts_with("node 3 X add ") && lines[4].contains(" at 1 "), "{lines:?}");
    let listed = lab.tool(1, &["ls"]).unwrap();
    ok(&listed);
    assert!(listed.out.contains("name          demo\nid            0xa84cf245\n"), "{listed:?}");
    assert!(listed.out.contains("member 2 joined 0 remove 1 failed 1 seq "), "{listed:?}");

    for node in [1, 2] {
        lab.command(&format!("leave {node} demo")).unwrap();
        let gone = |text: &str| !text.contains("name ");
        lab.wait_for_tool(node, &["ls"], "end of the lockspace", gone).unwrap();
    }
    assert_eq!([lab.terminate(1).unwrap(), lab.terminate(2).unwrap()], [Some(0), Some(0)]);
    lab.discard();
}

/// Load that waits for a recovery must not hold it up; what is written and answered must not, either. A container without
/// the right to it has ordinary threads alone. The testbed's kernels have no lanes; those are looked at on machines.
#[test]
fn main_thread_and_what_works_for_it_run_before_ordinary_load() {
    let lab = cluster(1, "");
    let allowed = !dump(&lab, 1).contains("no realtime priority: ");
    let threads = lab.daemon_threads(1).unwrap();
    let turns = ["dlm_log", "dlm-query"].map(|name| threads.get(name));
    assert_eq!(turns, [Some(&Turn::GivesWay), Some(&Turn::Ordinary)], "{threads:?}");
    let first = |threads: &BTreeMap<String, Turn>| -> Vec<String> {
        let first = threads.iter().filter(|(_, turn)| **turn == Turn::First);
        first.map(|(name, _)| name.clone()).collect()
    };
    let wanted: &[&str] = if allowed { &["dlm_controld", "dlm_tasks"] } else { &[] };
    assert_eq!(first(&threads), wanted);
    lab.discard();

    let lab = cluster(1, "realtime=0\n");
    let threads = lab.daemon_threads(1).unwrap();
    assert_eq!((first(&threads).len(), threads.get("dlm_controld")), (0, Some(&Turn::Ordinary)));
    lab.discard();
}

#[test]
fn termination_is_refused_while_a_lockspace_is_active() {
    let mut lab = cluster(1, "");
    join(&mut lab, 1, "fs");
    lab.terminate_daemon(1).unwrap();
    let told = |text: &str| text.contains("shutdown ignored, active lockspaces: fs");
    lab.wait_for_tool(1, &["dump"], "refusal", told).unwrap();
    wait_for_members(&mut lab, 1, "1 ");
    lab.command("leave 1 fs").unwrap();
    lab.wait_for_tool(1, &["ls"], "end of the lockspace", |text| !text.contains("name ")).unwrap();
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    let tool = lab.tool(1, &["status"]).unwrap();
    assert_eq!(tool.out, "cannot connect to dlm_controld\n");
    lab.discard();
}

/// A node whose unfencing waits for a word in the second's file.
fn gated() -> (Lab, PathBuf) {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let settings = "fence_all fence_gate\nunfence_all\n";
    let lab = Lab::new(programs(), options, settings).unwrap();
    let opens = lab.directory().join("opens");
    assert!(Command::new("mkfifo").arg(&opens).status().unwrap().success());
    lab.script(1, "fence_gate", &format!("grep -q action=on && read word <{}", opens.display()))
        .unwrap();
    (lab, opens)
}

/// In the words of `dlm_tool explain`.
fn is_unfencing(text: &str) -> bool {
    text.contains("is unfencing this node")
}

/// Unfencing may take as long as an agent may: who asks meanwhile is told so, and may end the daemon.
#[test]
fn defect_51_node_that_is_being_unfenced_says_so() {
    let (mut lab, opens) = gated();
    lab.start_daemon(1).unwrap();
    lab.wait_for_tool(1, &["explain"], "unfencing", is_unfencing).unwrap();
    let checked = lab.tool(1, &["check"]).unwrap();
    assert_eq!(checked.status, Some(5), "{checked:?}");
    assert!(dump(&lab, 1).contains("unfence 1 fence_all fence_gate"), "{}", dump(&lab, 1));
    assert_eq!(lab.terminate(1).unwrap(), Some(0));

    lab.start_daemon(1).unwrap();
    lab.wait_for_tool(1, &["explain"], "unfencing", is_unfencing).unwrap();
    std::fs::write(&opens, "on\n").unwrap();
    lab.wait_for_tool(1, &["check"], "end of the unfencing", |text| text.starts_with("running: "))
        .unwrap();
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    lab.discard();
}

/// A node that may still be fenced must not serve.
#[test]
fn defect_51_unfencing_that_fails_or_hangs_ends_the_start() {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let settings = "fence_agent_timeout=1\nfence_all fence_shut\nunfence_all\n";
    let lab = Lab::new(programs(), options, settings).unwrap();
    let cases = [
        ("echo no such path; exit 1", "Exited(1) no such path"),
        ("sleep 60; exit 3", "no end in 1 s (fence_agent_timeout), killed"),
    ];
    for (script, why) in cases {
        lab.script(1, "fence_shut", script).unwrap();
        let said = lab.run_daemon(1, &["-D"]).unwrap();
        let why = format!(
            "unfence 1 fence_all fence_shut: {why}: not starting while this node is fenced\n"
        );
        assert!(said.status == Some(1) && said.err.contains(&why), "{script}: {said:?}");
    }
    lab.discard();
}

/// A process id from the file where pacemaker's agent finds it.
fn pid(lab: &Lab, node: u32) -> Pid {
    let file = "/var/run/dlm_controld/dlm_controld.pid";
    let said = lab.program(node, &[], Path::new("cat"), &[file]).unwrap();
    ok(&said);
    Pid::from_raw(said.out.strip_suffix('\n').unwrap().parse().unwrap())
}

/// As `ocf:pacemaker:controld` starts it, stops it, and looks whether it runs.
#[test]
fn daemon_in_the_background_serves_until_it_is_terminated() {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let lab = Lab::new(programs(), options, "").unwrap();
    // The daemon becomes a child of this process, which so hears of its end.
    set_child_subreaper(true).unwrap();
    let said = lab.run_daemon(1, &["-s", "0"]).unwrap();
    assert_eq!((said.status, said.out.as_str(), said.err.as_str()), (Some(0), "", ""));
    // Served at once, whatever the cluster does.
    let status = lab.tool(1, &["status"]).unwrap();
    assert_eq!(status.status, Some(0), "{status:?}");
    let begun = |sights: &[Sight]| times(sights, 1, |what| matches!(what, What::DaemonBegins)) == 1;
    assert!(lab.testbed().wait_until(PATIENCE, begun), "{:#?}", lab.testbed().sights());
    let daemon = pid(&lab, 1);
    // Memory is locked, unless there is no right to it, as root of a container may have none.
    let process = std::fs::read_to_string(format!("/proc/{daemon}/status")).unwrap();
    let locked = |line: &str| line.starts_with("VmLck:") && !line.ends_with(" 0 kB");
    let refused = dump(&lab, 1).contains("cannot lock memory: ");
    assert_ne!(process.lines().any(locked), refused, "{process}");
    kill(daemon, Signal::SIGTERM).unwrap();
    assert_eq!(waitpid(daemon, None).unwrap(), WaitStatus::Exited(daemon, 0));
    assert_eq!(lab.tool(1, &["status"]).unwrap().out, "cannot connect to dlm_controld\n");
    lab.discard();
}

/// Units with `Type=notify` wait for the word, which comes when the daemon was told of the protocol that is run.
#[test]
fn systemd_hears_when_the_protocol_is_agreed_and_when_the_end_begins() {
    let (mut lab, opens) = gated();
    let path = lab.directory().join("notify");
    let notify = UnixDatagram::bind(&path).unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        notify.recv(&mut bytes).map(|length| String::from_utf8_lossy(&bytes[..length]).into_owned())
    };
    lab.start_daemon_as_unit(1, &path).unwrap();
    lab.wait_for_tool(1, &["explain"], "unfencing", is_unfencing).unwrap();
    notify.set_nonblocking(true).unwrap();
    assert_eq!(heard().unwrap_err().kind(), ErrorKind::WouldBlock);

    notify.set_nonblocking(false).unwrap();
    notify.set_read_timeout(Some(PATIENCE)).unwrap();
    std::fs::write(&opens, "on\n").unwrap();
    assert_eq!(heard().unwrap(), "READY=1\n");
    let ready = Instant::now();
    let agreed = |what: &What| match what {
        What::Told(Event::Message { packet, .. }) => {
            matches!(&packet.message, Message::Protocol(said) if said.daemon_run.version.major > 0)
        }
        _ => false,
    };
    let sights = lab.testbed().sights();
    let told = sights.iter().find(|sight| agreed(&sight.what)).map(|sight| sight.at);
    assert!(told.is_some_and(|told| told <= ready), "{sights:#?}");
    lab.terminate_daemon(1).unwrap();
    assert_eq!(heard().unwrap(), "STOPPING=1\n");
    assert_eq!(lab.daemon_ended(1).unwrap().code(), Some(0));
    lab.discard();
}

#[test]
fn data_at_risk_is_told_at_the_start() {
    let warning = "enable_fencing=0: failed nodes are NOT fenced before recovery";
    for (settings, told) in [("enable_fencing=0\n", true), ("", false)] {
        let lab = cluster(1, settings);
        assert_eq!(dump(&lab, 1).contains(warning), told, "{settings}");
        lab.discard();
    }
}

/// Who starts it by hand sees why it does not run. There is no corosync in these namespaces.
#[test]
fn daemon_in_the_foreground_says_why_it_ends() {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let lab = Lab::new(programs(), options, "").unwrap();
    let said = lab.second_daemon(1, &["--foreground", "1"]).unwrap();
    let why = "is corosync running?";
    assert!(said.status == Some(1) && said.err.contains(why), "{said:?}");
    lab.discard();
}

#[test]
fn daemon_without_the_right_to_run_is_told_who_has_it() {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let lab = Lab::new(programs(), options, "").unwrap();
    let said = lab.daemon_of_nobody(1, &["-D"]).unwrap();
    let why = "cannot create directory /var/run/dlm_controld: Permission denied (run dlm_controld as root)\n";
    assert_eq!((said.status, said.err.as_str()), (Some(1), why));
    lab.discard();
}

/// As with the C daemon.
#[test]
fn doubtful_lines_of_dlm_conf_are_told_once_and_the_daemon_serves() {
    let mut lab = cluster(1, "no_such_key=1\nfence_agent_timeout=0\nport=x\n");
    let dump = dump(&lab, 1);
    for line in [
        "line 2: warning: unknown key `no_such_key`: ignored; see dlm.conf(5) for the keys",
        "line 3: error: fence_agent_timeout: 0 would fail every fence agent: ignored; write 1 or more seconds",
        "line 4: error: port: `x` is not a number and counts as 0; write port=<number>",
    ] {
        assert_eq!(
            dump.matches(&format!("/etc/dlm/dlm.conf: {line}\n")).count(),
            1,
            "{line}:\n{dump}"
        );
    }
    assert_eq!(dump.matches("/etc/dlm/dlm.conf: line ").count(), 3, "{dump}");
    join(&mut lab, 1, "fs");
    lab.discard();
}

#[test]
fn line_of_dlm_conf_that_stops_the_start_is_shown() {
    let options = Options { nodes: 1, seed: 1, token: Duration::from_millis(300) };
    let lab = Lab::new(programs(), options, "node id=1\n").unwrap();
    let said = lab.run_daemon(1, &["-D"]).unwrap();
    let why =
        "Invalid configuration line: node id=1 (line 1; write `node id=<nodeid> mark=<mark>`)\n";
    assert_eq!((said.status, said.err.as_str()), (Some(1), why));
    lab.discard();
}

#[test]
fn second_daemon_is_refused_and_the_first_goes_on() {
    let mut lab = cluster(1, "");
    for arguments in [&["-D"][..], &[]] {
        let second = lab.second_daemon(1, arguments).unwrap();
        assert_eq!(second.status, Some(1), "{arguments:?}: {second:?}");
        let reason = "lockfile setlk error /var/run/dlm_controld/dlm_controld.pid";
        assert!(second.err.contains(reason), "{arguments:?}: {second:?}");
    }
    ok(&lab.tool(1, &["status"]).unwrap());
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    lab.discard();
}

#[test]
fn fence_ack_of_root_ends_a_wait_for_fencing_that_fails() {
    let mut lab = cluster(3, "repeat_failed_fencing=0\n");
    join(&mut lab, 3, "fs");
    lab.command("fence 3 fails").unwrap();
    lab.kill_daemon(3).unwrap();
    for node in [1, 2] {
        let exhausted = |text: &str| text.contains("then: dlm_tool fence_ack 3");
        lab.wait_for_tool(node, &["dump"], "request to an operator", exhausted).unwrap();
        let listed = lab.tool(node, &["ls"]).unwrap().out;
        assert!(listed.contains("new status    wait fencing"), "{listed}");
    }

    lab.tool_of_nobody(1, &["fence_ack", "3"]).unwrap();
    let refused = |text: &str| text.contains("fence_ack of user 65534 refused");
    lab.wait_for_tool(1, &["dump"], "refusal", refused).unwrap();
    assert!(!dump(&lab, 1).contains("an operator says"), "{}", dump(&lab, 1));
    assert!(lab.tool(1, &["ls"]).unwrap().out.contains("new status    wait fencing"));

    ok(&lab.tool(1, &["fence_ack", "3"]).unwrap());
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    assert!(dump(&lab, 1).contains("fence_ack 3: an operator says that it is down"));
    lab.discard();
}

#[test]
fn agent_that_fails_once_is_tried_again() {
    let mut lab = cluster(3, "");
    join(&mut lab, 3, "fs");
    lab.command("fence 3 fails").unwrap();
    lab.kill_daemon(3).unwrap();
    let failed = |sights: &[Sight]| {
        sights.iter().any(|sight| matches!(sight.what, What::AgentAnswered(_, 1)))
    };
    assert!(lab.testbed().wait_until(PATIENCE, failed));
    lab.command("fence 3 works").unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    lab.discard();
}

#[test]
fn daemon_that_is_cut_off_alone_is_fenced_with_its_node() {
    let mut lab = cluster(3, "");
    join(&mut lab, 3, "fs");
    lab.command("procdown 3").unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    // It cannot know more than that its cluster is gone.
    assert_eq!(lab.daemon_ended(3).unwrap().code(), Some(0));
    let off = |sight: &Sight| {
        sight.node.get() == 3 && matches!(&sight.what, What::PowerOff(why) if why == "fenced")
    };
    assert!(lab.testbed().sights().iter().any(off), "node 3 has lost its power");
    lab.discard();
}

#[test]
fn settings_that_are_changed_are_shown() {
    let mut lab = cluster(1, "");
    let shown = |lab: &Lab| lab.tool(1, &["dump_config"]).unwrap().out;
    assert!(shown(&lab).contains("post_join_delay=5"), "{}", shown(&lab));
    ok(&lab.tool(1, &["set_config", "post_join_delay=17"]).unwrap());
    let wanted = |text: &str| text.contains("post_join_delay=17");
    lab.wait_for_tool(1, &["dump_config"], "new value", wanted).unwrap();
    let set_by = |text: &str| text.contains("config dynamic post_join_delay = 17 previous use 5");
    lab.wait_for_tool(1, &["dump"], "change", set_by).unwrap();
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    lab.discard();
}

#[test]
fn posix_lock_of_a_dead_node_is_granted_only_after_its_fencing() {
    let mut lab = cluster(3, "");
    join(&mut lab, 3, "fs");
    lab.command("fence 3 fails").unwrap();
    // Node 3 holds the lock; others are told of the conflict, or wait.
    lab.command("plock 3 fs lock 79937 0 9 write 31").unwrap();
    wait_for_plock(&lab, 3, 31, &[0]);
    lab.command("plock 1 fs try 79937 5 14 write 11").unwrap();
    wait_for_plock(&lab, 1, 11, &[-11]);
    lab.command("plock 1 fs get 79937 5 14 write 12").unwrap();
    wait_for_plock(&lab, 1, 12, &[1]);
    lab.command("plock 2 fs lock 79937 5 14 write 21").unwrap();
    let shown = "79937 WR 0-9 nodeid 3 pid 31 owner 1f rown 0\n\
                 79937 WR 5-14 nodeid 2 pid 21 owner 15 rown 0 WAITING\n";
    for node in 1..=3 {
        lab.wait_for_tool(node, &["plocks", "fs"], "locks", |text| text == shown).unwrap();
    }
    let log = lab.tool(1, &["log_plock"]).unwrap().out;
    assert!(log.contains("fs read plock 13841 LK WR 5-e 1/11/b w 0\n"), "{log}");
    assert!(log.contains("fs receive plock 13841 LK WR 5-e 2/21/15 w 1\n"), "{log}");

    lab.kill_daemon(3).unwrap();
    let asked = |sights: &[Sight]| {
        sights.iter().any(|sight| matches!(sight.what, What::AgentAnswered(_, 1)))
    };
    assert!(lab.testbed().wait_until(PATIENCE, asked));
    assert!(plock_results(&lab.testbed().sights(), 2, 21).is_empty());
    lab.command("fence 3 works").unwrap();
    wait_for_plock(&lab, 2, 21, &[0]);
    let sights = lab.testbed().sights();
    let fenced = sights.iter().position(|sight| matches!(sight.what, What::AgentAnswered(_, 0)));
    let granted = sights.iter().position(
        |sight| matches!(&sight.what, What::Asked(Effect::PlockResult(info)) if info.owner == 21),
    );
    assert!(fenced.is_some() && fenced < granted, "{sights:#?}");
    let broken = |sight: &&Sight| matches!(sight.what, What::Broken(_));
    assert_eq!(sights.iter().filter(broken).count(), 0, "{sights:#?}");
    lab.discard();
}

/// What holds a lockspace up is named while it lasts, and found in the history afterwards.
#[test]
fn failed_fencing_is_explained_and_remembered() {
    let mut lab = cluster(3, "");
    assert_eq!(lab.tool(1, &["check", "fs"]).unwrap().status, Some(4));
    join(&mut lab, 3, "fs");
    let running = lab.tool(1, &["check", "fs"]).unwrap();
    assert_eq!((running.status, running.out.as_str()), (Some(0), "running: lockspace fs\n"));
    lab.command("fence 3 fails").unwrap();
    lab.kill_daemon(3).unwrap();
    let failed = |text: &str| text.contains("failed with exit status 1 after");
    let told = lab.wait_for_tool(1, &["explain", "fs"], "failed attempt", failed).unwrap();
    for part in [
        "The daemon of node 1 is up",
        "Lockspace fs is stopped: its members have changed.",
        "It waits for fencing of node 3, for ",
        "(nodedown) and must be fenced.",
        "fence_testbed (device fence_all",
    ] {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    let held = lab.tool(2, &["check"]).unwrap();
    assert_eq!(held.status, Some(22), "{held:?}");
    assert!(held.out.starts_with("fencing: lockspace fs waits for fencing of node 3"), "{held:?}");
    lab.command("fence 3 works").unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    let over = |text: &str| text.contains("What the death of a node costs lockspace fs");
    let told = lab.wait_for_tool(1, &["history", "fs"], "budget", over).unwrap();
    for part in [": node 3 failed; took ", "  fencing  ", "Fencing of node 3, ", "fenced by node "]
    {
        assert!(told.contains(part), "no `{part}` in:\n{told}");
    }
    println!("{told}");
    let json = lab.tool(1, &["--json", "status"]).unwrap();
    ok(&json);
    assert!(json.out.starts_with("{\n  \"schema_version\": 1,\n"), "{}", json.out);
    let (_, meters) = json.out.split_once("\"meters\": {").unwrap();
    for part in ["\"sent\": {", "\"start\": ", "\"add_comm\": {", "\"stop\": {"] {
        assert!(meters.contains(part), "no `{part}` in:\n{meters}");
    }
    lab.discard();
}

/// The path of a file for one node's tool.
fn file_of(lab: &Lab, name: &str) -> String {
    lab.directory().join(name).to_str().unwrap().to_owned()
}

/// Save a node's recording, and replay it.
fn replayed(lab: &Lab, node: u32) -> String {
    let file = file_of(lab, &format!("{node}.rec"));
    let saved = lab.tool(node, &["record", "save", &file]).unwrap();
    ok(&saved);
    assert!(saved.out.contains(" bytes saved in "), "{saved:?}");
    let shown = lab.tool(node, &["replay", &file]).unwrap();
    ok(&shown);
    shown.out
}

#[test]
fn recordings_replay_to_what_the_daemons_did() {
    let mut lab = cluster(3, "");
    join(&mut lab, 3, "fs");
    lab.command("plock 3 fs lock 79937 0 9 write 31").unwrap();
    wait_for_plock(&lab, 3, 31, &[0]);
    lab.kill_daemon(3).unwrap();
    for node in [1, 2] {
        wait_for_members(&mut lab, node, "1 2 ");
    }
    for node in [1, 2] {
        let text = replayed(&lab, node);
        for part in [
            "  the daemon begins\n",
            ", 3 went (NodeDown)\n",
            ": START of change ",
            // The lock itself is its owner's alone.
            "PlockOwn { number: 79937, owner: Some(NodeId(3)) }",
            ": fs: start with ",
            "\nTimeline\n",
            "fs: kernel started with 1 2\n",
            " with the effects that were recorded\n",
        ] {
            assert!(text.contains(part), "node {node}: no `{part}` in:\n{text}");
        }
        assert!(!text.contains("DIFFERENT"), "{text}");
    }

    let refused = lab.tool_of_nobody(1, &["record", "save", "/dev/null"]).unwrap();
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.err.contains("record_save: the daemon answers: Operation not permitted"));

    let file = file_of(&lab, "1.rec");
    let recording = std::fs::read(&file).unwrap();
    std::fs::write(&file, &recording[..recording.len() / 2]).unwrap();
    let cut = lab.tool(1, &["replay", &file]).unwrap();
    assert_eq!(cut.status, Some(1), "{cut:?}");
    assert!(cut.err.contains("the recording is cut off: segment "), "{cut:?}");
    lab.discard();
}

#[test]
fn daemon_that_loses_its_cluster_leaves_its_recording() {
    let mut lab = cluster(3, "flight_recorder=128\n");
    join(&mut lab, 3, "fs");
    lab.command("procdown 3").unwrap();
    assert_eq!(lab.daemon_ended(3).unwrap().code(), Some(0));
    let left = "/var/log/dlm_controld/dlm_controld.rec";
    let shown = lab.tool(3, &["replay", left]).unwrap();
    ok(&shown);
    for part in ["the daemon ended: ", "STOP, corosync is lost: ", "fs: kernel started with 1 2 3"]
    {
        assert!(shown.out.contains(part), "no `{part}` in:\n{}", shown.out);
    }
    lab.discard();
}

#[test]
fn daemon_without_a_recorder_says_so() {
    let mut lab = cluster(1, "flight_recorder=0\n");
    let refused = lab.tool(1, &["record", "save", "/dev/null"]).unwrap();
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.err.contains("Operation not supported"), "{refused:?}");
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    lab.discard();
}

/// A stand-in for LVM, which says what it was given and what it has of its daemon.
const LVM: &str = r#"exec > "${0%/*}/../lvm.log" 2>&1
echo "$*"
ls -l /proc/$$/fd
echo "input $(readlink /proc/$$/fd/0) oom $(cat /proc/$$/oom_score_adj)"
echo "policy $(cut -d ' ' -f 41 /proc/$$/stat)"
echo written >&2
"#;

fn lvm_log(lab: &Lab, node: u32) -> String {
    std::fs::read_to_string(lab.directory().join(format!("node-{node}/lvm.log")))
        .unwrap_or_default()
}

/// The uuid that `dlm_tool run_start` has printed.
fn uuid_of(said: &Said) -> String {
    said.out.trim().strip_prefix("run_uuid: ").unwrap().to_owned()
}

/// As with the C tool it is a success, on no node at all.
#[test]
fn command_that_no_node_has_run_is_said_to_be_that() {
    let mut lab = cluster(1, "");
    lab.script(1, "lvm", LVM).unwrap();
    let ran = lab.tool(1, &["run", "lvm", "lvs"]).unwrap();
    assert_eq!(
        (ran.status, ran.out.ends_with("check_status: done \n")),
        (Some(0), true),
        "{ran:?}"
    );
    assert!(ran.err.starts_with("no node has run it: "), "{ran:?}");
    let own = lab.tool(1, &["-n", "-i", "20", "run", "lvm", "lvs"]).unwrap();
    ok(&own);
    assert_eq!(lvm_log(&lab, 1).lines().next(), Some("lvs"));
    assert_eq!(lab.terminate(1).unwrap(), Some(0));
    lab.discard();
}

#[test]
fn command_is_run_by_all_other_nodes() {
    const REFRESH: [&str; 5] = ["lvm", "lvchange", "--refresh", "--partial", "vg/lv"];
    let mut lab = cluster(3, "");
    for node in 1..=3 {
        lab.script(node, "lvm", LVM).unwrap();
    }
    let started = lab.tool(1, &[&["run_start", "--"][..], &REFRESH].concat()).unwrap();
    ok(&started);
    let uuid = uuid_of(&started);
    assert_eq!(uuid.len(), 36, "{uuid}");
    let done = |text: &str| text.contains("need_replies 0");
    let listed = lab.wait_for_tool(1, &["run_list"], "end of the command", done).unwrap();
    let line = format!(
        "run_uuid {uuid} start_nodeid 1 local_pid 0 local_result 0 need_replies 0 reply_count 2 fail_count 0 flags 1\n\
         run_command lvm lvchange --refresh --partial vg/lv \n\n"
    );
    assert_eq!(listed, line);
    let checked = lab.tool(1, &["run_check", &uuid]).unwrap();
    assert_eq!((checked.status, checked.out.as_str()), (Some(0), "check_status: done \n"));
    assert_eq!(lab.tool(1, &["run_list"]).unwrap().out, "\n");
    assert_eq!(lvm_log(&lab, 1), "");
    for node in [2, 3] {
        let log = lvm_log(&lab, node);
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(
            lines.first(),
            Some(&"lvchange --refresh --partial vg/lv"),
            "node {node}: {log}"
        );
        // Its input, its output and the script.
        let held: Vec<&str> = log.lines().filter_map(|line| line.split(" -> ").nth(1)).collect();
        let own = |held: &&str| {
            *held == "/dev/null" || held.ends_with("lvm.log") || held.ends_with("bin/lvm")
        };
        assert!(held.len() >= 3 && held.iter().all(own), "node {node}: {log}");
        assert!(log.contains("input /dev/null oom 0\npolicy 0\n"), "node {node}: {log}");
        assert!(dump(&lab, node).contains(&format!("run request {uuid} lvm lvchange")));
    }
    let all = lab.tool(1, &["-n", "-i", "20", "run", "lvm", "lvs"]).unwrap();
    ok(&all);
    assert!(all.out.ends_with("check_status: done \n"), "{all:?}");
    for node in 1..=3 {
        assert!(lvm_log(&lab, node).starts_with("lvs\n"), "node {node}: {}", lvm_log(&lab, node));
    }
    lab.discard();
}

#[test]
fn explain_names_commands_that_run_and_check_does_not_mind() {
    let mut lab = cluster(2, "");
    let goes_on = lab.directory().join("goes-on");
    assert!(Command::new("mkfifo").arg(&goes_on).status().unwrap().success());
    lab.script(2, "lvm", &format!("read word <{}", goes_on.display())).unwrap();
    ok(&lab.tool(1, &["run_start", "lvm", "lvs"]).unwrap());
    let waits = [
        "waits for node 2 to say what became of a command of `dlm_tool run`, given up in ",
        "waits for the end of a command that node 1 asked for, killed in ",
    ];
    for (node, wait) in [1, 2].into_iter().zip(waits) {
        lab.wait_for_tool(node, &["explain"], wait, |text| text.contains(wait)).unwrap();
        let checked = lab.tool(node, &["check"]).unwrap();
        assert_eq!((checked.status, checked.out.as_str()), (Some(0), "running: 0 lockspaces\n"));
    }
    std::fs::write(&goes_on, "on\n").unwrap();
    for node in [1, 2] {
        let nothing = "waits for nothing itself";
        lab.wait_for_tool(node, &["explain"], nothing, |text| text.contains(nothing)).unwrap();
    }
    lab.discard();
}

#[test]
fn command_that_fails_or_is_not_allowed_fails_everywhere_it_should() {
    let mut lab = cluster(2, "");
    lab.script(2, "lvm", "echo no such volume >&2; exit 5").unwrap();
    let run = |lab: &Lab, words: &[&str]| {
        lab.tool(1, &[&["-i", "20", "run"][..], words].concat()).unwrap().out
    };
    assert!(run(&lab, &["lvm", "lvs"]).ends_with("check_status: done failed \n"));
    assert!(run(&lab, &["touch", "/tmp/x"]).ends_with("check_status: done failed \n"));
    let told = |text: &str| {
        text.contains("status 5 code 1")
            && text.contains("no such volume")
            && text.contains("refused: only `lvm lvchange --refresh` and `lvm lvs` are run")
    };
    lab.wait_for_tool(2, &["dump"], "reasons", told).unwrap();

    let started = lab.tool_of_nobody(1, &["run_start", "lvm", "lvs"]).unwrap();
    assert_eq!((started.status, started.out.as_str()), (Some(255), "run_uuid: \n"));
    let refused = |text: &str| text.contains("run_start of user 65534 refused");
    lab.wait_for_tool(1, &["dump"], "refusal", refused).unwrap();
    lab.discard();
}

#[test]
fn command_of_a_node_that_dies_has_failed() {
    let mut lab = cluster(3, "enable_fencing=0\n");
    lab.script(2, "lvm", "true").unwrap();
    lab.script(3, "lvm", "exec sleep 1000").unwrap();
    let uuid = uuid_of(&lab.tool(1, &["run_start", "lvm", "lvs"]).unwrap());
    let one = |text: &str| text.contains("need_replies 1 reply_count 1 fail_count 0");
    lab.wait_for_tool(1, &["run_list"], "answer of node 2", one).unwrap();
    lab.kill_daemon(3).unwrap();
    let failed = |text: &str| text == "check_status: done failed \n";
    lab.wait_for_tool(1, &["run_check", &uuid], "end of the wait", failed).unwrap();
    lab.discard();
}
