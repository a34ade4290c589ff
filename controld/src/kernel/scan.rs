//! The lockspaces that the kernel has, from sysfs.

use crate::kernel::error::KernelError;
use crate::kernel::files::list;
use crate::kernel::root::Root;
use dlm_core::types::LockspaceName;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;

/// The life of a lockspace's directory: the inode number, which a later directory of that name does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life(u64);

/// Every lockspace of the kernel, with its directory's life. A missing `/sys/kernel/dlm` (no dlm yet) has none.
///
/// # Errors
/// The directory cannot be read.
pub fn lockspaces(root: &Root) -> Result<BTreeMap<LockspaceName, Life>, KernelError> {
    let directory = root.sysfs_lockspaces();
    let mut found = BTreeMap::new();
    for name in list(&directory, |_| true)? {
        if name.as_bytes().starts_with(b".") {
            continue;
        }
        // The kernel's own limit is that of the type.
        if let (Some(lockspace), Some(life)) =
            (LockspaceName::new(name.as_bytes()), life_of(root, name.as_bytes()))
        {
            found.insert(lockspace, life);
        }
    }
    Ok(found)
}

/// The life of a lockspace's directory; `None` where it is gone.
#[must_use]
pub fn life(root: &Root, lockspace: &LockspaceName) -> Option<Life> {
    life_of(root, lockspace.as_bytes())
}

fn life_of(root: &Root, name: &[u8]) -> Option<Life> {
    let path = root.sysfs_lockspaces().join(std::ffi::OsStr::from_bytes(name));
    fs::metadata(path).ok().map(|metadata| Life(metadata.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::TestTree;

    #[test]
    fn no_dlm_means_no_lockspaces() {
        let tree = TestTree::new();
        assert!(lockspaces(tree.root()).unwrap().is_empty());
    }

    #[test]
    fn every_entry_but_hidden_ones_is_a_lockspace() {
        let tree = TestTree::new();
        tree.lockspace("b");
        tree.lockspace("a!x");
        tree.lockspace(".hidden");
        let names: Vec<_> =
            lockspaces(tree.root()).unwrap().into_keys().map(|name| name.to_string()).collect();
        assert_eq!(names, ["a!x", "b"]);
    }
}
