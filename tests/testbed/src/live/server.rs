//! The world's thread: requests of daemons, commands of the console, and time.

use super::connection::{ConnectionId, Line, Remote};
use super::console::{Answer, Command};
use super::{Options, Record, What};
use crate::harness::World;
use crate::power::Behaviour;
use controld::testbed::{BadFrame, Notice, Request, VERSION, group_of, kernel_write_of};
use controld::wire;
use dlm_core::effect::Effect;
use dlm_core::event::Token;
use dlm_core::types::{Group, NodeId};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The cluster's name.
const CLUSTER_NAME: &str = "testbed";

/// Something for the world's thread.
pub(super) enum Input {
    /// A daemon introduces itself.
    Hello { id: ConnectionId, version: u32, node: u32, line: Line },
    /// A daemon asks for something.
    Request(ConnectionId, Request),
    /// A connection is gone.
    Lost(ConnectionId),
    /// A command.
    Command(Command, Answer),
    /// No more.
    End,
}

/// Lines that wait for the brains they are for.
type Lines = Rc<RefCell<BTreeMap<NodeId, Line>>>;

/// A fence agent at the power switch.
struct Agent {
    node: NodeId,
    victim: NodeId,
    behaviour: Behaviour,
    answer: Answer,
}

pub(super) struct Server {
    world: World,
    begin: Instant,
    options: Options,
    record: Record,
    lines: Lines,
    connections: BTreeMap<ConnectionId, NodeId>,
    /// By the moment of their end, nanoseconds after the beginning, and a number.
    agents: BTreeMap<(u64, u64), Agent>,
    last_agent: u64,
}

