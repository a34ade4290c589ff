//! What tests of whole daemons have in common.

use std::path::PathBuf;
use testbed::kernel::Callback;
use testbed::lab::{Lab, PATIENCE, Programs};
use testbed::live::{Sight, What};

/// The programs beside the tests.
pub(crate) fn programs() -> Programs {
    let test = std::env::current_exe().unwrap();
    let directory: PathBuf = test.parent().and_then(|deps| deps.parent()).unwrap().into();
    Programs::in_directory(&directory).unwrap()
}

/// Start all daemons, and wait until they are members.
pub(crate) fn start(lab: &mut Lab, nodes: u32) {
    for node in 1..=nodes {
        lab.start_daemon(node).unwrap();
    }
    for node in 1..=nodes {
        // A start-up list has lines of its own, in which a node that is alone is shown as a member too.
        let is_member = |line: &&str| line.starts_with("node ") && line.contains(" M add ");
        let wanted =
            |text: &str| text.lines().filter(is_member).count() == usize::try_from(nodes).unwrap();
        lab.wait_for_tool(node, &["status"], "members", wanted).unwrap();
        let agreed = |text: &str| text.contains(" daemon run ");
        lab.wait_for_tool(node, &["dump"], "protocol", agreed).unwrap();
    }
}

/// All nodes join a lockspace, in the order of their ids, and run with one another.
pub(crate) fn join(lab: &mut Lab, nodes: u32, lockspace: &str) {
    let members: String = (1..=nodes).map(|node| format!("{node} ")).collect();
    let mut so_far = String::new();
    for node in 1..=nodes {
        lab.command(&format!("join {node} {lockspace}")).unwrap();
        // One behind the other: slots are given in the order of coming.
        so_far.push_str(&format!("{node} "));
        wait_for_members(lab, node, &so_far);
    }
    for node in 1..=nodes {
        wait_for_members(lab, node, &members);
        let created = |sights: &[Sight]| times(sights, node, is_done) > 0;
        assert!(lab.testbed().wait_until(PATIENCE, created), "node {node} has no lockspace");
    }
}

/// A node's lockspace runs with these members, and no change is pending.
pub(crate) fn wait_for_members(lab: &mut Lab, node: u32, members: &str) {
    let line = format!("members       {members}");
    let runs = |text: &str| text.lines().any(|found| found == line) && !text.contains("new ");
    lab.wait_for_tool(node, &["ls"], &line, runs).unwrap();
}

pub(crate) fn is_done(what: &What) -> bool {
    matches!(what, What::Called(_, Callback::RecoverDone))
}

pub(crate) fn times(sights: &[Sight], node: u32, wanted: impl Fn(&What) -> bool) -> usize {
    sights.iter().filter(|sight| sight.node.get() == node && wanted(&sight.what)).count()
}
