//! Every path of the kernel seam, below one root: `/` in the daemon, a model tree in tests.
//!
//! Names from outside reach a path only as [`LockspaceName`], [`NodeId`] or a checked table name, so that none can leave
//! its directory.

use dlm_core::types::{LockspaceName, NodeId};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// The directory that stands for `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self::new("/")
    }
}

impl Root {
    /// A root at the given directory, which need not exist yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// A path below the root, given as on the real system but without its leading `/`.
    #[must_use]
    pub fn join(&self, path: impl AsRef<Path>) -> PathBuf {
        self.0.join(path)
    }

    /// `/sys/kernel/dlm`: a directory for each lockspace of the kernel.
    #[must_use]
    pub fn sysfs_lockspaces(&self) -> PathBuf {
        self.join("sys/kernel/dlm")
    }

    /// `/sys/kernel/dlm/<lockspace>`
    #[must_use]
    pub fn sysfs_lockspace(&self, lockspace: &LockspaceName) -> PathBuf {
        self.sysfs_lockspaces().join(component(lockspace))
    }

    /// `/sys/fs/gfs2`: a directory for each mounted gfs2.
    #[must_use]
    pub fn sysfs_gfs2(&self) -> PathBuf {
        self.join("sys/fs/gfs2")
    }

    /// `/sys/kernel/config`: the mount point of configfs.
    #[must_use]
    pub fn configfs(&self) -> PathBuf {
        self.join("sys/kernel/config")
    }

    /// `/sys/kernel/config/dlm/cluster`: made by us. The kernel knows no other name.
    #[must_use]
    pub fn cluster(&self) -> PathBuf {
        self.configfs().join("dlm/cluster")
    }

    /// `comms`: node addresses.
    #[must_use]
    pub fn comms(&self) -> PathBuf {
        self.cluster().join("comms")
    }

    /// `comms/<node>`
    #[must_use]
    pub fn comm(&self, node: NodeId) -> PathBuf {
        self.comms().join(node.to_string())
    }

    /// `spaces`: members of lockspaces.
    #[must_use]
    pub fn spaces(&self) -> PathBuf {
        self.cluster().join("spaces")
    }

    /// `spaces/<lockspace>`
    #[must_use]
    pub fn space(&self, lockspace: &LockspaceName) -> PathBuf {
        self.spaces().join(component(lockspace))
    }

    /// `/dev/misc/<name>`
    #[must_use]
    pub fn misc_device(&self, name: &str) -> PathBuf {
        self.join("dev/misc").join(name)
    }
}

/// A lockspace's name as one component of a path; its type guarantees that it is one.
fn component(lockspace: &LockspaceName) -> &OsStr {
    OsStr::from_bytes(lockspace.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_not_text_stay_as_they_are() {
        let name = LockspaceName::new(b"a\xff!b").unwrap();
        assert_eq!(
            Root::default().sysfs_lockspace(&name).as_os_str().as_bytes(),
            b"/sys/kernel/dlm/a\xff!b"
        );
        assert_eq!(
            Root::new("/t").space(&name).as_os_str().as_bytes(),
            b"/t/sys/kernel/config/dlm/cluster/spaces/a\xff!b"
        );
    }
}
