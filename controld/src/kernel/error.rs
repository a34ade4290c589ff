//! What can go wrong between us and the kernel: always the operation, the path, the value and the errno.

use dlm_core::types::NodeId;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What was attempted on a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Open a file or device.
    Open,
    /// Read a file.
    Read,
    /// List a directory.
    List,
    /// Make a directory.
    Mkdir,
    /// Remove a directory.
    Rmdir,
    /// Move the reading position.
    Seek,
    /// Watch a directory for changes.
    Watch,
    /// Hand a descriptor to the event loop.
    Register,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open => "open",
            Self::Read => "read",
            Self::List => "list",
            Self::Mkdir => "mkdir",
            Self::Rmdir => "rmdir",
            Self::Seek => "seek",
            Self::Watch => "watch",
            Self::Register => "wait for",
        })
    }
}

/// A failure of the kernel seam.
#[derive(Debug, Error)]
pub enum KernelError {
    /// A call on a path failed.
    #[error("{operation} {path:?}: {source}")]
    Path {
        /// What was attempted.
        operation: Operation,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A write failed, or the opening for it.
    #[error("write \"{value}\" to {path:?}: {source}")]
    Write {
        /// What was to be written, as text.
        value: String,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file of the kernel holds what we cannot read.
    #[error("read {path:?}: unexpected content {content:?}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Its text.
        content: String,
    },
    /// corosync gave no address for a node, so the kernel could not talk to it.
    #[error("no address known for node {node}")]
    NoAddress {
        /// Which.
        node: NodeId,
    },
    /// A write about a lockspace in the cluster's lane, or the other way round.
    #[error("the lane does not fit the write")]
    WrongLane,
    /// A lock table that cannot be a directory's name.
    #[error("lock table {table:?} is not a name in sysfs")]
    BadTable {
        /// As gfs2 named it.
        table: String,
    },
    /// The kernel has no configfs. The text begins as the C daemon's.
    #[error("No /sys/kernel/config, is configfs loaded? (modprobe configfs)")]
    NoConfigfs,
    /// The kernel has configfs, and nobody has mounted it.
    #[error(
        "configfs is not mounted at /sys/kernel/config: mount -t configfs none /sys/kernel/config"
    )]
    ConfigfsNotMounted,
    /// The dlm's directory in configfs is missing. The text begins as the C daemon's.
    #[error("No /sys/kernel/config/dlm, is the dlm loaded? (modprobe dlm)")]
    NoDlm,
    /// The cluster has no name, without which no file system of the cluster could be mounted.
    #[error("no cluster name: set totem.cluster_name in corosync.conf")]
    NoClusterName,
    /// The device node of a misc device did not appear in time.
    #[error("cannot find device {path:?} with minor {minor}: udev makes it, is udev running?")]
    NoDevice {
        /// Where it should be.
        path: PathBuf,
        /// The minor that the kernel gave.
        minor: u32,
    },
    /// A lane's thread, or what wakes the event loop for it, could not be had.
    #[error("set up kernel writes: {0}")]
    Thread(io::Error),
    /// A lane's thread could not free itself of the process's descriptors.
    #[error("close the descriptors of a thread for kernel writes: {0}")]
    Descriptors(io::Error),
    /// More writes for one lane than it holds: the core asked for several at once.
    #[error("too many kernel writes at once for one lane")]
    LaneFull,
    /// The thread of a lane is gone.
    #[error("the thread for kernel writes is gone")]
    LaneGone,
    /// The socket for the kernel's uevents.
    #[error("uevent socket, {operation}: {source}")]
    Uevents {
        /// The call that failed.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl KernelError {
    /// For `map_err`: a call on a path failed.
    pub(crate) fn path(
        operation: Operation,
        path: &Path,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Path { operation, path, source }
    }

    /// The errno, where a system call failed.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Path { source, .. }
            | Self::Write { source, .. }
            | Self::Uevents { source, .. } => source.raw_os_error(),
            Self::Thread(source) | Self::Descriptors(source) => source.raw_os_error(),
            Self::Content { .. }
            | Self::NoAddress { .. }
            | Self::WrongLane
            | Self::BadTable { .. }
            | Self::NoConfigfs
            | Self::ConfigfsNotMounted
            | Self::NoDlm
            | Self::NoClusterName
            | Self::NoDevice { .. }
            | Self::LaneFull
            | Self::LaneGone => None,
        }
    }

    /// The path does not exist.
    pub(crate) fn is_absent(&self) -> bool {
        self.errno() == Some(libc::ENOENT)
    }
}
