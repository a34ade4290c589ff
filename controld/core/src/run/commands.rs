//! Commands that run on this node, or wait for their turn.
//!
//! Each is answered within a time, also where its process cannot be ended; a process that lives on keeps its place, so
//! that there are never more than some (spec/run-commands.md section 4).

use super::command::{self, Allowed};
use super::{RunEffect, shown};
use crate::effect::Effect;
use crate::event::{AgentOutcome, Token};
use crate::message::{RunCounts, RunRequest};
use crate::out::Out;
use crate::snapshot;
use crate::types::{Instant, NodeId};
use crate::waiting::Waiting;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::sync::Arc;
use serde::{Deserialize, Serialize};

/// Commands that run at the same time. Upstream has 32 and loses the results of more.
const RUNNING_MAX: usize = 16;
/// Commands that run or wait for their turn.
const COMMANDS_MAX: usize = 128;
/// Seconds from a request to the kill of its command.
pub(super) const COMMAND_SECONDS: u64 = 300;

/// Result of a command that was not run.
pub(super) const NOT_RUN: i32 = 1;
/// Result of a command that was killed: the bare number of the signal.
const SIGKILL: i32 = 9;
/// `si_code` of sigaction(2).
const CLD_EXITED: i32 = 1;
const CLD_KILLED: i32 = 2;

/// All commands of this node, by token, so in the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Commands(BTreeMap<Token, Command>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Command {
    number: u64,
    request: Arc<RunRequest>,
    allowed: Allowed,
    state: State,
    /// When it is killed.
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum State {
    Queued,
    Running,
    /// Killed, and answered for; its process has not ended.
    Killed,
}

impl Commands {
    /// The same request is here already. An answer to its second coming could be taken for that to the first.
    pub(super) fn has(&self, request: &RunRequest) -> bool {
        let same = |of: &RunRequest| of.uuid == request.uuid && of.start == request.start;
        self.0.values().any(|command| same(&command.request))
    }

    /// A request; `Err`: why it is not run.
    pub(super) fn accept(
        &mut self,
        number: u64,
        request: &Arc<RunRequest>,
        out: &mut Out<'_>,
    ) -> Result<(), String> {
        if self.0.len() >= COMMANDS_MAX {
            return Err(format!("{COMMANDS_MAX} commands are not at their end yet"));
        }
        let allowed = command::allowed(&request.command).map_err(|refusal| refusal.to_string())?;
        out.debug(format!("receive_run_request {} to helper", request.uuid));
        let request = Arc::clone(request);
        let due = out.now.mono.plus_seconds(COMMAND_SECONDS);
        self.0.insert(out.token(), Command { number, request, allowed, state: State::Queued, due });
        Ok(())
    }

    /// Begin what there is room for.
    pub(super) fn begin(&mut self, out: &mut Out<'_>) {
        let busy = self.0.values().filter(|command| command.state != State::Queued).count();
        let queued = self.0.iter_mut().filter(|(_, command)| command.state == State::Queued);
        for (token, command) in queued.take(RUNNING_MAX.saturating_sub(busy)) {
            command.state = State::Running;
            let words = command.allowed.words.clone();
            out.push(Effect::Run(RunEffect::Command { token: *token, words }));
        }
    }

    /// The end of one; gives what is still to be answered.
    pub(super) fn done(
        &mut self,
        token: Token,
        pid: i32,
        outcome: AgentOutcome,
        output: &str,
        out: &mut Out<'_>,
    ) -> Option<(Arc<RunRequest>, i32)> {
        let command = self.0.remove(&token)?;
        let uuid = &command.request.uuid;
        let (result, status, code) = match outcome {
            AgentOutcome::Exited(status) => (status, status, CLD_EXITED),
            AgentOutcome::Signalled(signal) => (signal, signal, CLD_KILLED),
            AgentOutcome::NotStarted(errno) => (NOT_RUN, errno, CLD_EXITED),
        };
        out.debug(format!("helper reply {uuid} pid {pid} result {result}"));
        if result != 0 {
            let id = command.allowed.id;
            out.error(format!("run error {uuid} id {id} pid {pid} status {status} code {code}"));
            let said = output.trim().lines().next_back().unwrap_or_default();
            if !said.is_empty() {
                out.error(format!("run error {uuid}: {}", shown(said.as_bytes())));
            }
        }
        (command.state != State::Killed).then_some((command.request, result))
    }

    /// The next one that has taken too long; what is to be answered for it.
    pub(super) fn expire(&mut self, out: &mut Out<'_>) -> Option<(Arc<RunRequest>, i32)> {
        let now = out.now.mono;
        let is_due = |command: &Command| command.state != State::Killed && command.due <= now;
        let (token, command) = self.0.iter_mut().find(|(_, command)| is_due(command))?;
        let (token, uuid) = (*token, &command.request.uuid);
        out.error(format!("run {uuid}: not at its end after {COMMAND_SECONDS} s, killed"));
        if command.state == State::Queued {
            return self.0.remove(&token).map(|command| (command.request, NOT_RUN));
        }
        command.state = State::Killed;
        out.push(Effect::Run(RunEffect::Kill(token)));
        Some((Arc::clone(&command.request), SIGKILL))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let alive = self.0.values().filter(|command| command.state != State::Killed);
        alive.map(|command| command.due).min()
    }

    /// The end of those that there are, if any.
    pub(super) fn wait(&self) -> Option<Waiting> {
        let of = self.0.values().map(|command| command.request.start).collect();
        let wait = Waiting::RunCommands { of, until: self.deadline(), count: self.0.len() };
        (!self.0.is_empty()).then_some(wait)
    }

    /// Those that others asked for; our own are shown with their operation.
    pub(super) fn snapshot(&self, us: NodeId) -> impl Iterator<Item = snapshot::Run> {
        self.0.values().filter(move |command| command.request.start != us).map(|command| {
            snapshot::Run {
                number: command.number,
                request: Arc::clone(&command.request),
                pid: 0,
                result: 0,
                counts: RunCounts::default(),
            }
        })
    }
}
