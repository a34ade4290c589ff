//! Commands that one node has run on others (spec/run-commands.md): who is asked, who runs what, what became of it.
//!
//! A client asks its daemon, which multicasts the request; every node that is meant runs the command, if it is on the list
//! of [`command`], and multicasts the result. Unlike upstream, every request is answered, whatever happens to the
//! command, and every wait ends: by the answers, by the failure of who should answer, or by time.

pub mod command;
mod commands;
mod started;

use crate::effect::Effect;
use crate::event::{AgentOutcome, Confchg, Token};
use crate::message::{Message, Packet, RunReply, RunRequest};
use crate::out::Out;
use crate::snapshot;
use crate::types::{GlobalId, Group, Instant, NodeId};
use crate::waiting::Waiting;
use crate::world::World;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use commands::Commands;
use core::fmt;
use serde::{Deserialize, Serialize};
use started::StartedHere;
/// Bytes of a request's field for the name of an operation (`DLMC_RUN_UUID_LEN`), its NUL included.
pub const UUID_LENGTH: usize = 64;
/// Bytes of a request's field for the command (`DLMC_RUN_COMMAND_LEN`), its NUL included.
pub const COMMAND_LENGTH: usize = 1024;

/// The name of one operation. 36 characters in all daemons; here 1 to 63 printable ones, so that it can be logged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct RunUuid(String);

impl TryFrom<String> for RunUuid {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(text.as_bytes()).ok_or("no name of an operation")
    }
}

impl RunUuid {
    /// `None` where the bytes are no name.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let fits = (1..UUID_LENGTH).contains(&bytes.len());
        let text = core::str::from_utf8(bytes).ok()?;
        (fits && bytes.iter().all(u8::is_ascii_graphic)).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunUuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happens to run commands on this node.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RunEvent {
    /// A client wants a command run; answered by [`RunEffect::Answer`] in the same step.
    Start {
        /// A name that nobody had before: the core has no randomness.
        uuid: RunUuid,
        /// The text, without NUL.
        command: Vec<u8>,
        /// Where; `None`: on every node.
        node: Option<NodeId>,
        /// `RUN_NODE_*` of [`crate::message`].
        flags: u32,
    },
    /// A client wants to know what became of it; answered by [`RunEffect::Answer`] in the same step.
    Check {
        /// As given to `Start`.
        uuid: RunUuid,
        /// What else is to be done.
        then: Then,
    },
    /// A command of ours is at its end, or could not be started.
    Done {
        /// Of the effect that asked for it.
        token: Token,
        /// Its process id; 0 if it could not be started.
        pid: i32,
        /// How it ended.
        outcome: AgentOutcome,
        /// The last of what it wrote to stdout and stderr.
        output: String,
    },
}

/// What a check does beside telling the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Then {
    /// Nothing.
    Keep,
    /// Forget an operation that is done.
    Clear,
    /// Forget it, done or not. Commands that have begun go on.
    Cancel,
}

/// What run commands ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum RunEffect {
    /// Run a program, apart from the daemon; answered by [`RunEvent::Done`].
    Command {
        /// For the answer, and for `Kill`.
        token: Token,
        /// The program, searched in PATH, and its arguments.
        words: Vec<String>,
    },
    /// Kill a command's process group; its `Done` still comes.
    Kill(Token),
    /// The answer to the `Start` or `Check` of this step.
    Answer(RunAnswer),
}

/// What a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum RunAnswer {
    /// The request is on its way.
    Started,
    /// It cannot be: the log says why.
    Refused,
    /// Some have not answered.
    Waiting {
        /// One of those that have answered failed.
        failed: bool,
    },
    /// All have answered.
    Done {
        /// It failed somewhere.
        failed: bool,
    },
    /// It is forgotten, as asked.
    Cancelled,
    /// No such operation.
    Unknown,
}

/// Bytes of a command that are logged.
const LOGGED: usize = 128;

/// Run commands of one daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Runs {
    started: StartedHere,
    commands: Commands,
    numbers: u64,
}

impl Runs {
    /// An event of this node.
    pub(crate) fn event(&mut self, event: RunEvent, world: &World, out: &mut Out<'_>) {
        match event {
            RunEvent::Start { uuid, command, node, flags } => {
                let us = world.setup.our_node;
                let request = RunRequest { dest: node, start: us, flags, uuid, command };
                let answer = self.start(request, world, out);
                out.push(Effect::Run(RunEffect::Answer(answer)));
            }
            RunEvent::Check { uuid, then } => {
                let answer = self.started.check(&uuid, then, out);
                out.push(Effect::Run(RunEffect::Answer(answer)));
            }
            RunEvent::Done { token, pid, outcome, output } => {
                if let Some((request, result)) =
                    self.commands.done(token, pid, outcome, &output, out)
                {
                    self.answer(&request, pid, result, world, out);
                }
            }
        }
    }

