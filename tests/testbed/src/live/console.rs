//! The console: commands, one line each.
//!
//! `join N LS`, `leave N LS`, `crash N` (the node loses power), `procdown N` (its daemon is cut off, the node lives on),
//! `fence N works|fails|hangs|lies` (what agents for node N do from now on): answered `ok`, or with what is wrong.
//! `plock N LS lock|try|unlock|get INODE START END read|write OWNER`: a process of node N, which owner and process id name,
//! wants a POSIX lock (`lock` waits for it); answered `ok` when the request is with the daemon.
//! `off N M` is a fence agent's, on node M, for victim N: answered `status S` when it is done, S its exit status.

use super::server::Input;
use crate::power::Behaviour;
use dlm_core::plock::{Mode, Op, PlockInfo};
use dlm_core::types::{Group, LockspaceName, NodeId};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

/// A command, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the module's head says what each does")]
pub enum Command {
    Join { node: NodeId, lockspace: String },
    Leave { node: NodeId, lockspace: String },
    Crash { node: NodeId },
    ProcDown { node: NodeId },
    Fence { victim: NodeId, behaviour: Behaviour },
    Off { victim: NodeId, by: NodeId },
    Plock(PlockInfo),
}

impl Command {
    /// What a line means; `None`: nothing.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let node = |word: &str| NodeId::new(word.parse().ok()?);
        let name = |word: &str| LockspaceName::new(word.as_bytes()).map(|_| word.to_owned());
        let words: Vec<&str> = line.split_whitespace().collect();
        Some(match words.as_slice() {
            ["join", id, ls] => Self::Join { node: node(id)?, lockspace: name(ls)? },
            ["leave", id, ls] => Self::Leave { node: node(id)?, lockspace: name(ls)? },
            ["crash", id] => Self::Crash { node: node(id)? },
            ["procdown", id] => Self::ProcDown { node: node(id)? },
            ["fence", id, how] => Self::Fence { victim: node(id)?, behaviour: behaviour(how)? },
            ["off", id, by] => Self::Off { victim: node(id)?, by: node(by)? },
            ["plock", id, ls, what, inode, start, end, how, owner] => {
                let owner: u32 = owner.parse().ok()?;
                Self::Plock(PlockInfo {
                    version: [1, 2, 0],
                    op: operation(what)?,
                    mode: if *how == "write" { Mode::Write } else { Mode::Read },
                    wait: *what == "lock",
                    flags: 0,
                    pid: owner,
                    node: node(id)?,
                    result: 0,
                    fsid: Group::Lockspace(LockspaceName::new(ls.as_bytes())?).global_id(),
                    number: inode.parse().ok()?,
                    start: start.parse().ok()?,
                    end: end.parse().ok()?,
                    owner: owner.into(),
                })
            }
            _ => return None,
        })
    }

    /// The nodes it names.
    pub(super) fn nodes(&self) -> Vec<NodeId> {
        match self {
            Self::Join { node, .. }
            | Self::Leave { node, .. }
            | Self::Crash { node }
            | Self::ProcDown { node } => vec![*node],
            Self::Fence { victim, .. } => vec![*victim],
            Self::Off { victim, by } => vec![*victim, *by],
            Self::Plock(info) => vec![info.node],
        }
    }
}

fn operation(word: &str) -> Option<Op> {
    Some(match word {
        "lock" | "try" => Op::Lock,
        "unlock" => Op::Unlock,
        "get" => Op::Get,
        _ => return None,
    })
}

fn behaviour(word: &str) -> Option<Behaviour> {
    Some(match word {
        "works" => Behaviour::Works,
        "fails" => Behaviour::Fails(1),
        "missing" => Behaviour::Missing,
        "hangs" => Behaviour::Hangs,
        "lies" => Behaviour::Lies,
        _ => return None,
    })
}

/// Takes the answer to one command.
pub(super) struct Answer(SyncSender<String>);

impl Answer {
    pub(super) fn say(&self, text: &str) {
        // Fails only if nobody waits any more: an agent that was killed.
        let _gone = self.0.try_send(text.to_owned());
    }
}

/// Give a line to the world's thread and wait for its answer; `None` if there is no world any more.
pub(super) fn ask(inputs: &SyncSender<Input>, line: &str) -> Option<String> {
    let Some(command) = Command::parse(line) else { return Some(format!("no command: {line}")) };
    let (answer, answered) = sync_channel(1);
    inputs.send(Input::Command(command, Answer(answer))).ok()?;
    answered.recv().ok()
}

/// The thread that accepts clients; each has a thread, as an agent's answer takes its time.
pub(super) fn accept(listener: &UnixListener, inputs: &SyncSender<Input>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { return };
        let inputs = inputs.clone();
        thread::spawn(move || serve(&stream, &inputs));
    }
}

fn serve(stream: &UnixStream, inputs: &SyncSender<Input>) {
    let mut writer = stream;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let Some(answer) = ask(inputs, &line) else { return };
        if writeln!(writer, "{answer}").is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::node;

    #[test]
    fn commands_are_taken_by_the_word() {
        let join = Command::Join { node: node(2), lockspace: "demo".to_owned() };
        assert_eq!(Command::parse("join 2 demo"), Some(join));
        let off = Command::Off { victim: node(3), by: node(1) };
        assert_eq!(Command::parse("off 3 1"), Some(off));
        for bad in [
            "",
            "join 0 demo",
            "join 2",
            "join 2 a/b",
            "fence 3 sometimes",
            "off 3",
            "plock 1 fs lock 1 0 9 read",
        ] {
            assert_eq!(Command::parse(bad), None, "{bad}");
        }
    }
}
