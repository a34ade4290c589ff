//! Run commands: what clients ask, to the core's events and back.

use super::Driver;
use crate::control::RunRefused;
use dlm_core::event::Event;
use dlm_core::run::{RunAnswer, RunEffect, RunEvent, RunUuid, Then};
use dlm_core::types::NodeId;
use dlmcontrol::proto;
use std::io;

/// Where the kernel gives a new random uuid for each read, in the text form that the protocol has (random(4)).
const UUID_FILE: &str = "/proc/sys/kernel/random/uuid";

impl Driver {
    /// Begin an operation.
    pub(super) fn run_start(
        &mut self,
        command: String,
        node: Option<NodeId>,
        flags: i32,
    ) -> Result<String, RunRefused> {
        let uuid = new_uuid().map_err(|error| {
            self.outputs.logger.error(&format!("run start: no name from {UUID_FILE}: {error}"));
            RunRefused
        })?;
        let start = RunEvent::Start {
            uuid: uuid.clone(),
            command: command.into_bytes(),
            node,
            flags: u32::from_ne_bytes(flags.to_ne_bytes()),
        };
        match self.ask_run(start) {
            Some(RunAnswer::Started) => Ok(uuid.as_str().to_owned()),
            _ => Err(RunRefused),
        }
    }

    /// What became of an operation: bits `RUN_*` of the socket protocol.
    pub(super) fn run_check(&mut self, uuid: &str, flags: i32) -> Result<u32, RunRefused> {
        let uuid = RunUuid::new(uuid.as_bytes()).ok_or(RunRefused)?;
        let flags = u32::from_ne_bytes(flags.to_ne_bytes());
        let then = if flags & proto::RUN_CHECK_CANCEL != 0 {
            Then::Cancel
        } else if flags & proto::RUN_CHECK_CLEAR != 0 {
            Then::Clear
        } else {
            Then::Keep
        };
        let failure = |failed| if failed { proto::RUN_FAILED } else { 0 };
        match self.ask_run(RunEvent::Check { uuid, then }) {
            Some(RunAnswer::Waiting { failed }) => Ok(proto::RUN_WAITING | failure(failed)),
            Some(RunAnswer::Done { failed }) => Ok(proto::RUN_DONE | failure(failed)),
            Some(RunAnswer::Cancelled) => Ok(0),
            Some(RunAnswer::Started | RunAnswer::Refused | RunAnswer::Unknown) | None => {
                Err(RunRefused)
            }
        }
    }

    /// The core answers in the same step.
    fn ask_run(&mut self, event: RunEvent) -> Option<RunAnswer> {
        self.run_answer = None;
        self.step(Event::Run(event));
        self.run_answer.take()
    }

    pub(super) fn carry_out_run(&mut self, effect: RunEffect) {
        match effect {
            RunEffect::Command { token, words } => self.children.start_command(token, words),
            RunEffect::Kill(token) => self.children.kill_command(token),
            RunEffect::Answer(answer) => self.run_answer = Some(answer),
        }
    }
}

fn new_uuid() -> io::Result<RunUuid> {
    let text = std::fs::read_to_string(UUID_FILE)?;
    RunUuid::new(text.trim().as_bytes()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}