impl Server {
    pub(super) fn new(options: Options, record: Record) -> Self {
        let lines = Lines::default();
        let (waiting, seen) = (Rc::clone(&lines), record.clone());
        let make_brain = Box::new(move |setup: dlm_core::options::Setup| {
            let node = setup.our_node;
            let line = waiting.borrow().get(&node).cloned();
            let remote = Remote { node, line, record: seen.clone() };
            let brain: Box<dyn crate::harness::Brain> = Box::new(remote);
            brain
        });
        let mut world = World::live(options.seed, options.nodes, make_brain);
        world.set_pace(options.pace());
        Self {
            world,
            begin: Instant::now(),
            options,
            record,
            lines,
            connections: BTreeMap::new(),
            agents: BTreeMap::new(),
            last_agent: 0,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How long nothing happens by itself; `None`: for ever.
    pub(super) fn pause(&self) -> Option<Duration> {
        let agent = self.agents.keys().next().map(|(at, _)| *at);
        let next = self.world.next_time().into_iter().chain(agent).min()?;
        Some(Duration::from_nanos(next.saturating_sub(self.now())))
    }

    /// Let happen what is due.
    pub(super) fn catch_up(&mut self) {
        let now = self.now();
        self.world.catch_up(now);
        while let Some(entry) = self.agents.first_entry().filter(|entry| entry.key().0 <= now) {
            let agent = entry.remove();
            self.end_agent(&agent);
        }
    }

    /// Tell what has come of it.
    pub(super) fn settle(&mut self) {
        for (node, lockspace, callback) in self.world.drain_callbacks() {
            self.record.add(node, What::Called(lockspace, callback));
        }
        let dark = |node: &NodeId| !self.world.is_powered(node.get());
        let gone: Vec<NodeId> = self.connections.values().copied().filter(dark).collect();
        for node in gone {
            if let Some(line) = self.forget(node) {
                line.say(Notice::PowerOff);
            }
        }
    }

    /// Nothing that comes over this node's connection counts any more.
    fn forget(&mut self, node: NodeId) -> Option<Line> {
        self.connections.retain(|_, other| *other != node);
        self.lines.borrow_mut().remove(&node)
    }

    pub(super) fn take(&mut self, input: Input) {
        match input {
            Input::Hello { id, version, node, line } => {
                let answer = self.hello(id, version, node, &line).unwrap_or_else(|why| {
                    let why = why.to_owned();
                    Notice::Refused { why }
                });
                line.say(answer);
                if let Some(node) = self.connections.get(&id).copied() {
                    self.begin_daemon(node, &line);
                }
            }
            Input::Request(id, request) => {
                if let Some(node) = self.connections.get(&id).copied()
                    && self.request(node, request).is_err()
                {
                    self.lose(node, "its daemon said what cannot be");
                }
            }
            Input::Lost(id) => {
                if let Some(node) = self.connections.get(&id).copied() {
                    self.lose(node, "its daemon is gone without a word");
                }
            }
            Input::Command(command, answer) => self.command(&command, answer),
            Input::End => {}
        }
    }

    fn hello(
        &mut self,
        id: ConnectionId,
        version: u32,
        node: u32,
        line: &Line,
    ) -> Result<Notice, &'static str> {
        let known = NodeId::new(node).filter(|node| node.get() <= self.options.nodes);
        let node = known.ok_or("no such node")?;
        if version != VERSION {
            return Err("another version of the protocol");
        }
        if self.lines.borrow().contains_key(&node) {
            return Err("its daemon is connected already");
        }
        self.lines.borrow_mut().insert(node, line.clone());
        self.connections.insert(id, node);
        Ok(Notice::Welcome {
            nodes: (1..=self.options.nodes).collect(),
            two_node: self.options.nodes == 2,
            cluster_name: CLUSTER_NAME.to_owned(),
        })
    }

    fn begin_daemon(&mut self, node: NodeId, line: &Line) {
        self.record.add(node, What::DaemonBegins);
        if let Err(why) = self.world.daemon_begins(node) {
            line.say(Notice::ClusterLost { why: why.to_owned() });
            self.forget(node);
        }
    }

    fn lose(&mut self, node: NodeId, why: &str) {
        self.power_off(node, why);
        if let Some(line) = self.forget(node) {
            line.hang_up();
        }
    }

    fn power_off(&mut self, node: NodeId, why: &str) {
        if self.world.is_powered(node.get()) {
            self.record.add(node, What::PowerOff(why.to_owned()));
            self.world.lose_power(node, why);
        }
    }

    fn request(&mut self, node: NodeId, request: Request) -> Result<(), BadFrame> {
        let effect = match request {
            Request::Hello { .. } => return Ok(()),
            Request::Bye => {
                self.record.add(node, What::DaemonEnds);
                self.world.daemon_ends(node);
                self.forget(node);
                return Ok(());
            }
            Request::Join { lockspace } => Effect::Join(group_of(lockspace.as_deref())?),
            Request::Leave { lockspace } => Effect::Leave(group_of(lockspace.as_deref())?),
            Request::Send { lockspace, bytes } => {
                let group = group_of(lockspace.as_deref())?;
                let bytes = controld::testbed::unhex("message", &bytes)?;
                let packet = wire::decode(&bytes).map_err(|error| BadFrame::Content {
                    field: "message",
                    value: error.to_string(),
                })?;
                Effect::Send { group, packet }
            }
            Request::Kick { node } => match NodeId::new(node) {
                Some(node) => Effect::Kick(node),
                None => return Ok(()),
            },
            Request::AnswerShutdown { allow } => Effect::AnswerShutdown { allow },
            Request::Write { token, lockspace, write } => {
                let (lane, write) = kernel_write_of(lockspace.as_deref(), write)?;
                Effect::Kernel { token: Token(token), lane, write }
            }
            Request::PlockResult { record } => {
                Effect::PlockResult(controld::testbed::plock_of(&record)?)
            }
            Request::Retire { lockspace } => match group_of(Some(&lockspace))? {
                Group::Lockspace(name) => Effect::Retire(name),
                Group::Daemon => return Ok(()),
            },
        };
        self.record.add(node, What::Asked(effect.clone()));
        if let Err(why) = self.world.asked(node, effect) {
            self.record.add(node, What::Broken(why));
        }
        Ok(())
    }

    fn command(&mut self, command: &Command, answer: Answer) {
        let known = |node: &NodeId| node.get() <= self.options.nodes;
        if !command.nodes().iter().all(known) {
            answer.say("no such node");
            return;
        }
        match command {
            Command::Join { node, lockspace } => self.world.join(node.get(), lockspace),
            Command::Leave { node, lockspace } => self.world.leave(node.get(), lockspace),
            Command::Crash { node } => self.power_off(*node, "crash"),
            Command::ProcDown { node } => {
                self.world.daemon_ends(*node);
                if let Some(line) = self.forget(*node) {
                    line.hang_up();
                }
            }
            Command::Fence { victim, behaviour } => {
                self.world.stand_fencing(victim.get(), *behaviour);
            }
            Command::Plock(info) => {
                if !self.world.plock(*info) {
                    answer.say("no daemon");
                    return;
                }
            }
            Command::Off { victim, by } => {
                self.begin_agent(*by, *victim, answer);
                return;
            }
        }
        answer.say("ok");
    }

    fn begin_agent(&mut self, node: NodeId, victim: NodeId, answer: Answer) {
        self.record.add(node, What::AgentAsks(victim));
        let (behaviour, delay) = self.world.next_agent(victim);
        // One that hangs has no end: its answer never comes.
        let at = if behaviour == Behaviour::Hangs { u64::MAX } else { self.now() + delay };
        self.last_agent += 1;
        self.agents.insert((at, self.last_agent), Agent { node, victim, behaviour, answer });
    }

    fn end_agent(&mut self, agent: &Agent) {
        let status = match agent.behaviour {
            Behaviour::Works => {
                self.power_off(agent.victim, "fenced");
                0
            }
            Behaviour::Lies => 0,
            Behaviour::Fails(status) => status,
            // As a shell says it of a program that is not there.
            Behaviour::Missing => 127,
            Behaviour::Hangs => return,
        };
        self.record.add(agent.node, What::AgentAnswered(agent.victim, status));
        agent.answer.say(&format!("status {status}"));
    }
}
