//! `dlm_tool` and the library under test beside Debian's, against C daemons and ours.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::basics::{CHANGE, RECOVERY};
use super::membership::waits_for;
use super::plocks::{actors, expect};
use crate::actor::{Bytes, Mode};
use crate::cluster::Cluster;
use crate::gfs2::FILE_SYSTEM;
use crate::host::power::FenceMode;
use crate::node::{COMMAND, Node};
use crate::options::Daemon;

/// Asks by all of them, in the guest.
const ASK_BOTH: &str = include_str!("ask-both.sh");

/// What `dlm_tool` can ask without changing anything, where the answers are the same until something happens.
const OF_TOOL: [&str; 18] = [
    "dlm_tool ls",
    "dlm_tool ls -n",
    "dlm_tool ls -v",
    "dlm_tool ls -s",
    "dlm_tool ls -w",
    "dlm_tool ls fs",
    "dlm_tool ls -n fs",
    "dlm_tool ls nosuch",
    "dlm_tool ls a-name-of-more-than-the-sixty-four-bytes-that-a-lockspace-can-have-in-all",
    "dlm_tool status",
    "dlm_tool status -v",
    "dlm_tool dump_config",
    "dlm_tool plocks fs",
    "dlm_tool plocks nosuch",
    "dlm_tool run_list",
    "dlm_tool run_check no-such-uuid",
    "dlm_tool run_cancel no-such-uuid",
    "dlm_tool deadlock_check fs",
];

/// Questions whose answers may change by themselves: both logs grow, and gfs2 gives locks back when it likes.
const CHANGING: [&str; 7] = [
    "dlm_tool dump",
    "dlm_tool log_plock",
    "dlm_tool lockdebug fs",
    "dlm_tool lockdebug -s fs",
    "dlm_tool lockdebug -v fs",
    "dlm_tool lockdebug -w fs",
    "dlm_tool lockdump fs",
];

/// Calls of the library that `dlm_tool` does not make, or of which it does not show all, by the program of the library's
/// own tests.
const OF_LIBRARY: [&str; 19] = [
    "calls lockspaces",
    "calls lockspace_info fs",
    "calls lockspace_info nosuch",
    "calls node_info fs 3",
    "calls node_info fs 9",
    "calls node_info nosuch 1",
    "calls lockspace_nodes fs 1 128",
    "calls lockspace_nodes fs 2 128",
    "calls lockspace_nodes fs 3 128",
    "calls lockspace_nodes fs 1 1",
    "calls lockspace_nodes nosuch 1 128",
    "calls dump_plocks fs",
    "calls dump_plocks nosuch",
    "calls dump_config",
    "calls dump_run",
    "calls run_check no-such-uuid",
    "calls print_status 0",
    "calls print_status 1",
    "calls fs fs",
];

/// What is asked, as it stands in `calls.c`.
const CALLS_SOURCE: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../libdlmcontrol/capi/tests/calls.c");
const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../libdlmcontrol/capi/include");

/// For all that is asked together, several times if something happens meanwhile.
const PATIENCE: Duration = Duration::from_secs(300);

/// The switch waits so long: a fencing that does not move while it is looked at.
const SLOW_SWITCH: Duration = Duration::from_secs(60);

/// Every query of the `dlm_tool` and library under test prints what Debian's print, to the byte, and exits alike: without
/// lockspaces, with a file system and POSIX locks, while fencing is awaited, and after the recovery; so do the library's
/// calls. Where an answer changes from one moment to the next, which Debian's own two show, this is said. What the tool
/// under test commands is done by either daemon.
pub(super) fn tools(cluster: &Cluster) -> Result<()> {
    let calls = compile(cluster)?;
    for id in [1, 2] {
        cluster.node(id).put("/run/ask-both", 0o755, ASK_BOTH.as_bytes())?;
        if let Some(calls) = &calls {
            cluster.node(id).put("/run/calls", 0o755, calls)?;
        }
    }
    ask(cluster, "no lockspaces")?;
    for id in [1, 2] {
        create(cluster.node(id))?;
    }

    cluster.mount_gfs2(&[1, 2, 3])?;
    for id in [1, 2, 3] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
    }
    let file = "/mnt/gfs2/locked";
    let [first, second] = actors(cluster, &cluster.new_mark(), [1, 2])?;
    expect(&first.lock(Mode::Write, Bytes { start: 0, length: 10 }, file)?, "ok")?;
    expect(&second.lock(Mode::Read, Bytes { start: 20, length: 0 }, file)?, "ok")?;
    expect(&second.wait(Mode::Write, Bytes::one(5), file)?, "asleep")?;
    for id in [1, 2] {
        cluster.node(id).wait_for("dlm_tool plocks fs | grep WAITING", CHANGE)?;
    }
    ask(cluster, "a file system and locks")?;
    for id in [1, 2] {
        command(cluster.node(id))?;
    }

    cluster.fence_mode(FenceMode::Delay(SLOW_SWITCH))?;
    cluster.node(3).kill()?;
    for id in [1, 2] {
        waits_for(cluster.node(id), "fencing")?;
    }
    ask(cluster, "fencing is awaited")?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], SLOW_SWITCH + RECOVERY)?;
    }
    cluster.fence_mode(FenceMode::Ok)?;
    ask(cluster, "recovered")?;
    cluster.node(3).boot()?;
    acknowledge(cluster)
}

