//! What the guests boot from: Debian packages unpacked to a read-only root image, a kernel, and the
//! common part of the initramfs. Nothing of the daemon under test is in it: that rides in each node's
//! initramfs, so a new binary needs no new image.

mod agent;
pub(crate) mod cpio;
mod kernel;
mod packages;
mod root;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::state::State;

/// Debian packages that the host needs for building and running.
pub const HOST_NEEDS: [&str; 7] =
    ["apt", "dpkg", "e2fsprogs", "iproute2", "kmod", "qemu-system-x86", "xz-utils"];

/// The kernel whose newest version is taken when none is named: the release's own metapackage.
pub const KERNEL_DEFAULT: &str = "linux-image-amd64";

/// How to build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// A kernel package (a metapackage is followed to the package it stands for) or a `.deb` file.
    pub kernel: String,
    /// Whether an image that is there already is kept.
    pub existing: Existing,
}

/// What becomes of an image that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Only what is missing is built; the agent always follows its source.
    Keep,
    /// Everything is built anew; downloaded packages stay.
    Replace,
}

impl Default for Recipe {
    fn default() -> Self {
        Self { kernel: KERNEL_DEFAULT.into(), existing: Existing::Keep }
    }
}

/// Builds what the guests boot from. Progress goes to standard error.
pub fn build(state: &State, recipe: &Recipe) -> Result<()> {
    agent::build(state)?;
    // Written last, so it says that the rest is whole.
    let stamp = state.file("image.kernel");
    let built = fs::read_to_string(&stamp).unwrap_or_default();
    // An image of an older list of packages or modules would lack what the newer scenarios use.
    let (kernel, lists) = built.split_once('\n').unwrap_or((&built, ""));
    let kept = kernel == recipe.kernel || keeps_any(recipe, kernel);
    if recipe.existing == Existing::Keep && kept && lists == content() {
        return Ok(());
    }
    remove(&stamp)?;
    eprintln!("packages: downloading into {}", state.cache().display());
    let packages = packages::download(state)?;
    let kernel = kernel::unpack(state, &recipe.kernel)?;
    eprintln!("kernel {}: root image and initramfs", kernel.version);
    root::build(state, &packages, &kernel)?;
    root::initramfs(state, &kernel)?;
    let text = format!("{}\n{}", recipe.kernel, content());
    fs::write(&stamp, text).with_context(|| format!("write {}", stamp.display()))
}

/// What is in an image, in a word.
fn content() -> String {
    let lists = [packages::PACKAGES.as_slice(), root::MODULES.as_slice()].concat().join(" ");
    format!("{:016x}", crate::record::checksum(lists.as_bytes()))
}

/// Commands that only want an image take one built with a kernel named earlier.
fn keeps_any(recipe: &Recipe, built: &str) -> bool {
    !built.is_empty() && recipe.kernel == KERNEL_DEFAULT
}

/// The agent's binary.
pub(crate) fn agent_binary(state: &State) -> std::path::PathBuf {
    agent::binary(state)
}

/// The guests' scripts, by path in the guest.
pub(crate) const SCRIPTS: [(&str, &str); 2] =
    [("vm/init", include_str!("../guest/init.sh")), ("vm/rc", include_str!("../guest/rc.sh"))];

fn remove(path: &Path) -> Result<()> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
    .with_context(|| format!("remove {}", path.display()))
}
