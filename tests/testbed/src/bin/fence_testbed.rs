//! The fence agent of the demo: asks the testbed's console to switch a node off, and waits for the answer.
//!
//! Arguments as any agent has them, on stdin: `node=` the victim, `socket=` the console, `from=` the node it runs on.

use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

/// Longest input that an agent is given.
const INPUT_MAX: u64 = 4096;

fn main() -> ExitCode {
    match fence() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("fence_testbed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn fence() -> anyhow::Result<u8> {
    let mut text = String::new();
    std::io::stdin().take(INPUT_MAX).read_to_string(&mut text).context("read stdin")?;
    let arguments: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    let argument =
        |name: &str| arguments.get(name).copied().with_context(|| format!("no {name}= given"));
    if arguments.get("action") == Some(&"on") {
        bail!("action=on: the testbed's nodes are switched on by starting their daemon");
    }
    let socket = argument("socket")?;
    let mut stream = UnixStream::connect(socket).with_context(|| format!("connect to {socket}"))?;
    writeln!(stream, "off {} {}", argument("node")?, argument("from")?).context("ask")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).context("wait for the answer")?;
    let status = answer.trim().strip_prefix("status ").and_then(|status| status.parse().ok());
    status.with_context(|| format!("the power switch says {:?}", answer.trim()))
}
