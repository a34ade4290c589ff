//! What keeps the daemon from starting, and what an administrator is told.

use super::*;
use crate::daemon::{FAILURE, ending};
use crate::kernel::testtree::TestTree;
use crate::logging::LogOptions;
use crate::reactor::Reactor;
use dlm_core::types::Group;
use std::sync::atomic::{AtomicU32, Ordering};

/// A log for one test.
fn logger() -> Logger {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("dlm-startup-{}-{number}.log", std::process::id());
    let file = std::env::temp_dir().join(name);
    Logger::start(LogOptions { journal: Switch::Off, file, ..LogOptions::default() }).unwrap()
}

fn said(logger: &Logger) -> String {
    String::from_utf8(logger.dump()).unwrap()
}

/// Notes whom it was asked to remove.
#[derive(Default)]
struct Kicks(Vec<NodeId>);

impl Cluster for Kicks {
    fn join(&mut self, _: &Group) {}
    fn leave(&mut self, _: &Group) {}
    fn send(&mut self, _: &Group, _: Vec<u8>) {}
    fn kick(&mut self, node: NodeId) {
        self.0.push(node);
    }
    fn answer_shutdown(&mut self, _: bool) {}
}

fn refuse(tree: &TestTree, cluster: &mut Kicks, logger: &Logger) -> Result<(), StartError> {
    let configuration = Configuration {
        local: NodeId::new(7).unwrap(),
        nodes: Vec::new(),
        two_node: false,
        cluster_name: None,
        totem: None,
        rrp_mode: None,
    };
    refuse_uncontrolled(tree.root(), cluster, &configuration, logger)
}

#[test]
fn lockspaces_that_nobody_controls_have_this_node_removed() {
    let (tree, logger, mut cluster) = (TestTree::new(), logger(), Kicks::default());
    refuse(&tree, &mut cluster, &logger).unwrap();
    assert!(cluster.0.is_empty());
    tree.lockspace("data");
    tree.lockspace("fs");
    let why = refuse(&tree, &mut cluster, &logger).unwrap_err().to_string();
    assert!(why.starts_with("found uncontrolled lockspaces data fs: "), "{why}");
    assert!(why.ends_with("reboot it"), "{why}");
    assert_eq!(cluster.0, [NodeId::new(7).unwrap()]);
    let said = said(&logger);
    for line in [
        "found uncontrolled lockspace data",
        "found uncontrolled lockspace fs",
        "tell corosync to remove nodeid 7 from cluster",
    ] {
        assert!(said.contains(line), "{said}");
    }
}

/// The lockspaces of a dead daemon keep their nodes' entries; all other failures leave nothing behind.
#[test]
fn refused_start_leaves_the_kernel_as_it_is() {
    let (tree, logger) = (TestTree::new(), logger());
    let entry = tree.root().comms().join("7");
    std::fs::create_dir_all(&entry).unwrap();
    tree.lockspace("fs");
    let refused = refuse(&tree, &mut Kicks::default(), &logger).unwrap_err();
    assert_eq!(ending::after_failed_start(refused, tree.root(), &logger), FAILURE);
    assert!(entry.exists());
    ending::after_failed_start(KernelError::NoClusterName.into(), tree.root(), &logger);
    assert!(!entry.exists());
}

#[tokio::test]
async fn without_corosync_the_daemon_says_so_and_fails() {
    let (reactor, logger) = (Reactor::new().unwrap(), logger());
    let Err(failure) = connect_corosync(&logger, reactor.registry()).await else {
        crate::skipped::skipped("corosync runs here");
        return;
    };
    let why = failure.to_string();
    assert!(why.starts_with("cannot connect to corosync's "), "{why}");
    assert!(why.contains("is corosync running?"), "{why}");
    assert_eq!(ending::after_failed_start(failure, &Root::default(), &logger), FAILURE);
}
