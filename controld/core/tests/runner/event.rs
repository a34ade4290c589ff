//! The event lines. GROUP is `daemon` or the name of a lockspace; LS is the name of a lockspace.
//!
//! | line | event |
//! |---|---|
//! | `begin`, `terminate`, `shutdown`, `lost WHY` | of the daemon as a whole |
//! | `quorum 1 ring 4 members 1 2 [without 2]` | of the quorum service; no address is known of those after `without` |
//! | `nodelist joined 2 left 2` | the same |
//! | `confchg GROUP members 1 2 joined 1 4:nodeup left 3:nodedown` | `:nodeup`, `:nodedown`, `:procdown`, else join and leave |
//! | `ring GROUP 8`, `joinfailed GROUP WHY`, `bad GROUP from 2 WHY` | of a group |
//! | `protocol from 2 [max 3.1.1] [run 3.1.1] [stateful] [c]` | `c`: without our extensions |
//! | `start LS from 2 seq 5 counts 2/0/1/1 started 1 members 1 2 [flags nack] [ownership unset]` | messages |
//! | `.. header 3 2 other` | a message whose header names sender, minor version, lockspace |
//! | `result from 2 victim 3 result 0`, `clear from 2 for 1 [result -61] flags startup,fipu` | messages |
//! | `past from 2 since 4 ring 8 [whole] side 2 3` | a message
//! | `release_recover LS from 2 value 1` | a message |
//! | `unknown [LS] from 2 type 99` | a message of a later version |
//! | `agree LS [from 2] [fresh 3] [without 2] [unset 2 3] [on 2] [off 2]` | STARTs of all other members (or those named) that say what our last one said; `fresh`: joiners; `without` POSIX locks; `unset`, `on`, `off`: daemons of ours, with `plock_ownership` like that |
//! | `plock`, `said`, `data`, `done`, `locks` | see `plock` |
//! | `echo`, `echo all`, `echo none` | our oldest message comes back; all do; all are lost |
//! | `kernel ok`, `kernel LS ok`, `kernel all`, `kernel fail EIO` | end of the oldest kernel write, or of all |
//! | `agent 3 [device NAME] exit 1`, `signal 9`, `errno 2` | end of an agent |
//! | `online LS`, `offline LS [recover 1]`, `slots LS 1:1 2:3`, `withdraw LS` | of the kernel |
//! | `run start U [on 3] [flags 1] [: COMMAND]`, `run check U [clear\|cancel]`, `run done exit 0` | run commands; `done`: the oldest |
//! | `run request U from 2 [to 1] [of 3] [in LS] [: COMMAND]`, `run reply U from 2 [of 1] [in LS] result 0` | messages |
//! | `ack 3`, `option NAME VALUE`, `device 3 NAME` | commands; dlm.conf read again, with this device and nothing broken |
//! | `deadline`, `at +30s` | time passes until the next deadline; passes |
//! | `up 2 3 ring 4` | the whole start of a daemon: the nodes are there, and clear us |
//! | `join LS members 2 3 ring 4 [unset 2 3]` | the whole join of a lockspace that the members run, until the kernel's start is done |

use super::args::{Args, lockspace, node};
use super::parse::{confchg, flags, ownership, packet, protocol, quorum, start};
use super::{plock, setup, text};
use dlm_core::Core;
use dlm_core::effect::{Effect, Lane};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::message::{
    FenceClear, FencePast, FenceResult, Message, Packet, START_HAVEPLOCK, Start,
};
use dlm_core::options::Setup;
use dlm_core::run::RunEffect;
use dlm_core::snapshot::Snapshot;
use dlm_core::types::{
    ChangeSeq, Group, Instant, LockspaceName, NodeId, Now, RingId, Slot, Version, WallSeconds,
};
use std::collections::{BTreeMap, VecDeque};

/// What ended agents wrote; empty.
const SILENCE: String = String::new();
/// Our monotonic clock when a script begins, seconds.
const BEGIN_MONO: u64 = 100;
/// Wall clock minus monotonic clock, seconds.
const WALL_OFFSET: u64 = 900;

/// A daemon, and what is on its way to and from it.
#[derive(Clone)]
pub(crate) struct Run {
    core: Core,
    setup: Setup,
    now: Instant,
    kernel: VecDeque<(Token, Lane)>,
    sent: VecDeque<(Group, Packet)>,
    pub(super) commands: VecDeque<Token>,
    agents: VecDeque<(Token, NodeId, String)>,
    last_starts: BTreeMap<LockspaceName, Start>,
    shown: Vec<String>,
    plock_log: Vec<String>,
}

