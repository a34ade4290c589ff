//! Process 1 and the command server.
//!
//! Two processes, because process 1 must reap every orphan with `wait`, which would take the exit
//! status of a command away from the thread that runs it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dlm_vm::protocol::{self, AGENT_PORT, Frame};
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::wait;
use nix::unistd::Pid;

use crate::clocks;

/// Process 1: keeps the server running and reaps. It does not return: its end would be a kernel panic.
pub(crate) fn init() -> Result<()> {
    let me = std::env::current_exe().context("own path")?;
    let start = || Command::new(&me).arg("serve").spawn().context("start the command server");
    let mut server = start()?;
    loop {
        match wait() {
            Ok(end) if end.pid().map(Pid::as_raw) == i32::try_from(server.id()).ok() => {
                eprintln!("dlm-vm-agent: the command server ended: {end:?}");
                server = start()?;
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait for children"),
        }
    }
}

/// Answers requests, one connection each, until killed.
pub(crate) fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, AGENT_PORT)).context("listen")?;
    for stream in listener.incoming() {
        let stream = stream.context("accept")?;
        thread::spawn(move || {
            if let Err(error) = answer(&stream) {
                eprintln!("dlm-vm-agent: request: {error:#}");
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true).context("set nodelay")?;
    let request = protocol::read_frame(&mut stream).context("read the request")?;
    let outcome = match request.kind {
        protocol::RUN => run(stream, &request.body),
        protocol::PUT => put(&request).map(|()| 0),
        protocol::SET_CLOCK => set_clock(&request).map(|()| 0),
        protocol::CLOCKS => report_clocks(stream).map(|()| 0),
        other => bail!("unknown request {other}"),
    };
    let status = outcome.or_else(|error| {
        protocol::write_frame(&mut stream, protocol::ERR, format!("{error:#}\n").as_bytes())?;
        Ok::<_, std::io::Error>(255)
    })?;
    protocol::write_frame(&mut stream, protocol::EXIT, status.to_string().as_bytes())
        .context("send the status")
}

/// Runs a shell command. Output goes through files, not pipes: a daemon that the command leaves behind
/// may keep its output open for ever, and the answer must not wait for it.
fn run(mut stream: &TcpStream, command: &[u8]) -> Result<i32> {
    let command = std::str::from_utf8(command).context("the command is not UTF-8")?;
    let (mut out, mut err) = (nameless_file()?, nameless_file()?);
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(out.try_clone().context("share the output file")?)
        .stderr(err.try_clone().context("share the output file")?)
        .process_group(0)
        .spawn()
        .context("start a shell")?;
    let group = Pid::from_raw(i32::try_from(child.id()).context("process id")?);
    let running = Arc::new(Mutex::new(true));
    watch_host(stream, group, &running)?;
    let status = child.wait().context("wait for the shell")?;
    // From here on the group's number may belong to somebody else.
    *running.lock().unwrap_or_else(PoisonError::into_inner) = false;
    for (kind, file) in [(protocol::OUT, &mut out), (protocol::ERR, &mut err)] {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).context("rewind the output")?;
        file.read_to_end(&mut bytes).context("read the output")?;
        protocol::write_frame(&mut stream, kind, &bytes).context("send the output")?;
    }
    Ok(exit_code(status))
}

/// Kills the command when the host hangs up before it has ended.
fn watch_host(stream: &TcpStream, group: Pid, running: &Arc<Mutex<bool>>) -> Result<()> {
    let mut stream = stream.try_clone().context("share the connection")?;
    let running = Arc::clone(running);
    thread::spawn(move || {
        // The host sends nothing after its request, so this returns when the connection ends.
        let _ = stream.read(&mut [0; 1]);
        if *running.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = killpg(group, Signal::SIGKILL);
        }
    });
    Ok(())
}

fn exit_code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(255)
}

fn nameless_file() -> Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = format!("/run/dlm-vm-agent.{}.{number}", std::process::id());
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .open(&path)
        .with_context(|| format!("create {path}"))?;
    fs::remove_file(&path).with_context(|| format!("unlink {path}"))?;
    Ok(file)
}

fn put(request: &Frame) -> Result<()> {
    let end = request.body.iter().position(|byte| *byte == b'\n').context("no first line")?;
    let (head, content) = request.body.split_at(end);
    let head = std::str::from_utf8(head).context("the first line is not UTF-8")?;
    let (mode, path) = head.split_once(' ').context("no mode and path")?;
    let mode = u32::from_str_radix(mode, 8).context("mode")?;
    // A new file moved over the old one: a program that runs from the old file keeps running.
    let new = format!("{path}.new");
    fs::write(&new, content.get(1..).unwrap_or_default())
        .with_context(|| format!("write {new}"))?;
    fs::set_permissions(Path::new(&new), Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {new}"))?;
    fs::rename(&new, path).with_context(|| format!("rename {new}"))
}

fn set_clock(request: &Frame) -> Result<()> {
    let text = std::str::from_utf8(&request.body).context("time")?;
    clocks::set_real(Duration::from_nanos(text.trim().parse().context("time")?))
}

fn report_clocks(mut stream: &TcpStream) -> Result<()> {
    let clocks = clocks::all()?.map(|clock| clock.as_nanos().to_string());
    protocol::write_frame(&mut stream, protocol::OUT, clocks.join(" ").as_bytes())
        .context("send the clocks")
}
