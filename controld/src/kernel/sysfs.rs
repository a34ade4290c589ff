//! Objects in sysfs: a lockspace of the kernel, and the lock module of a gfs2 (spec/kernel-interfaces.md sections 3, 8).
//!
//! Values go in as decimal text with a trailing NUL in one write, as the C daemon writes them.

use crate::kernel::error::{KernelError, Operation};
use crate::kernel::root::Root;
use dlm_core::types::{GlobalId, LockspaceName};
use std::fmt::Display;
use std::path::{Path, PathBuf};
use sysfs_class::SysClass;

/// The value of `control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// `0`: keep requests out. Returns when locking activity has ceased, which may be never.
    Stop,
    /// `1`: read the members from configfs and begin recovery; does not wait for its end.
    Start,
}

/// `/sys/kernel/dlm/<lockspace>`
#[derive(Clone, Debug)]
pub struct DlmLockspace {
    path: PathBuf,
}

#[expect(unsafe_code, reason = "the trait declares a constructor without checks as unsafe")]
impl SysClass for DlmLockspace {
    fn base() -> &'static str {
        "kernel"
    }

    fn class() -> &'static str {
        "dlm"
    }

    unsafe fn from_path_unchecked(path: PathBuf) -> Self {
        Self { path }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl DlmLockspace {
    /// The lockspace of that name below a root; it need not exist.
    #[must_use]
    pub fn at(root: &Root, lockspace: &LockspaceName) -> Self {
        Self { path: root.sysfs_lockspace(lockspace) }
    }

    /// Stop or start. A start of a lockspace that runs has no effect and yet succeeds; so has one without members.
    ///
    /// # Errors
    /// The path, the value and errno.
    pub fn set_control(&self, control: Control) -> Result<(), KernelError> {
        let value = match control {
            Control::Stop => 0,
            Control::Start => 1,
        };
        write(self, "control", value)
    }

    /// The result for whoever waits for the creation (0 or a negative errno) or for the release.
    ///
    /// # Errors
    /// The path, the value and errno.
    pub fn set_event_done(&self, result: i32) -> Result<(), KernelError> {
        write(self, "event_done", result)
    }

    /// The lockspace's id on the kernel's wire.
    ///
    /// # Errors
    /// The path, the value and errno.
    pub fn set_id(&self, id: GlobalId) -> Result<(), KernelError> {
        write(self, "id", id.0)
    }

    /// Set the mode without a resource directory; it cannot be taken back.
    ///
    /// # Errors
    /// The path, the value and errno.
    pub fn set_nodir(&self) -> Result<(), KernelError> {
        write(self, "nodir", 1)
    }

    /// The id as the kernel has it.
    ///
    /// # Errors
    /// The path and errno.
    pub fn id(&self) -> Result<GlobalId, KernelError> {
        number(self, "id", 10).map(GlobalId)
    }

    /// Bits of how far recovery has come: 1 nodes, 2 nodes of all, 4 and 8 directory, 0x10 and 0x20 locks, 0x40 and 0x80
    /// done.
    ///
    /// # Errors
    /// The path and errno.
    pub fn recover_status(&self) -> Result<u32, KernelError> {
        number(self, "recover_status", 16)
    }

    /// The node that recovery waits for; 0 for none.
    ///
    /// # Errors
    /// The path and errno.
    pub fn recover_nodeid(&self) -> Result<u32, KernelError> {
        number(self, "recover_nodeid", 10)
    }
}

/// `/sys/fs/gfs2/<table>`
#[derive(Clone, Debug)]
pub struct Gfs2 {
    path: PathBuf,
}

#[expect(unsafe_code, reason = "the trait declares a constructor without checks as unsafe")]
impl SysClass for Gfs2 {
    fn base() -> &'static str {
        "fs"
    }

    fn class() -> &'static str {
        "gfs2"
    }

    unsafe fn from_path_unchecked(path: PathBuf) -> Self {
        Self { path }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Gfs2 {
    /// The gfs2 with that lock table (`cluster:name`) below a root. In sysfs a `/` of the table is a `!`.
    ///
    /// # Errors
    /// The table cannot be the name of a directory.
    pub fn at(root: &Root, table: &str) -> Result<Self, KernelError> {
        let name = table.replace('/', "!");
        if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
            return Err(KernelError::BadTable { table: table.to_owned() });
        }
        Ok(Self { path: root.sysfs_gfs2().join(name) })
    }

    /// Acknowledge a withdraw; to do it twice is harmless.
    ///
    /// # Errors
    /// The path, the value and errno.
    pub fn acknowledge_withdraw(&self) -> Result<(), KernelError> {
        write(self, "lock_module/withdraw", 1)
    }
}

