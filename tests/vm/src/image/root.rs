//! The root image and the common part of the initramfs.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::kernel::Kernel;
use super::remove;
use crate::command;
use crate::state::State;

/// Modules for reaching the root image.
const FIRST_MODULES: [&str; 7] =
    ["crc32c_generic", "crc32c_intel", "libcrc32c", "virtio_pci", "virtio_blk", "ext4", "overlay"];
/// Modules in the root image.
pub(super) const MODULES: [&str; 23] = [
    "virtio_net",
    "virtio_rng",
    "configfs",
    "dlm",
    "gfs2",
    "ocfs2",
    "ocfs2_stack_user",
    "ocfs2_stackglue",
    "dm-mod",
    "md-cluster",
    "raid1",
    "sctp",
    "nf_tables",
    "nft_ct",
    "nft_reject",
    "nft_reject_ipv4",
    "sch_netem",
    "softdog",
    "fuse",
    "unix_diag",
    "inet_diag",
    "tcp_diag",
    "crc32c_generic",
];
/// Parts of packages that no test reads.
const LEFT_OUT: [&str; 7] = [
    "share/doc/*",
    "share/man/*",
    "share/locale/*",
    "share/i18n/*",
    "share/zoneinfo/*",
    "share/perl/*",
    "lib/x86_64-linux-gnu/perl/*",
];
/// Programs of busybox's, where no package brings its own.
const BUSYBOX_GUEST: [&str; 5] = ["vi", "less", "nc", "top", "free"];
const BUSYBOX_INITRAMFS: [&str; 8] =
    ["cat", "cp", "insmod", "mkdir", "mount", "sh", "switch_root", "usleep"];
/// Room left in the root image: it is never written to, but ext4 needs some for itself.
const SPARE_MIB: u64 = 40;

/// Unpacks the packages and makes the image. No maintainer script runs: nothing of the guest is
/// executed on the host.
pub(super) fn build(state: &State, packages: &[PathBuf], kernel: &Kernel) -> Result<()> {
    let root = state.file("root");
    remove(&root)?;
    for folder in ["bin", "sbin", "lib", "lib64"] {
        make(&root.join("usr").join(folder))?;
        link(&format!("usr/{folder}"), &root.join(folder))?;
    }
    let left_out: String =
        LEFT_OUT.iter().map(|part| format!(" --exclude './usr/{part}'")).collect();
    let unpack = format!(
        "dpkg-deb --fsys-tarfile \"$1\" | tar -x -C \"$2\" --keep-directory-symlink{left_out}"
    );
    for package in packages {
        command::shell(&unpack, &[&package.to_string_lossy(), &root.to_string_lossy()])?;
    }
    finish(&root)?;
    copy_modules(&root, kernel)?;
    let image = state.file("root.img");
    remove(&image)?;
    let root = root.to_string_lossy();
    let size = command::run("du", &["-sm", &root])?;
    let size: u64 = size.split_whitespace().next().unwrap_or_default().parse().context("du -sm")?;
    let size = format!("{}M", size + SPARE_MIB);
    let features = "^has_journal,^metadata_csum";
    let image = image.to_string_lossy();
    command::run(
        "mke2fs",
        &["-q", "-t", "ext4", "-O", features, "-m", "0", "-d", &root, &image, &size],
    )?;
    Ok(())
}

/// What the packages' scripts would have done, as far as it matters here.
fn finish(root: &Path) -> Result<()> {
    for file in ["passwd", "group"] {
        let from = root.join(format!("usr/share/base-passwd/{file}.master"));
        fs::copy(&from, root.join("etc").join(file))
            .with_context(|| format!("copy {}", from.display()))?;
    }
    if !root.join("usr/bin/sh").exists() {
        link("dash", &root.join("usr/bin/sh"))?;
    }
    // mawk is reached through alternatives, which are set up by scripts.
    if !root.join("usr/bin/awk").exists() {
        link("mawk", &root.join("usr/bin/awk"))?;
    }
    for name in BUSYBOX_GUEST {
        let there =
            ["bin", "sbin"].iter().any(|folder| root.join("usr").join(folder).join(name).exists());
        if !there {
            link("busybox", &root.join("usr/bin").join(name))?;
        }
    }
    for folder in ["vm", "proc", "sys", "dev", "run", "tmp", "root", "mnt/gfs2", "var/log"] {
        make(&root.join(folder))?;
    }
    if fs::symlink_metadata(root.join("var/run")).is_err() {
        link("../run", &root.join("var/run"))?;
    }
    // Beside the one under test, which may lie over it.
    let tool = root.join("usr/sbin/dlm_tool");
    fs::copy(&tool, root.join("usr/sbin/dlm_tool.c"))
        .with_context(|| format!("copy {}", tool.display()))?;
    // The fence agent is the agent under another name.
    link("/vm/dlm-vm-agent", &root.join("usr/sbin/fence_vm"))
}

fn copy_modules(root: &Path, kernel: &Kernel) -> Result<()> {
    let folder = root.join("usr/lib/modules").join(&kernel.version);
    for path in kernel.closure(&MODULES) {
        kernel.copy_module(&path, &folder)?;
    }
    for file in ["modules.builtin", "modules.order"] {
        let from = kernel.modules_folder().join(file);
        fs::copy(&from, folder.join(file)).with_context(|| format!("copy {}", from.display()))?;
    }
    command::run("depmod", &["-b", &root.to_string_lossy(), &kernel.version])?;
    Ok(())
}

/// The common part of the initramfs; each node's own part is appended to it at boot.
pub(super) fn initramfs(state: &State, kernel: &Kernel) -> Result<()> {
    let busybox = state.file("root").join("usr/bin/busybox");
    let content = fs::read(&busybox).with_context(|| format!("read {}", busybox.display()))?;
    let mut archive = Archive::default();
    archive.file("init", 0o755, include_bytes!("../guest/initramfs.sh"));
    archive.file("bin/busybox", 0o755, &content);
    for name in BUSYBOX_INITRAMFS {
        archive.symlink(&format!("bin/{name}"), "busybox");
    }
    let folder = state.file("first-modules");
    remove(&folder)?;
    let mut order = String::new();
    for path in kernel.closure(&FIRST_MODULES) {
        let copy = kernel.copy_module(&path, &folder)?;
        let name = copy.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let content = fs::read(&copy).with_context(|| format!("read {}", copy.display()))?;
        archive.file(&name, 0o644, &content);
        order.push_str(&name);
        order.push('\n');
    }
    archive.file("modules.order", 0o644, order.as_bytes());
    let path = state.file("initramfs.common");
    fs::write(&path, archive.finish()).with_context(|| format!("write {}", path.display()))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))
}

fn link(target: &str, path: &Path) -> Result<()> {
    symlink(target, path).with_context(|| format!("link {}", path.display()))
}
