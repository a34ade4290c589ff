//! What the daemon does with the kernel before it begins, and when it ends. These calls are short, and run while the event
//! loop has nothing else to do.

use crate::kernel::attributes::{self, ClusterAttributes};
use crate::kernel::error::KernelError;
use crate::kernel::files::{Files, OsFiles};
use crate::kernel::root::Root;
use crate::kernel::scan;
use crate::kernel::write::Journal;
use dlm_core::effect::LogLine;
use dlm_core::types::LockspaceName;

/// Lockspaces that the kernel has although no daemon serves them: left over from a daemon that died. While there is one,
/// the daemon must not join anything, and asks for this node's removal instead.
///
/// # Errors
/// `/sys/kernel/dlm` cannot be read.
pub fn check_uncontrolled(root: &Root) -> Result<Vec<LockspaceName>, KernelError> {
    Ok(scan::lockspaces(root)?.into_keys().collect())
}

/// Clear what an earlier daemon left in configfs, and set up the cluster's settings. The lines come also with a failure.
///
/// # Errors
/// See [`attributes::set_cluster`].
pub fn prepare_configfs(
    root: &Root,
    attributes: &ClusterAttributes,
) -> (Vec<LogLine>, Result<(), KernelError>) {
    prepare_with(&OsFiles, root, attributes)
}

fn prepare_with(
    files: &impl Files,
    root: &Root,
    attributes: &ClusterAttributes,
) -> (Vec<LogLine>, Result<(), KernelError>) {
    let mut journal = Journal::default();
    attributes::clear(files, root, &mut journal);
    let result = attributes::set_cluster(files, root, attributes, &mut journal);
    (journal.into_lines(), result)
}

/// Clear configfs at the daemon's end. What cannot be removed is in the lines.
#[must_use]
pub fn clear_configfs(root: &Root) -> Vec<LogLine> {
    let mut journal = Journal::default();
    attributes::clear(&OsFiles, root, &mut journal);
    journal.into_lines()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::{ModelConfigfs, TestTree};
    use dlm_core::options::Switch;

    #[test]
    fn uncontrolled_lockspaces_are_named() {
        let tree = TestTree::new();
        assert!(check_uncontrolled(tree.root()).unwrap().is_empty());
        tree.lockspace("fs");
        assert_eq!(check_uncontrolled(tree.root()).unwrap(), [LockspaceName::new(b"fs").unwrap()]);
    }

    #[test]
    fn what_an_earlier_daemon_left_is_cleared_first() {
        let tree = TestTree::new();
        tree.cluster();
        let files = ModelConfigfs::default();
        files.mkdir(&tree.root().cluster().join("comms/7")).unwrap();
        files.taken();
        let attributes = ClusterAttributes {
            log_debug: None,
            tcp_port: None,
            mark: 0,
            protocol: None,
            recover_callbacks: Switch::On,
            cluster_name: Some("lab".to_owned()),
        };
        prepare_with(&files, tree.root(), &attributes).1.unwrap();
        assert_eq!(files.taken()[..3], ["rmdir /comms/7", "rmdir", "mkdir"]);
    }
}