/// Write an attribute: decimal text and a NUL.
fn write(object: &impl SysClass, attribute: &str, value: impl Display) -> Result<(), KernelError> {
    let value = value.to_string();
    object.write_file(attribute, format!("{value}\0")).map_err(|source| KernelError::Write {
        value,
        path: object.path().join(attribute),
        source,
    })
}

/// Read an attribute that is a number.
fn number(object: &impl SysClass, attribute: &str, radix: u32) -> Result<u32, KernelError> {
    let path = object.path().join(attribute);
    let content = object.trim_file(attribute).map_err(KernelError::path(Operation::Read, &path))?;
    u32::from_str_radix(&content, radix).map_err(|_| KernelError::Content { path, content })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::TestTree;

    fn lockspace(tree: &TestTree) -> DlmLockspace {
        tree.lockspace("fs");
        DlmLockspace::at(tree.root(), &LockspaceName::new(b"fs").unwrap())
    }

    #[test]
    fn values_end_in_a_nul() {
        let tree = TestTree::new();
        let object = lockspace(&tree);
        object.set_control(Control::Stop).unwrap();
        object.set_event_done(-17).unwrap();
        object.set_id(GlobalId(u32::MAX)).unwrap();
        object.set_nodir().unwrap();
        for (name, bytes) in [
            ("control", &b"0\0"[..]),
            ("event_done", b"-17\0"),
            ("id", b"4294967295\0"),
            ("nodir", b"1\0"),
        ] {
            assert_eq!(tree.read(&format!("sys/kernel/dlm/fs/{name}")), bytes);
        }
        object.set_control(Control::Start).unwrap();
        assert_eq!(tree.read("sys/kernel/dlm/fs/control"), b"1\0");
    }

    #[test]
    fn a_withdraw_is_acknowledged_below_the_table() {
        let tree = TestTree::new();
        tree.file("sys/fs/gfs2/lab:a!b/lock_module/withdraw", b"");
        Gfs2::at(tree.root(), "lab:a/b").unwrap().acknowledge_withdraw().unwrap();
        assert_eq!(tree.read("sys/fs/gfs2/lab:a!b/lock_module/withdraw"), b"1\0");
        for bad in ["", ".", "..", "a\0b"] {
            assert!(
                matches!(Gfs2::at(tree.root(), bad), Err(KernelError::BadTable { .. })),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn recovery_is_read_in_the_radix_that_the_kernel_prints() {
        let tree = TestTree::new();
        let object = lockspace(&tree);
        tree.file("sys/kernel/dlm/fs/recover_status", b"c0\n");
        tree.file("sys/kernel/dlm/fs/recover_nodeid", b"12\n");
        tree.file("sys/kernel/dlm/fs/id", b"3501597158\n");
        assert_eq!(object.recover_status().unwrap(), 0xc0);
        assert_eq!(object.recover_nodeid().unwrap(), 12);
        assert_eq!(object.id().unwrap(), GlobalId(3_501_597_158));
        tree.file("sys/kernel/dlm/fs/recover_nodeid", b"none\n");
        assert!(matches!(object.recover_nodeid(), Err(KernelError::Content { .. })));
    }

    #[test]
    fn a_failed_write_names_path_value_and_errno() {
        let tree = TestTree::new();
        let error = DlmLockspace::at(tree.root(), &LockspaceName::new(b"gone").unwrap())
            .set_event_done(-1)
            .unwrap_err();
        assert_eq!(error.errno(), Some(libc::ENOENT));
        let text = error.to_string();
        assert!(
            text.contains("\"-1\"")
                && text.contains("gone/event_done")
                && text.contains("os error 2"),
            "{text}"
        );
    }
}
