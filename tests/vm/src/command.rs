//! Programs of the host, run to their end.

use std::process::Command;

use anyhow::{Context, Result, bail};

/// Runs a program; its standard output, or an error with what it said.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?}: output is not UTF-8"))
}

/// Runs a program with these words; its standard output.
pub(crate) fn run(program: &str, words: &[&str]) -> Result<String> {
    output(Command::new(program).args(words))
}

/// Runs a line of shell with `$1`, `$2` and so on set to these words.
pub(crate) fn shell(script: &str, words: &[&str]) -> Result<String> {
    output(Command::new("sh").args(["-ec", script, "sh"]).args(words))
}
