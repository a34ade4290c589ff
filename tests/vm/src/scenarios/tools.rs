//! `dlm_tool` and the library under test beside Debian's, against C daemons and ours.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

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

/// Everything that `dlm_tool` can ask without changing anything.
const QUESTIONS: [&str; 25] = [
    "ls",
    "ls -n",
    "ls -v",
    "ls -s",
    "ls -w",
    "ls fs",
    "ls -n fs",
    "ls nosuch",
    "ls a-name-of-more-than-the-sixty-four-bytes-that-a-lockspace-can-have-in-all",
    "status",
    "status -v",
    "dump_config",
    "plocks fs",
    "plocks nosuch",
    "log_plock",
    "run_list",
    "run_check no-such-uuid",
    "run_cancel no-such-uuid",
    "lockdebug fs",
    "lockdebug -s fs",
    "lockdebug -v fs",
    "lockdebug -w fs",
    "lockdump fs",
    "deadlock_check fs",
    "dump",
];

/// Questions whose answers may change by themselves: both logs grow, and gfs2 gives locks back when it likes.
const MAY_CHANGE: [&str; 7] = [
    "dump",
    "log_plock",
    "lockdebug fs",
    "lockdebug -s fs",
    "lockdebug -v fs",
    "lockdebug -w fs",
    "lockdump fs",
];

/// The switch waits so long: a fencing that does not move while it is looked at.
const SLOW_SWITCH: Duration = Duration::from_secs(60);

/// What was compared on a node.
#[derive(Debug, Default)]
struct Tally {
    same: usize,
    changing: Vec<String>,
}

/// Every query of the `dlm_tool` and library under test prints what Debian's print, to the byte, and exits alike: without
/// lockspaces, with a file system and POSIX locks, while fencing is awaited, and after the recovery. Where an answer
/// changes from one moment to the next, which Debian's own two show, this is said.
pub(super) fn tools(cluster: &Cluster) -> Result<()> {
    for id in [1, 2] {
        cluster.node(id).put("/run/ask-both", 0o755, ASK_BOTH.as_bytes())?;
    }
    ask(cluster, "no lockspaces")?;

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
    ask(cluster, "recovered")
}

fn ask(cluster: &Cluster, state: &str) -> Result<()> {
    for node in [cluster.node(1), cluster.node(2)] {
        let whose = match cluster.options().daemon_of(node.id()) {
            Daemon::C => "C daemon",
            Daemon::Ours(_) => "daemon of ours",
        };
        let mut tally = Tally::default();
        for question in QUESTIONS {
            compare(node, question, &mut tally)
                .map_err(|error| error.context(format!("{whose}, {state}: dlm_tool {question}")))?;
        }
        let Tally { same, changing } = tally;
        ensure!(same + changing.len() == QUESTIONS.len(), "questions were not put");
        println!("     {whose}, {state}: {same} answers are the same to the byte");
        if !changing.is_empty() {
            println!("     not deterministic, so not compared: {}", changing.join(", "));
        }
    }
    Ok(())
}

fn compare(node: Node<'_>, question: &str, tally: &mut Tally) -> Result<()> {
    let output = node.sh_within(&format!("/run/ask-both {question}"), 2 * COMMAND)?;
    match output.status {
        0 => tally.same += 1,
        2 if MAY_CHANGE.contains(&question) => {
            tally.changing.push(question.to_owned());
        }
        2 => bail!("Debian's own answer changes at each attempt:\n{}", output.out),
        status => bail!("exit {status}\n{}{}", output.out, output.err),
    }
    Ok(())
}
