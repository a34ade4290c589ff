//! The guest's kernel and which of its modules go where.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::packages::with_fresh_lists;
use super::remove;
use crate::command;
use crate::state::State;

/// An unpacked kernel package.
pub(super) struct Kernel {
    /// Its release, as `uname -r` says.
    pub(super) version: String,
    /// Where it is unpacked.
    pub(super) folder: PathBuf,
    /// Modules by name, with `_` for `-`.
    modules: BTreeMap<String, Module>,
}

struct Module {
    path: String,
    needs: Vec<String>,
}

impl Kernel {
    /// The directory of the modules.
    pub(super) fn modules_folder(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.version)
    }

    /// Paths of these modules and of all they need, those first. A name the kernel does not have as a
    /// module is built in, or not needed by it.
    pub(super) fn closure(&self, names: &[&str]) -> Vec<String> {
        let mut order = Vec::new();
        for name in names {
            if let Some(module) = self.modules.get(&name.replace('-', "_")) {
                // depmod lists what a module needs with the deepest last.
                for path in module.needs.iter().rev().chain([&module.path]) {
                    if !order.contains(path) {
                        order.push(path.clone());
                    }
                }
            }
        }
        order
    }

    /// Copies a module, unpacked if it is packed; the name it has there.
    pub(super) fn copy_module(&self, path: &str, folder: &Path) -> Result<PathBuf> {
        let from = self.modules_folder().join(path);
        let name = plain_name(path);
        let to = folder.join(name);
        let parent = to.parent().unwrap_or(folder);
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        if path.ends_with(".xz") {
            let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
            command::shell("xz -dc \"$1\" >\"$2\"", &[&from, &to])?;
        } else {
            fs::copy(&from, &to).with_context(|| format!("copy {}", from.display()))?;
        }
        Ok(to)
    }
}

/// A module's path without the ending of a packed one.
fn plain_name(path: &str) -> &str {
    path.strip_suffix(".xz").unwrap_or(path)
}

/// Downloads and unpacks a kernel.
pub(super) fn unpack(state: &State, wanted: &str) -> Result<Kernel> {
    let deb =
        if wanted.ends_with(".deb") { PathBuf::from(wanted) } else { download(state, wanted)? };
    let folder = state.file("kernel");
    remove(&folder)?;
    command::run("dpkg-deb", &["-x", &deb.to_string_lossy(), &folder.to_string_lossy()])?;
    let releases = folder.join("lib/modules");
    let version = fs::read_dir(&releases)
        .with_context(|| format!("list {}", releases.display()))?
        .next()
        .with_context(|| format!("{} has no modules", deb.display()))?
        .with_context(|| format!("list {}", releases.display()))?
        .file_name()
        .to_string_lossy()
        .into_owned();
    command::run("depmod", &["-b", &folder.to_string_lossy(), &version])?;
    let image = folder.join(format!("boot/vmlinuz-{version}"));
    fs::copy(&image, state.file("vmlinuz")).with_context(|| format!("copy {}", image.display()))?;
    let list = releases.join(&version).join("modules.dep");
    let text = fs::read_to_string(&list).with_context(|| format!("read {}", list.display()))?;
    Ok(Kernel { version, folder, modules: parse_modules(&text) })
}

fn download(state: &State, wanted: &str) -> Result<PathBuf> {
    with_fresh_lists(|| {
        let package = follow_metapackage(wanted)?;
        let folder = state.cache().join(&package);
        remove(&folder)?;
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        command::output(
            std::process::Command::new("apt-get").args(["download", &package]).current_dir(&folder),
        )?;
        let entry = fs::read_dir(&folder)
            .with_context(|| format!("list {}", folder.display()))?
            .next()
            .with_context(|| format!("apt-get left nothing for {package}"))?
            .with_context(|| format!("list {}", folder.display()))?;
        Ok(entry.path())
    })
    .with_context(|| format!("download the kernel {wanted}"))
}

/// A metapackage depends on the newest package it stands for; anything else is itself.
fn follow_metapackage(package: &str) -> Result<String> {
    let text = command::run("apt-cache", &["depends", "--important", package])?;
    let real = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"));
    Ok(real.unwrap_or(package).to_owned())
}

/// `modules.dep`: `PATH: NEEDED NEEDED`.
fn parse_modules(text: &str) -> BTreeMap<String, Module> {
    let mut modules = BTreeMap::new();
    for line in text.lines() {
        let Some((path, needs)) = line.split_once(':') else { continue };
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.split(".ko").next().unwrap_or(file).replace('-', "_");
        let needs = needs.split_whitespace().map(str::to_owned).collect();
        modules.insert(name, Module { path: path.to_owned(), needs });
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_all_they_need() {
        let modules = parse_modules(
            "fs/gfs2.ko: fs/dlm.ko lib/crc-x.ko\nfs/dlm.ko: lib/crc-x.ko\nlib/crc-x.ko:\n",
        );
        let kernel = Kernel { version: String::new(), folder: PathBuf::new(), modules };
        assert_eq!(kernel.closure(&["gfs2", "none"]), ["lib/crc-x.ko", "fs/dlm.ko", "fs/gfs2.ko"]);
        assert_eq!(kernel.closure(&["crc_x"]), ["lib/crc-x.ko"]);
    }
}