    fn start(&mut self, request: RunRequest, world: &World, out: &mut Out<'_>) -> RunAnswer {
        let number = self.number();
        let request = Arc::new(request);
        match self.started.start(number, &request, world, out) {
            Ok(own_at_once) => {
                out.error(format!("run start {} {}", request.uuid, shown(&request.command)));
                send(Message::RunRequest(RunRequest::clone(&request)), world, out);
                if own_at_once {
                    self.accept(request, world, out);
                }
                RunAnswer::Started
            }
            Err(why) => {
                out.error(format!("run start {} refused: {why}", shown(&request.command)));
                RunAnswer::Refused
            }
        }
    }

    fn number(&mut self) -> u64 {
        self.numbers = self.numbers.wrapping_add(1);
        self.numbers
    }

    /// RUN_REQUEST, at its place in the group's order.
    pub(crate) fn request(
        &mut self,
        from: NodeId,
        request: &RunRequest,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let us = world.setup.our_node;
        let RunRequest { dest, start, uuid, .. } = request;
        out.debug(format!("receive_run_request {uuid} from {from}"));
        if *start != from {
            out.error(format!(
                "run request {uuid} from {from} ignored: it names {start} as its start"
            ));
        } else if from == us {
            match self.started.own_in_order(uuid, us) {
                Some(request) => self.accept(request, world, out),
                None => out.debug("receive_run_request ignore self".into()),
            }
        } else if self.commands.has(request) {
            out.error(format!("run request {uuid} from {from} ignored: it came before"));
        } else if dest.is_none_or(|dest| dest == us) {
            out.error(format!("run request {uuid} {}", shown(&request.command)));
            self.accept(Arc::new(request.clone()), world, out);
        }
    }

    /// A command for this node: it is queued, or answered for at once.
    fn accept(&mut self, request: Arc<RunRequest>, world: &World, out: &mut Out<'_>) {
        let number = self.number();
        let refused = if world.setup.fixed.helper.is_on() {
            self.commands.accept(number, &request, out)
        } else {
            Err("enable_helper is off".into())
        };
        if let Err(why) = refused {
            out.error(format!("run request {} refused: {why}", request.uuid));
            self.answer(&request, 0, commands::NOT_RUN, world, out);
        }
    }

    /// Tell everybody what became of a command here; the node that asked listens.
    fn answer(
        &mut self,
        request: &RunRequest,
        pid: i32,
        result: i32,
        world: &World,
        out: &mut Out<'_>,
    ) {
        let RunRequest { dest, start, flags, uuid, .. } = request;
        out.debug(format!("send_run_reply {uuid} result {result}"));
        let counts = self.started.own_result(request, world.setup.our_node, pid, result);
        let reply = RunReply {
            dest: *dest,
            start: *start,
            flags: *flags,
            uuid: uuid.clone(),
            pid,
            result,
            counts,
        };
        send(Message::RunReply(reply), world, out);
    }

    /// RUN_REPLY: an answer to somebody, perhaps to us.
    pub(crate) fn reply(&mut self, from: NodeId, reply: &RunReply, out: &mut Out<'_>) {
        self.started.reply(from, reply, out);
    }

    /// Who has left the daemon group answers no more.
    pub(crate) fn confchg(&mut self, change: &Confchg, out: &mut Out<'_>) {
        for (node, _) in &change.left {
            self.started.gone(*node, out);
        }
    }

    /// What is due, and what can be begun.
    pub(crate) fn go_on(&mut self, world: &World, out: &mut Out<'_>) {
        self.started.expire(out);
        while let Some((request, result)) = self.commands.expire(out) {
            self.answer(&request, 0, result, world, out);
        }
        self.commands.begin(out);
    }

    /// When `go_on` has something to do without any other event.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.started.deadline().into_iter().chain(self.commands.deadline()).min()
    }

    /// What is waited for.
    pub(crate) fn waits(&self) -> impl Iterator<Item = Waiting> {
        self.started.wait().into_iter().chain(self.commands.wait())
    }

    /// What `dlm_tool run_list` shows, in order of creation.
    pub(crate) fn snapshot(&self, us: NodeId) -> Vec<snapshot::Run> {
        let mut runs: Vec<snapshot::Run> =
            self.started.snapshot().chain(self.commands.snapshot(us)).collect();
        runs.sort_by_key(|run| run.number);
        runs
    }
}

fn send(message: Message, world: &World, out: &mut Out<'_>) {
    let packet = Packet {
        version: world.daemons.run_version(),
        sender: world.setup.our_node,
        global_id: GlobalId::default(),
        message,
    };
    out.push(Effect::Send { group: Group::Daemon, packet });
}

/// The beginning of a command, for the log: what is not printable is a question mark.
fn shown(command: &[u8]) -> String {
    let letter = |byte: &u8| if (b' '..=b'~').contains(byte) { char::from(*byte) } else { '?' };
    command.iter().take(LOGGED).map(letter).collect()
}
