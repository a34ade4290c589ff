//! Whole daemons on a real corosync each, with the testbed's kernels and power switch. Needs root and corosync, and the
//! programs beside this one: `tests/check/tiers/namespaces` builds them.

mod daemons;

use daemons::{join, programs, start, times, wait_for_members};
use std::time::Duration;
use testbed::kernel::Callback;
use testbed::lab::{Lab, PATIENCE, Turn};
use testbed::live::{Options, Sight, What};

/// A booting daemon must not be fenced while corosync forms its rings.
const SETTINGS: &str = "post_join_delay=30\n";

/// Three nodes with a lockspace, ready for the worst.
fn cluster() -> Lab {
    let options = Options { nodes: 3, seed: 1, token: Duration::from_millis(300) };
    let mut lab = Lab::on_corosync(programs(), options, SETTINGS).unwrap();
    start(&mut lab, 3);
    for node in 1..=3 {
        assert_eq!(lab.tool(node, &["set_config", "post_join_delay=0"]).unwrap().status, Some(0));
    }
    join(&mut lab, 3, "fs");
    lab
}

/// The journal of `node` was replayed here, and the lockspace went on.
fn recovered(sights: &[Sight], here: u32, node: u32) -> bool {
    let replayed = sights.iter().position(|sight| {
        sight.node.get() == here
            && matches!(&sight.what, What::Called(_, Callback::RecoverSlot { node: failed, .. })
                if failed.get() == node)
    });
    replayed.is_some_and(|at| {
        sights.iter().skip(at).any(|sight| {
            sight.node.get() == here && matches!(sight.what, What::Called(_, Callback::RecoverDone))
        })
    })
}

fn wait_for_recovery(lab: &mut Lab, survivors: [u32; 2], failed: u32) {
    let members: String = survivors.iter().map(|node| format!("{node} ")).collect();
    for node in survivors {
        wait_for_members(lab, node, &members);
    }
    let done = |sights: &[Sight]| survivors.iter().all(|node| recovered(sights, *node, failed));
    assert!(lab.testbed().wait_until(PATIENCE, done), "{:#?}", lab.testbed().sights());
    assert_eq!(agents(lab), 1, "runs of the agent");
}

fn agents(lab: &Lab) -> usize {
    let sights = lab.testbed().sights();
    (1..=3).map(|node| times(&sights, node, |what| matches!(what, What::AgentAsks(_)))).sum()
}

/// Where the daemon may run before others at all.
#[test]
fn thread_of_corosync_runs_before_all_ordinary_load() {
    let lab = cluster();
    let allowed = !lab.tool(1, &["dump"]).unwrap().out.contains("no realtime priority: ");
    let first = if allowed { Turn::First } else { Turn::Ordinary };
    let threads = lab.daemon_threads(1).unwrap();
    let turns = ["dlm_controld", "corosync"].map(|name| threads.get(name));
    assert_eq!(turns, [Some(&first); 2], "{threads:?}");
    lab.discard();
}

#[test]
fn dead_node_is_fenced_once_and_recovered_and_comes_back() {
    let mut lab = cluster();
    lab.kill_corosync(3).unwrap();
    lab.kill_daemon(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);

    lab.restart_corosync(3).unwrap();
    lab.start_daemon(3).unwrap();
    let members = |text: &str| text.matches(" M add ").count() == 3;
    lab.wait_for_tool(3, &["status"], "members", members).unwrap();
    lab.command("join 3 fs").unwrap();
    for node in 1..=3 {
        wait_for_members(&mut lab, node, "1 2 3 ");
    }
    assert_eq!(agents(&lab), 1, "nobody was fenced for coming back");
    for node in 1..=3 {
        lab.command(&format!("leave {node} fs")).unwrap();
        lab.wait_for_tool(node, &["ls"], "end of the lockspace", |text| !text.contains("name "))
            .unwrap();
        assert_eq!(lab.terminate(node).unwrap(), Some(0));
    }
    lab.discard();
}

#[test]
fn minority_of_a_partition_stays_stopped_until_it_is_fenced() {
    let mut lab = cluster();
    let before = lab.testbed().sights().len();
    lab.cut(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    let sights = lab.testbed().sights();
    let started = sights.iter().skip(before).find(|sight| {
        sight.node.get() == 3 && matches!(sight.what, What::Called(_, Callback::RecoverDone))
    });
    assert!(started.is_none(), "{started:?}");
    // The power switch took it.
    let off = sights.iter().position(|sight| {
        sight.node.get() == 3 && matches!(&sight.what, What::PowerOff(why) if why == "fenced")
    });
    let off = off.expect("node 3 is fenced");
    let done = sights.iter().position(|sight| {
        sight.node.get() != 3
            && matches!(&sight.what, What::Called(_, Callback::RecoverSlot { .. }))
    });
    assert!(done.is_some_and(|done| off < done), "recovery before the fencing: {sights:#?}");
    lab.discard();
}

#[test]
fn dead_daemon_takes_its_node_with_it() {
    let mut lab = cluster();
    lab.kill_daemon(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    lab.discard();
}

#[test]
fn dead_corosync_under_a_lockspace_is_recovered_by_the_others() {
    let mut lab = cluster();
    lab.kill_corosync(3).unwrap();
    wait_for_recovery(&mut lab, [1, 2], 3);
    assert_eq!(lab.daemon_ended(3).unwrap().code(), Some(0), "its cluster is gone");
    lab.discard();
}
