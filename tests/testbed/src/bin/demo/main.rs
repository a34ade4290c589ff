//! `make demo`: three real daemons on the testbed; one node is killed, and the recovery is shown as a timeline.

mod timeline;

use anyhow::{Context as _, bail};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use testbed::kernel::Callback;
use testbed::lab::{Lab, PATIENCE, Programs};
use testbed::live::{Options, Sight, What};

/// The lockspace that everybody joins.
const LOCKSPACE: &str = "demo";

/// The node that is killed.
const VICTIM: u32 = 3;

/// The nodes that go on.
const SURVIVORS: [u32; 2] = [1, 2];

/// For every node's dlm.conf. Short: nobody has to be waited for when all daemons start at once.
const SETTINGS: &str = "post_join_delay=5\n";

fn main() -> ExitCode {
    match demo() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> anyhow::Result<()> {
    let begin = Instant::now();
    let program = std::env::current_exe().context("find this program")?;
    let directory: PathBuf = program.parent().context("find this program")?.into();
    let programs = Programs::in_directory(&directory)?;
    let seed = u64::from(std::process::id());
    let options = Options { nodes: 3, seed, token: Duration::from_millis(1000) };
    let mut lab = Lab::new(programs, options, SETTINGS)?;
    println!("testbed in {}, seed {seed}", lab.directory().display());
    let logs = lab.directory().to_owned();
    show(&mut lab).with_context(|| format!("failed; logs of the daemons: {}", logs.display()))?;
    lab.discard();
    println!("\nAll daemons ended in order. The demo took {:.1} s.", begin.elapsed().as_secs_f64());
    Ok(())
}

fn show(lab: &mut Lab) -> anyhow::Result<()> {
    println!("\n--- three daemons start, each in a network and mount namespace of its own");
    for node in 1..=VICTIM {
        lab.start_daemon(node)?;
    }
    for node in 1..=VICTIM {
        lab.wait_for_tool(node, &["status"], "three members", |text| {
            text.lines().filter(|line| line.starts_with("node ") && line.contains(" M ")).count()
                == 3
        })?;
    }
    println!("--- all three join lockspace {LOCKSPACE}");
    for node in 1..=VICTIM {
        lab.command(&format!("join {node} {LOCKSPACE}"))?;
    }
    for node in 1..=VICTIM {
        lab.wait_for_tool(node, &["ls"], "lockspace of three members", |text| {
            runs_with(text, "1 2 3")
        })?;
    }
    if !lab.testbed().wait_until(PATIENCE, |sights| unblocked(sights, &[1, 2, VICTIM])) {
        bail!("the kernels have not completed their first recovery");
    }
    print_tool(lab, 1, &["ls"])?;
    print_tool(lab, 1, &["status"])?;

    println!("--- node {VICTIM} is killed");
    let (seen, killed) = (lab.testbed().sights().len(), Instant::now());
    lab.kill_daemon(VICTIM)?;
    let recovered =
        |sights: &[Sight]| sights.get(seen..).is_some_and(|sights| unblocked(sights, &SURVIVORS));
    if !lab.testbed().wait_until(PATIENCE, recovered) {
        bail!("nodes 1 and 2 have not recovered in {PATIENCE:?}");
    }
    for node in SURVIVORS {
        lab.wait_for_tool(node, &["ls"], "lockspace of two members", |text| {
            runs_with(text, "1 2")
        })?;
    }
    let lines = SURVIVORS.iter().map(|node| Ok((*node, lab.daemon_lines(*node)?)));
    let lines = lines.collect::<anyhow::Result<Vec<_>>>()?;
    let sights = lab.testbed().sights();
    print!("{}", timeline::text(&sights, &lines, killed));
    println!("\n{}", timeline::summary(&sights, killed, &SURVIVORS, VICTIM)?);
    print_tool(lab, 1, &["ls"])?;
    print_tool(lab, 1, &["status"])?;
    end(lab)
}

/// Leave, SIGTERM, and all is over.
fn end(lab: &mut Lab) -> anyhow::Result<()> {
    println!("--- nodes 1 and 2 leave the lockspace, their daemons get SIGTERM");
    for node in SURVIVORS {
        lab.command(&format!("leave {node} {LOCKSPACE}"))?;
    }
    for node in SURVIVORS {
        lab.wait_for_tool(node, &["ls"], "end of the lockspace", |text| !text.contains("name "))?;
    }
    for node in SURVIVORS {
        lab.terminate_daemon(node)?;
        let status = lab.daemon_ended(node)?;
        println!("node {node}: dlm_controld ends: {status}");
        if status.code() != Some(0) {
            bail!("the daemon of node {node} did not end in order: {status}");
        }
    }
    Ok(())
}

/// `dlm_tool ls` shows a lockspace that runs with these members.
fn runs_with(text: &str, members: &str) -> bool {
    let line = format!("members       {members} ");
    text.lines().any(|found| found == line) && !text.contains("new change")
}

/// The file systems of these nodes have been blocked no more by the end of these sights.
fn unblocked(sights: &[Sight], nodes: &[u32]) -> bool {
    nodes.iter().all(|node| {
        let of_node = sights.iter().rev().filter(|sight| sight.node.get() == *node);
        let mut calls = of_node.filter_map(|sight| match &sight.what {
            What::Called(_, callback) => Some(callback),
            _ => None,
        });
        calls.next() == Some(&Callback::RecoverDone)
    })
}

fn print_tool(lab: &Lab, node: u32, arguments: &[&str]) -> anyhow::Result<()> {
    let said = lab.tool(node, arguments)?;
    println!("\nnode {node}# dlm_tool {}", arguments.join(" "));
    print!("{}{}", said.out, said.err);
    if said.status != Some(0) {
        bail!("dlm_tool {} on node {node} failed: {:?}", arguments.join(" "), said.status);
    }
    Ok(())
}
