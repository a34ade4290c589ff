//! A daemon that does nothing, for the tests of the service room: `service_probe background|foreground PID_FILE
//! serve|refuse|die`. While it serves, `PID_FILE.seen` holds what it found itself to be.

use anyhow::{Context as _, bail};
use controld::service::{
    Mode, Role, ServicePaths, Signals, inheritable_descriptors, lock_memory, start, systemd,
};
use nix::sys::stat::{Mode as FileMode, umask};
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1);
    let (Some(mode), Some(path), Some(how)) = (words.next(), words.next(), words.next()) else {
        bail!("usage: service_probe background|foreground PID_FILE serve|refuse|die");
    };
    let mode = if mode == "foreground" { Mode::Foreground } else { Mode::Background };
    let paths = ServicePaths { pid_file: PathBuf::from(&path) };
    let (readiness, pid_file) = match start(mode, &paths)? {
        Role::Parent(status) => return Ok(ExitCode::from(status)),
        Role::Daemon { readiness, pid_file } => (readiness, pid_file),
    };
    match how.as_str() {
        "refuse" => {
            readiness.failed("socket @dlmc_sock is taken");
            return Ok(ExitCode::FAILURE);
        }
        "die" => return Ok(ExitCode::from(7)),
        _ => {}
    }
    let memory = memory()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        fs::write(format!("{path}.seen"), seen()? + &memory)?;
        systemd::ready()?;
        readiness.ready();
        let why = signals.next().await;
        systemd::status(&format!("ended\nby {}", why.signal))?;
        systemd::stopping()?;
        anyhow::Ok(())
    })?;
    drop(pid_file);
    Ok(ExitCode::SUCCESS)
}

/// A line of `/proc/self/status` without its name.
fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_default().trim().to_owned()
}

/// What it means for the memory in use, and for a large buffer that nobody touches, that memory is locked: kB that are locked
/// before and behind the buffer's birth, and kB that are resident.
fn memory() -> anyhow::Result<String> {
    const BUFFER: usize = 64 << 20;
    let status = || fs::read_to_string("/proc/self/status").context("own status");
    let locked = lock_memory().map_or_else(|error| error.to_string(), |()| "yes".to_owned());
    let before = status()?;
    let buffer: Vec<u8> = Vec::with_capacity(BUFFER);
    let size = std::hint::black_box(&buffer).capacity().min(BUFFER) >> 10;
    let after = status()?;
    let kb = |status: &str, name: &str| field(status, name).replace(" kB", "");
    Ok([
        format!("memory={locked}"),
        format!("buffer_kb={size}"),
        format!("locked_kb={} {}", kb(&before, "VmLck:"), kb(&after, "VmLck:")),
        format!("resident_kb={} {}", kb(&before, "VmRSS:"), kb(&after, "VmRSS:")),
        format!("capabilities={}", field(&after, "CapEff:")),
        String::new(),
    ]
    .join("\n"))
}

/// One `name=value` a line.
fn seen() -> anyhow::Result<String> {
    let link = |path: &str| fs::read_link(path).map(|target| target.display().to_string());
    let status = fs::read_to_string("/proc/self/status").context("own status")?;
    let ours = |name: &str| field(&status, name);
    let session = nix::unistd::getsid(None)?;
    let mask = umask(FileMode::S_IWGRP | FileMode::S_IWOTH);
    let variables = std::env::vars().filter(|(name, _)| name.starts_with("DLM_CONTROLD")).count();
    Ok([
        format!("pid={}", std::process::id()),
        format!("comm={}", fs::read_to_string("/proc/self/comm")?.trim_end()),
        format!("session={session}"),
        format!("directory={}", link("/proc/self/cwd")?),
        format!("stdin={}", link("/proc/self/fd/0")?),
        format!("stdout={}", link("/proc/self/fd/1")?),
        format!("stderr={}", link("/proc/self/fd/2")?),
        format!("umask={:03o}", mask.bits()),
        format!("variables={variables}"),
        format!("blocked={}", ours("SigBlk:")),
        format!("ignored={}", ours("SigIgn:")),
        format!("inheritable={:?}", inheritable_descriptors()?),
        String::new(),
    ]
    .join("\n"))
}