/// `calls.c` for the library under test, or for Debian's; it is built here, as there is no compiler in the machines.
fn compile(cluster: &Cluster) -> Result<Option<Vec<u8>>> {
    let Some(library) = &cluster.options().library else { return Ok(None) };
    let program = cluster.state().run_file("calls");
    let mut compiler = Command::new("cc");
    compiler.args(["-I", HEADERS, CALLS_SOURCE]).arg(library).arg("-o").arg(&program);
    let output = compiler.output().context("run cc")?;
    ensure!(output.status.success(), "cc: {}", String::from_utf8_lossy(&output.stderr));
    Ok(Some(fs::read(&program).with_context(|| format!("read {}", Path::display(&program)))?))
}

/// Lockspaces are created and left by the tool under test as by Debian's, to the byte, refusals included.
fn create(node: Node<'_>) -> Result<()> {
    const STEPS: [&str; 11] = [
        "join t1",
        "join -e 1 t1",
        "ls t1",
        "leave t1",
        "leave t1",
        "join -e 1 -f 1 -m 644 t2",
        "leave t2",
        "joinleave t3",
        "join a-name-of-more-than-the-sixty-four-bytes-that-a-lockspace-can-have-in-all",
        "leave nosuch",
        "ls",
    ];
    let by = |tool: &str| {
        let steps = STEPS.map(|step| {
            format!("echo '-- {step}'; {tool} {step} 2>&1; echo \"exit status $?\"; ls -l /dev/misc/dlm_t* 2>/dev/null | cut -c 1-10\n")
        });
        node.ok_within(&steps.concat(), 4 * COMMAND)
    };
    // The number of a lockspace's changes begins anew with each join.
    let (debian, ours) = (by("dlm_tool.c")?, by("dlm_tool")?);
    ensure!(debian.contains("exit status 255"), "nothing was refused: {debian}");
    ensure!(debian == ours, "Debian's dlm_tool:\n{debian}\nthe one under test:\n{ours}");
    Ok(())
}

/// Options are set, given back and read again, and commands run on the other nodes.
fn command(node: Node<'_>) -> Result<()> {
    const SETTING: &str = "drop_resources_age";
    let shows = |line: &str| {
        node.wait_for(&format!("dlm_tool dump_config | grep -E '^{SETTING}={line}$'"), CHANGE)
    };
    let done = |command: &str, said: &str| -> Result<()> {
        let told = node.ok(&format!("dlm_tool {command}"))?;
        ensure!(told == format!("{said} done\n"), "dlm_tool {command}: {told}");
        Ok(())
    };
    done(&format!("set_config {SETTING}=12345"), "set_config")?;
    shows("12345 \\(set_config\\)")?;
    done(&format!("set_config {SETTING}=restore"), "set_config")?;
    shows("10000")?;
    done("reload_config", "reload_config")?;
    let ran = node.ok_within("dlm_tool -i 20 run -- lvm lvs", COMMAND)?;
    ensure!(ran.ends_with("check_status: done \n"), "dlm_tool run: {ran}");
    let listed = node.ok("dlm_tool run_list")?;
    ensure!(listed == "\n", "the command is still listed: {listed}");
    Ok(())
}

/// An operator's word by the tool under test, to the daemon of node 1, in place of a fencing that fails.
fn acknowledge(cluster: &Cluster) -> Result<()> {
    cluster.node(3).mount()?;
    cluster.node(3).wait_lockspace(FILE_SYSTEM, &[1, 2, 3], CHANGE)?;
    cluster.fence_mode(FenceMode::Fail)?;
    cluster.node(3).kill()?;
    for id in [1, 2] {
        waits_for(cluster.node(id), "fencing")?;
    }
    cluster.node(1).ok("dlm_tool fence_ack 3")?;
    for id in [1, 2] {
        cluster.node(id).wait_lockspace(FILE_SYSTEM, &[1, 2], RECOVERY)?;
    }
    cluster.fence_mode(FenceMode::Ok)
}

fn ask(cluster: &Cluster, state: &str) -> Result<()> {
    let library = cluster.options().library.as_ref();
    let stable: Vec<&str> =
        OF_TOOL.into_iter().chain(library.into_iter().flat_map(|_| OF_LIBRARY)).collect();
    for node in [cluster.node(1), cluster.node(2)] {
        let whose = match cluster.options().daemon_of(node.id()) {
            Daemon::C => "C daemon",
            Daemon::Ours(_) => "daemon of ours",
        };
        let compare =
            |questions| compare(node, questions).with_context(|| format!("{whose}, {state}"));
        ensure!(compare(&stable)?, "{whose}, {state}: Debian's own answers change");
        let mut changing = Vec::new();
        for question in &CHANGING {
            if !compare(std::slice::from_ref(question))? {
                changing.push(*question);
            }
        }
        let same = stable.len() + CHANGING.len() - changing.len();
        println!("     {whose}, {state}: {same} answers are the same to the byte");
        if !changing.is_empty() {
            println!("     not deterministic, so not compared: {}", changing.join(", "));
        }
    }
    Ok(())
}

/// `false`: they cannot be compared.
fn compare(node: Node<'_>, questions: &[&str]) -> Result<bool> {
    let words: Vec<String> = questions.iter().map(|question| format!("'{question}'")).collect();
    let output = node.sh_within(&format!("/run/ask-both {}", words.join(" ")), PATIENCE)?;
    match output.status {
        0 => Ok(true),
        2 => Ok(false),
        status => bail!("exit {status}\n{}{}", output.out, output.err),
    }
}
