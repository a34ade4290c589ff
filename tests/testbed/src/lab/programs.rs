//! The programs of a node, and what they say.

use anyhow::Context as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// `dlm_controld`, built with the feature `testbed`.
    pub daemon: PathBuf,
    /// `dlm_tool`.
    pub tool: PathBuf,
    /// `fence_testbed`.
    pub agent: PathBuf,
}

impl Programs {
    /// All in one directory.
    ///
    /// # Errors
    /// One is missing.
    pub fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        let program = |name: &str| {
            let path = directory.join(name);
            path.canonicalize().with_context(|| format!("no program {}", path.display()))
        };
        Ok(Self {
            daemon: program("dlm_controld")?,
            tool: program("dlm_tool")?,
            agent: program("fence_testbed")?,
        })
    }
}

/// What a tool has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Exit status; `None` for one that was killed.
    pub status: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs it to its end.
pub(super) fn said(command: &mut Command) -> anyhow::Result<Said> {
    let output = command.output().context("run nsenter")?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Said { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) })
}
