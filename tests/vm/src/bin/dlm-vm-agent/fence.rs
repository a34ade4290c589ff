//! The fence agent: reads `key=value` lines as fence agents do, asks the host's power switch.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};
use dlm_vm::protocol::{HOST, POWER_PORT};

use crate::clocks;

/// Asks the host to switch off the node named on standard input; `Ok` only when the host says it is off.
pub(crate) fn ask() -> Result<()> {
    let (mut node, mut port) = (None, None);
    for line in std::io::stdin().lock().lines() {
        let line = line.context("read the arguments")?;
        note(&line);
        if let Some(value) = line.strip_prefix("node=") {
            node = Some(value.trim().to_owned());
        }
        // Where node ids are not the machines' numbers, a connect line names the machine.
        if let Some(value) = line.strip_prefix("port=") {
            port = Some(value.trim().to_owned());
        }
    }
    let victim = port.or(node).context("no node= among the arguments")?;
    let asker = nix_hostname()?;
    let mut host = TcpStream::connect((HOST, POWER_PORT)).context("reach the power switch")?;
    writeln!(host, "off {victim} from {asker}").context("ask the power switch")?;
    let mut answer = String::new();
    BufReader::new(host).read_line(&mut answer).context("hear from the power switch")?;
    note(&format!("answer {}", answer.trim_end()));
    if answer.starts_with("OK") { Ok(()) } else { bail!("the power switch says {answer:?}") }
}

fn nix_hostname() -> Result<String> {
    const FILE: &str = "/proc/sys/kernel/hostname";
    Ok(std::fs::read_to_string(FILE).context(FILE)?.trim_end().to_owned())
}

/// One line for a person in the guest's own log of fencing; failing to write it must not fail fencing.
fn note(text: &str) {
    let now = clocks::real().unwrap_or_default();
    if let Ok(mut log) = OpenOptions::new().append(true).create(true).open("/var/log/fence_vm.log")
    {
        let _ = writeln!(log, "{}.{:06} {text}", now.as_secs(), now.subsec_micros());
    }
}
