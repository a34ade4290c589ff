//! The state directory: package cache, images, and what belongs to the cluster that runs now.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::record::checksum;

/// The environment variable that names the state directory.
pub const STATE_VARIABLE: &str = "DLM_VM_DIR";
/// Where the state is when the variable is not set: below the directory the program is started in.
pub const STATE_DEFAULT: &str = "target/vm";

/// The state directory. Two of them are two clusters that know nothing of one another.
#[derive(Debug, Clone)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// The directory named by [`STATE_VARIABLE`], or [`STATE_DEFAULT`]; made if it is not there.
    pub fn from_environment() -> Result<Self> {
        let root = std::env::var_os(STATE_VARIABLE).unwrap_or_else(|| STATE_DEFAULT.into());
        Self::at(Path::new(&root))
    }

    /// A given directory; made if it is not there.
    pub fn at(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).with_context(|| format!("find {}", root.display()))?;
        let state = Self { root };
        for folder in [state.cache(), state.run()] {
            fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
        }
        Ok(state)
    }

    /// A file of the images.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Downloaded packages.
    pub(crate) fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// What belongs to the cluster that runs now.
    pub(crate) fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Forgets the cluster that ran, which must be torn down.
    pub(crate) fn clear_run(&self) -> Result<()> {
        let run = self.run();
        fs::remove_dir_all(&run)
            .and_then(|()| fs::create_dir_all(&run))
            .with_context(|| format!("clear {}", run.display()))
    }

    /// A file of the cluster that runs now.
    pub(crate) fn run_file(&self, name: &str) -> PathBuf {
        self.run().join(name)
    }

    /// A file of one node of the cluster that runs now.
    pub(crate) fn node_file(&self, node: u8, name: &str) -> PathBuf {
        self.run_file(&format!("node{node}.{name}"))
    }

    /// Where a failed scenario's evidence goes.
    pub(crate) fn failures(&self) -> PathBuf {
        self.root.join("failures")
    }

    /// The network namespace of this state directory's cluster.
    pub(crate) fn namespace(&self) -> String {
        format!("dlm-vm-{:016x}", checksum(self.root.as_os_str().as_encoded_bytes()))
    }
}
