//! Programs that run, by the core's tokens: fence agents and run commands.

use super::agents::Agents;
use crate::process::{self, Ended};
use dlm_core::event::{Event, Token};
use dlm_core::run::RunEvent;
use std::collections::BTreeMap;
use std::process::Stdio;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// What systemd tells its service alone.
const OF_SYSTEMD: [&str; 6] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
];

/// The running programs.
pub(super) struct Children {
    pub(super) agents: Agents,
    commands: JoinSet<(Token, Ended)>,
    /// What kills a run command.
    kills: BTreeMap<Token, oneshot::Sender<()>>,
}

impl Children {
    pub(super) fn new() -> Self {
        Self { agents: Agents::new(), commands: JoinSet::new(), kills: BTreeMap::new() }
    }

    /// Start a run command.
    pub(super) fn start_command(&mut self, token: Token, words: Vec<String>) {
        let (kill, killed) = oneshot::channel();
        self.kills.insert(token, kill);
        self.commands
            .spawn(async move { (token, process::run(command(&words), killed, |_pid| ()).await) });
    }

    /// Kill a run command with its children; its end comes as any other.
    pub(super) fn kill_command(&mut self, token: Token) {
        if let Some(kill) = self.kills.remove(&token) {
            // A receiver that is gone has seen the command's end.
            let _ = kill.send(());
        }
    }

    /// One runs, or has not told its end.
    pub(super) fn any(&self) -> bool {
        self.agents.any() || !self.commands.is_empty()
    }

    /// Wait for what one of them has to tell; never comes back while none runs.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                event = self.agents.next() => return event,
                Some(ended) = self.commands.join_next() => {
                    // As for agents: nobody waits for a task that was cancelled.
                    let Ok((token, Ended { pid, outcome, output })) = ended else { continue };
                    self.kills.remove(&token);
                    let pid = i32::try_from(pid).unwrap_or(0);
                    return Event::Run(RunEvent::Done { token, pid, outcome, output });
                }
            }
        }
    }
}

/// A run command has the daemon's environment, as upstream's have: LVM is configured by it, too.
fn command(words: &[String]) -> Command {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for name in OF_SYSTEMD {
        command.env_remove(name);
    }
    command
}
