//! Downloading what the root image is made of.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::state::State;

/// What the guest needs; apt adds what these depend on.
pub(super) const PACKAGES: [&str; 35] = [
    "base-files",
    "base-passwd",
    "bash",
    "busybox-static",
    "coreutils",
    "corosync",
    "dash",
    "dlm-controld",
    "dmsetup",
    "e2fsprogs",
    "findutils",
    "gfs2-utils",
    "grep",
    "hostname",
    "iproute2",
    "kmod",
    "libc-bin",
    "libcfg7",
    "libcmap4",
    "libcpg4",
    "libdlm3",
    "libdlmcontrol3",
    "libquorum5",
    "libvotequorum8",
    "lvm2",
    "lvm2-lockd",
    "mawk",
    "mdadm",
    "mount",
    "ocfs2-tools",
    "procps",
    "psmisc",
    "sed",
    "strace",
    "util-linux",
];

/// Downloads the packages and all they depend on; their files. An empty package status makes apt take
/// nothing of the host's own system for granted.
pub(super) fn download(state: &State) -> Result<Vec<PathBuf>> {
    let cache = state.cache().join("debs");
    fs::create_dir_all(cache.join("partial"))
        .with_context(|| format!("make {}", cache.display()))?;
    let status = state.cache().join("status");
    fs::write(&status, "").with_context(|| format!("write {}", status.display()))?;
    with_fresh_lists(|| {
        command::output(
            Command::new("apt-get")
                .args(["install", "--yes", "--download-only", "--no-install-recommends"])
                .arg("-oDebug::NoLocking=1")
                .arg(format!("-oDir::State::status={}", status.display()))
                .arg(format!("-oDir::Cache::archives={}", cache.display()))
                .args(PACKAGES),
        )
    })
    .context("download packages")?;
    let mut files = Vec::new();
    for entry in fs::read_dir(&cache).with_context(|| format!("list {}", cache.display()))? {
        let path = entry.with_context(|| format!("list {}", cache.display()))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Tries, and once more after `apt-get update`: the lists of a fresh machine are empty, those of an old
/// one name versions that are no longer there.
pub(super) fn with_fresh_lists<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    attempt().or_else(|_| {
        command::run("apt-get", &["update", "--quiet"])?;
        attempt()
    })
}
