//! The agent, built for the guest: linked statically, so that it runs before anything else is there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::state::State;

/// The GNU target with the C library linked in: no second toolchain is needed.
const TARGET: &str = "x86_64-unknown-linux-gnu";
const NAME: &str = "dlm-vm-agent";

/// Builds the agent with cargo, in a target directory of its own: other flags must not throw away what
/// the workspace has built. Run in the source tree.
pub(super) fn build(state: &State) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    command::output(
        Command::new(cargo)
            .args(["build", "--quiet", "--release", "--package", "dlm-vm", "--bin", NAME])
            .args(["--target", TARGET])
            .env("CARGO_TARGET_DIR", state.file("agent"))
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )
    .context("build the agent")?;
    Ok(())
}

pub(super) fn binary(state: &State) -> PathBuf {
    state.file("agent").join(TARGET).join("release").join(NAME)
}