impl Run {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            core: Core::new(setup.clone()),
            setup,
            now: Instant::default().plus_seconds(BEGIN_MONO),
            kernel: VecDeque::new(),
            sent: VecDeque::new(),
            commands: VecDeque::new(),
            agents: VecDeque::new(),
            last_starts: BTreeMap::new(),
            shown: Vec::new(),
            plock_log: Vec::new(),
        }
    }

    /// The state as clients see it.
    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.core.snapshot()
    }

    /// What the lines since the last call have caused.
    pub(crate) fn take_shown(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shown)
    }

    /// The lines of the plock log, without their times.
    pub(crate) fn plock_log(&self) -> &[String] {
        &self.plock_log
    }

    /// Our messages that have not come back, oldest first.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &Message> {
        self.sent.iter().map(|(_, packet)| &packet.message)
    }

    /// Carry out a line of a script.
    pub(crate) fn line(&mut self, line: &str) {
        let word = line.split_whitespace().next().expect("an event line");
        match word {
            "begin" => self.step(Event::Begin),
            "terminate" => self.step(Event::Terminate),
            "shutdown" => self.step(Event::ShutdownQuestion),
            "quorum" | "nodelist" | "confchg" | "ring" | "joinfailed" | "bad" | "lost" => {
                self.cluster(word, line);
            }
            "protocol" | "start" | "result" | "clear" | "past" | "release_recover"
            | "withdraws" | "unknown" => {
                self.message(word, line);
            }
            "plock" => {
                let info = plock::request(line, self.setup.our_node);
                self.step(Event::PlockRequest(info));
            }
            "said" | "data" | "done" => self.about_plocks(word, line),
            "locks" => self.shown.extend(plock::locks(&self.core, line)),
            "agree" => self.agree(line),
            "echo" => self.echo(Args::new(line, &[]).list("").first().copied()),
            "kernel" => self.kernel(line),
            "agent" => self.agent(line),
            "online" | "offline" | "slots" | "withdraw" => self.lockspace(word, line),
            "run" => self.run(line),
            "ack" => self.step(Event::FenceAck { node: Args::new(line, &[]).node("") }),
            "option" => self.option(line),
            "device" => self.device(line),
            "deadline" => self.wait_for_deadline(),
            "at" => self.pass(line),
            "up" => self.up(line),
            "join" => self.join(line),
            "state" => self.shown.extend(text::state(&self.core.snapshot())),
            _ => panic!("unknown event `{line}`"),
        }
    }

    pub(super) fn step(&mut self, event: Event) {
        let wall = WallSeconds(self.now.seconds() + WALL_OFFSET);
        let mut effects = Vec::new();
        self.core.step(Now { mono: self.now, wall }, event, &mut effects);
        for effect in effects {
            let told = match &effect {
                Effect::KillAgent(token) => self.killed(*token),
                other => text::effect(other),
            };
            self.shown.extend(told);
            self.note(effect);
        }
    }

    fn note(&mut self, effect: Effect) {
        match effect {
            Effect::Kernel { token, lane, .. } => self.kernel.push_back((token, lane)),
            Effect::LogPlock { lockspace, text, .. } => {
                self.plock_log.push(format!("{lockspace} {text}"));
            }
            Effect::Run(RunEffect::Command { token, .. }) => self.commands.push_back(token),
            Effect::RunAgent { token, victim, device, .. } => {
                self.agents.push_back((token, victim, device.name));
            }
            Effect::Send { group, packet } => {
                if let (Group::Lockspace(name), Message::Start(start)) = (&group, &packet.message) {
                    self.last_starts.insert(name.clone(), start.clone());
                }
                self.sent.push_back((group, packet));
            }
            _ => {}
        }
    }

    fn killed(&self, token: Token) -> Option<String> {
        let (_, victim, name) = self.agents.iter().find(|(agent, ..)| *agent == token)?;
        Some(format!("kill agent {victim} {name}"))
    }

    fn cluster(&mut self, word: &str, line: &str) {
        let args = Args::new(line, &["ring", "members", "without", "joined", "left", "from"]);
        let event = match word {
            "quorum" => quorum(&args),
            "nodelist" => {
                Event::Nodelist { joined: args.nodes("joined"), left: args.nodes("left") }
            }
            "confchg" => Event::Confchg { group: args.group(), change: confchg(&args) },
            "ring" => {
                let seq = args.list("").get(1).and_then(|word| word.parse().ok());
                let ring = RingId { node: 1, seq: seq.expect("number of the ring") };
                Event::Ring { group: args.group(), ring }
            }
            "joinfailed" => {
                Event::JoinFailed { group: args.group(), why: args.list("").split_off(1).join(" ") }
            }
            "bad" => {
                let (group, from) = (args.group(), args.node("from"));
                Event::BadMessage { group, from, why: args.list("from").split_off(1).join(" ") }
            }
            _ => Event::ClusterLost { why: args.text("") },
        };
        self.step(event);
    }

    fn message(&mut self, word: &str, line: &str) {
        let keywords = [
            "from",
            "max",
            "run",
            "stateful",
            "c",
            "seq",
            "counts",
            "started",
            "members",
            "flags",
            "ownership",
            "victim",
            "result",
            "for",
            "value",
            "type",
            "header",
            "ring",
            "since",
            "whole",
            "side",
        ];
        let args = Args::new(line, &keywords);
        let message = match word {
            "protocol" => protocol(&args),
            "start" => Message::Start(start(&args)),
            "result" => Message::FenceResult(FenceResult {
                victim: args.node("victim"),
                result: args.number("result"),
                wall: WallSeconds(self.now.seconds() + WALL_OFFSET),
                ring: args.number_or("ring", 0),
            }),
            "clear" => Message::FenceClear(FenceClear {
                node: args.node("for"),
                result: args.number_or("result", 0),
                flags: flags(args.one("flags"), &text::CLEAR_FLAGS),
                ring: args.number_or("ring", 0),
            }),
            "past" => Message::FencePast(FencePast {
                since: args.number("since"),
                ring: args.number("ring"),
                whole: args.has("whole"),
                side: args.nodes("side"),
            }),
            "withdraws" => Message::Withdraw { stopped_for: NodeId::new(args.number_or("for", 0)) },
            "unknown" => {
                Message::Other { kind: args.number("type"), words: [0; 3], body: Vec::new() }
            }
            _ => Message::ReleaseRecover { value: args.number("value") },
        };
        let group = if args.list("").is_empty() {
            Group::Daemon
        } else {
            Group::Lockspace(args.lockspace())
        };
        let from = args.node("from");
        let mut packet = packet(&group, from, message);
        if let [sender, minor, name] = args.list("header").as_slice() {
            packet.sender = node(sender);
            packet.version = Version { minor: minor.parse().expect("minor"), ..packet.version };
            packet.global_id = Group::Lockspace(lockspace(name)).global_id();
        }
        self.step(Event::Message { group, from, packet, length: 0 });
    }

    fn about_plocks(&mut self, word: &str, line: &str) {
        let (group, from, message) = match word {
            "said" => plock::said(line),
            "data" => plock::data(line),
            _ => {
                let name = Args::new(line, &["from"]).lockspace();
                plock::done(line, self.last_starts[&name].counts.clone())
            }
        };
        self.deliver(group, from, message);
    }

    pub(crate) fn deliver(&mut self, group: Group, from: NodeId, message: Message) {
        let packet = packet(&group, from, message);
        self.step(Event::Message { group, from, packet, length: 0 });
    }

    /// The other members say what we said last.
    fn agree(&mut self, line: &str) {
        let args = Args::new(line, &["from", "fresh", "without", "unset", "on", "off"]);
        let name = args.lockspace();
        let said = self.last_starts.get(&name).cloned().expect("a START of ours");
        let named = args.nodes("from");
        let (us, fresh) = (self.setup.our_node, args.nodes("fresh"));
        let without = args.nodes("without");
        for from in said.counts.members.iter().copied().filter(|from| *from != us) {
            if named.is_empty() || named.contains(&from) {
                let mut start = said.clone();
                start.seq = ChangeSeq::from_wire(70 + said.seq.get());
                let has_plocks = !fresh.contains(&from) && !without.contains(&from);
                start.flags = u32::from(fresh.contains(&from));
                if has_plocks {
                    start.flags |= START_HAVEPLOCK;
                }
                for word in ["unset", "on", "off"] {
                    if args.nodes(word).contains(&from) {
                        start.flags |= ownership(word);
                    }
                }
                start.counts.started_count = u32::from(!fresh.contains(&from));
                self.deliver(Group::Lockspace(name.clone()), from, Message::Start(start));
            }
        }
    }

    fn echo(&mut self, which: Option<&str>) {
        if which == Some("none") {
            self.sent.clear();
        }
        while let Some((group, packet)) = self.sent.pop_front() {
            let from = self.setup.our_node;
            self.step(Event::Message { group, from, packet, length: 0 });
            if which.is_none() {
                return;
            }
        }
        assert!(which.is_some(), "echo without a message of ours");
    }

    fn kernel(&mut self, line: &str) {
        match Args::new(line, &[]).list("").as_slice() {
            ["all"] => {
                while let Some((token, _)) = self.kernel.pop_front() {
                    self.step(Event::KernelDone { token, result: Ok(()) });
                }
            }
            ["ok"] => {
                let (token, _) = self.kernel.pop_front().expect("a kernel write");
                self.step(Event::KernelDone { token, result: Ok(()) });
            }
            [name, "ok"] => {
                let lane = Lane::Lockspace(lockspace(name));
                let place = self.kernel.iter().position(|(_, of)| *of == lane);
                let (token, _) = place.and_then(|n| self.kernel.remove(n)).expect("a kernel write");
                self.step(Event::KernelDone { token, result: Ok(()) });
            }
            ["fail", why] => {
                let (token, _) = self.kernel.pop_front().expect("a kernel write");
                self.step(Event::KernelDone { token, result: Err(why.to_string()) });
            }
            _ => panic!("unknown event `{line}`"),
        }
    }

    fn agent(&mut self, line: &str) {
        let args = Args::new(line, &["device", "exit", "signal", "errno"]);
        let victim = args.node("");
        let outcome = if args.has("exit") {
            AgentOutcome::Exited(args.number("exit"))
        } else if args.has("signal") {
            AgentOutcome::Signalled(args.number("signal"))
        } else {
            AgentOutcome::NotStarted(args.number("errno"))
        };
        let place = self.agents.iter().position(|(_, of, name)| {
            *of == victim && (!args.has("device") || name == args.one("device"))
        });
        let (token, ..) = place.and_then(|n| self.agents.remove(n)).expect("an agent");
        self.step(Event::AgentDone { token, outcome, output: SILENCE });
    }

    fn lockspace(&mut self, word: &str, line: &str) {
        let args = Args::new(line, &["recover"]);
        let lockspace = args.lockspace();
        let event = match word {
            "online" => Event::Online { lockspace },
            "offline" => {
                Event::Offline { lockspace, release_recover: args.number_or("recover", 0) }
            }
            "slots" => {
                let pairs = args.list("").split_off(1).into_iter().filter_map(|pair| {
                    let (slot, holder) = pair.split_once(':')?;
                    Some((Slot::new(slot.parse().ok()?)?, node(holder)))
                });
                Event::Slots { lockspace, generation: 1, slots: pairs.collect() }
            }
            _ => Event::Withdraw { table: format!("cluster:{lockspace}"), lockspace },
        };
        self.step(event);
    }

    fn option(&mut self, line: &str) {
        let args = Args::new(line, &[]);
        let value = args.list("").get(1).copied().expect("value of the option");
        setup::dynamic(&mut self.setup.dynamic, args.one(""), value);
        self.step(Event::Options(self.setup.dynamic.clone()));
    }

    fn device(&mut self, line: &str) {
        self.setup.devices.broken.clear();
        setup::option(&mut self.setup, line);
        self.step(Event::Devices(self.setup.devices.clone()));
    }

    fn wait_for_deadline(&mut self) {
        let deadline = self.core.next_deadline().expect("a deadline");
        let waited = deadline.millis_since(self.now);
        self.now = self.now.max(deadline);
        self.shown.push(format!("+{waited}ms"));
        self.step(Event::Deadline);
    }

    fn pass(&mut self, line: &str) {
        let seconds = line.strip_prefix("at +").and_then(|rest| rest.strip_suffix('s'));
        let end = self.now.plus_seconds(seconds.and_then(|n| n.parse().ok()).expect("seconds"));
        while let Some(next) = self.core.next_deadline().filter(|next| *next <= end) {
            assert!(next > self.now, "a deadline that does not pass");
            self.now = next;
            self.step(Event::Deadline);
        }
        self.now = end;
    }

    fn lines(&mut self, lines: &[String]) {
        for line in lines {
            self.line(line);
        }
    }

    fn up(&mut self, line: &str) {
        let args = Args::new(line, &["ring"]);
        let (others, ring, us) = (args.text(""), args.one("ring"), self.setup.our_node);
        self.lines(&[
            "begin".to_string(),
            format!("quorum 1 ring {ring} members {us} {others}"),
            "kernel all".to_string(),
            format!("confchg daemon members {us} {others} joined {us}"),
            format!("ring daemon {ring}"),
        ]);
        for other in others.split_whitespace() {
            self.line(&format!("protocol from {other} run 3.1.1"));
        }
        self.line("echo all");
        if let Some(server) = others.split_whitespace().next() {
            self.line(&format!("clear from {server} for {us} flags startup,fipu"));
        }
        self.line("at +60s");
    }

    fn join(&mut self, line: &str) {
        let args = Args::new(line, &["members", "ring", "unset", "on", "off"]);
        let words = ["unset", "on", "off"].map(|word| format!("{word} {}", args.text(word)));
        let (name, others, us) = (args.one(""), args.text("members"), self.setup.our_node);
        self.lines(&[
            format!("online {name}"),
            format!("confchg {name} members {us} {others} joined {us}"),
            format!("ring {name} {}", args.one("ring")),
            format!("agree {name} {}", words.join(" ")),
            "echo all".to_string(),
            "kernel all".to_string(),
        ]);
    }
}
