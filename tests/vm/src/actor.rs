//! A process on a node that takes and gives back POSIX locks, one step at a time, as a scenario says.

use std::fmt;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::stage::Line;
use crate::node::Node;
use crate::time::HostTime;

/// How long an answer may take that waits for no other process, on a busy host.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a process may take to start and to end.
const PROCESS: Duration = Duration::from_secs(20);

/// Shared or exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// `F_RDLCK`.
    Read,
    /// `F_WRLCK`.
    Write,
}

impl Mode {
    /// Whether locks of two processes exclude each other.
    pub(crate) fn excludes(self, other: Self) -> bool {
        self == Self::Write || other == Self::Write
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Read => "r",
            Self::Write => "w",
        })
    }
}

/// What fcntl takes: a first byte and a length; 0 means to the end of every file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// First byte.
    pub start: u64,
    /// How many; 0: all from there.
    pub length: u64,
}

impl Bytes {
    /// One byte.
    pub(crate) fn one(start: u64) -> Self {
        Self { start, length: 1 }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.start, self.length)
    }
}

/// A running actor; it ends when this is dropped.
#[derive(Debug)]
pub struct Actor<'a> {
    node: Node<'a>,
    name: String,
    process: u32,
    commands: TcpStream,
    answers: Receiver<Line>,
}

impl<'a> Actor<'a> {
    pub(crate) fn start(node: Node<'a>, name: &str) -> Result<Self> {
        let stage = node.cluster().stage()?;
        node.ok(&format!(
            "ulimit -n 4096; /vm/dlm-vm-agent actor {name} >/var/log/load.{name} 2>&1 &"
        ))?;
        let arrival = stage.arrival(name, PROCESS)?;
        let (process, commands, answers) = (arrival.process, arrival.commands, arrival.answers);
        Ok(Self { node, name: name.to_owned(), process, commands, answers })
    }

    /// The node it runs on.
    pub fn node(&self) -> Node<'a> {
        self.node
    }

    /// Its process id there.
    pub fn process(&self) -> u32 {
        self.process
    }

    /// `F_SETLK`: `ok`, or the error's name.
    pub fn lock(&self, mode: Mode, bytes: Bytes, path: &str) -> Result<String> {
        self.ask(&format!("lock {mode} {bytes} {path}"))
    }

    /// `F_SETLKW`, begun: returns when the process sleeps in it, or with its answer.
    pub fn wait(&self, mode: Mode, bytes: Bytes, path: &str) -> Result<String> {
        self.ask(&format!("wait {mode} {bytes} {path}"))
    }

    /// `F_SETLKW` that should be granted at once.
    pub fn wait_granted(&self, mode: Mode, bytes: Bytes, path: &str) -> Result<String> {
        let first = self.wait(mode, bytes, path)?;
        if first == "asleep" { Ok(self.answer(ANSWER)?.1) } else { Ok(first) }
    }

    /// `F_SETLK` with `F_UNLCK`.
    pub fn unlock(&self, bytes: Bytes, path: &str) -> Result<String> {
        self.ask(&format!("unlock {bytes} {path}"))
    }

    /// `F_GETLK`: `free`, or `held MODE START LENGTH PROCESS`.
    pub fn test(&self, mode: Mode, bytes: Bytes, path: &str) -> Result<String> {
        self.ask(&format!("test {mode} {bytes} {path}"))
    }

    /// Closes the file, which gives back all locks on it.
    pub fn close(&self, path: &str) -> Result<String> {
        self.ask(&format!("close {path}"))
    }

    /// Opens and closes the file once more: that too gives back all locks on it.
    pub fn close_another(&self, path: &str) -> Result<String> {
        self.ask(&format!("alias {path}"))
    }

    /// Makes so many files in a folder and takes so many write locks of one byte on each.
    pub fn fill(&self, folder: &str, files: u32, locks: u32, deadline: Duration) -> Result<()> {
        self.say(&format!("fill {files} {locks} {folder}"))?;
        let (_, answer) = self.answer(deadline)?;
        if answer == "ok" { Ok(()) } else { bail!("{}: fill {folder}: {answer}", self.name) }
    }

    /// The next answer, and when it came.
    pub fn answer(&self, deadline: Duration) -> Result<Line> {
        match self.answers.recv_timeout(deadline) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                bail!("{}: no answer within {deadline:?}", self.name)
            }
            Err(RecvTimeoutError::Disconnected) => bail!("{}: the process has ended", self.name),
        }
    }

    /// An answer that is there already.
    pub fn answered(&self) -> Option<Line> {
        self.answers.try_recv().ok()
    }

    /// Kills the process, also if it waits for a lock; done when it is gone.
    pub fn kill(self) -> Result<()> {
        let process = self.process;
        self.node.wait_for(
            &format!("kill -9 {process} 2>/dev/null; ! kill -0 {process} 2>/dev/null"),
            PROCESS,
        )?;
        Ok(())
    }

    fn ask(&self, command: &str) -> Result<String> {
        self.say(command)?;
        let (_, answer) = self.answer(ANSWER).with_context(|| command.to_owned())?;
        Ok(answer)
    }

    fn say(&self, command: &str) -> Result<()> {
        if let Some((at, line)) = self.answered() {
            let late = HostTime::now().seconds_after(at);
            bail!("{}: said {line:?} {late:.3} s before it was asked {command:?}", self.name);
        }
        writeln!(&self.commands, "{command}").with_context(|| format!("{}: {command}", self.name))
    }
}

impl Drop for Actor<'_> {
    fn drop(&mut self) {
        // The process ends when its connection does.
        let _ = self.commands.shutdown(Shutdown::Both);
    }
}
