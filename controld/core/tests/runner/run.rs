//! The event lines of run commands.

use super::args::{Args, lockspace};
use super::event::Run;
use dlm_core::event::{AgentOutcome, Event};
use dlm_core::message::{Message, RunCounts, RunReply, RunRequest};
use dlm_core::run::{RunEvent, RunUuid, Then};
use dlm_core::types::{Group, NodeId};

/// What is run if a line does not say.
const COMMAND: &str = "lvm lvchange --refresh vg/lv";

impl Run {
    /// A line that begins with `run`.
    pub(super) fn run(&mut self, line: &str) {
        let (words, command) = line.split_once(" : ").unwrap_or((line, COMMAND));
        let args = Args::new(
            words,
            &["on", "to", "of", "in", "from", "flags", "result", "exit", "signal", "errno"],
        );
        let command = command.as_bytes().to_vec();
        match args.list("").as_slice() {
            ["start", name] => {
                let node = args.nodes("on").first().copied();
                let flags = args.number_or("flags", 1);
                self.step(Event::Run(RunEvent::Start { uuid: uuid(name), command, node, flags }));
            }
            ["check", name, then @ ..] => {
                let then = match then {
                    ["clear"] => Then::Clear,
                    ["cancel"] => Then::Cancel,
                    _ => Then::Keep,
                };
                self.step(Event::Run(RunEvent::Check { uuid: uuid(name), then }));
            }
            ["done"] => self.command_done(&args),
            [word, name] => {
                let from = args.node("from");
                let start = args.nodes("of").first().copied();
                let message = match *word {
                    "request" => Message::RunRequest(RunRequest {
                        dest: args.nodes("to").first().copied(),
                        start: start.unwrap_or(from),
                        flags: args.number_or("flags", 1),
                        uuid: uuid(name),
                        command,
                    }),
                    _ => Message::RunReply(reply(&args, name, start)),
                };
                let group = match args.list("in").first() {
                    Some(name) => Group::Lockspace(lockspace(name)),
                    None => Group::Daemon,
                };
                self.deliver(group, from, message);
            }
            _ => panic!("unknown event `{line}`"),
        }
    }

    fn command_done(&mut self, args: &Args<'_>) {
        let outcome = if args.has("signal") {
            AgentOutcome::Signalled(args.number("signal"))
        } else if args.has("errno") {
            AgentOutcome::NotStarted(args.number("errno"))
        } else {
            AgentOutcome::Exited(args.number("exit"))
        };
        let token = self.commands.pop_front().expect("a command that runs");
        let output = "what it said\n".to_string();
        self.step(Event::Run(RunEvent::Done { token, pid: 4711, outcome, output }));
    }
}

fn reply(args: &Args<'_>, name: &str, start: Option<NodeId>) -> RunReply {
    RunReply {
        dest: None,
        start: start.unwrap_or_else(|| NodeId::new(1).expect("not 0")),
        flags: 1,
        uuid: uuid(name),
        pid: 5,
        result: args.number("result"),
        counts: RunCounts::default(),
    }
}

fn uuid(word: &str) -> RunUuid {
    RunUuid::new(word.as_bytes()).expect("a uuid")
}
