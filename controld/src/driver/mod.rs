//! The loop: events to the core, effects to the seams. The only place with an event loop, and none of its own rules.
//!
//! Inputs have a bounded channel each, and each batch has room for POSIX locks and room for all else, so that a flood of one
//! cannot starve another. The state that queries show is made when somebody asks for it: a recovery does not pay for it.

mod agents;
mod awake;
mod children;
pub(crate) mod clock;
mod inputs;
mod publish;
mod recorder;
mod run;
mod timeline;

pub use inputs::Inputs;
pub use recorder::{FlightRecorder, Writing};

use crate::cluster::Cluster;
use crate::config::{Config, Key, Outcome};
use crate::control::{Command, History, Meters, Published};
use crate::kernel::Kernel;
use crate::logging::Logger;
use crate::wire;
use children::Children;
use dlm_core::Core;
use dlm_core::effect::{Effect, Lane};
use dlm_core::event::Event;
use dlm_core::message::Message;
use dlm_core::options::Switch;
use dlm_core::plock::PlockText;
use dlm_core::run::RunAnswer;
use dlm_core::types::{Group, Instant, NodeId};
use inputs::{Input, Looks};
use std::sync::Arc;
use timeline::Timeline;
use tokio::sync::watch;

/// Events that are handled before the loop looks at its end; besides, as many requests for POSIX locks.
const BATCH: usize = 64;

/// POSIX locks, or files that have some, that are looked at for one part of what shows them: some tens of microseconds.
const LOOKS: usize = 512;

/// How the daemon ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// All is over and in order.
    Done,
    /// It cannot work with its peers; nothing ran here.
    Refused(String),
    /// Corosync is gone.
    ClusterLost(String),
    /// It must not go on.
    FailStop(String),
}

/// Who is told what.
pub struct Outputs {
    /// The cluster seam.
    pub cluster: Box<dyn Cluster>,
    /// The kernel seam.
    pub kernel: Box<dyn Kernel>,
    /// What queries show.
    pub published: watch::Sender<Arc<Published>>,
    /// Recoveries of the last hours.
    pub history: History,
    /// What is counted and timed.
    pub meters: Meters,
    /// The log.
    pub logger: Logger,
    /// What the core was told, and did.
    pub recorder: FlightRecorder,
    /// Called once, when the daemon can serve.
    pub ready: Box<dyn FnOnce() + Send>,
}

/// What a batch held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Batch {
    /// All that was there.
    All,
    /// As much as it may; there may be more.
    Full,
}

/// The core with everything around it.
pub struct Driver {
    core: Core,
    config: Config,
    /// What `dump_config` shows; made anew when an option changes.
    config_text: Arc<str>,
    /// Nodes of corosync's nodelist, whose fence devices are looked up.
    nodes: Vec<NodeId>,
    outputs: Outputs,
    ready: Option<Box<dyn FnOnce() + Send>>,
    children: Children,
    timeline: Timeline,
    /// What the last step says to the client that caused it.
    run_answer: Option<RunAnswer>,
    end: Option<End>,
    /// Of the step that is being carried out; kept for its memory.
    effects: Vec<Effect>,
    /// Those of them that only tell.
    words: Vec<Effect>,
    /// What queries show may have changed since it was published.
    changed: bool,
    /// So may what is counted of POSIX locks.
    plocks_changed: bool,
    /// When it was published.
    published: Instant,
}

impl Driver {
    /// A driver whose core has not begun.
    #[must_use]
    pub fn new(core: Core, config: Config, nodes: Vec<NodeId>, mut outputs: Outputs) -> Self {
        let ready = std::mem::replace(&mut outputs.ready, Box::new(|| ()));
        let config_text = Arc::from(config.settings().dump());
        Self {
            core,
            config,
            config_text,
            nodes,
            outputs,
            ready: Some(ready),
            children: Children::new(),
            timeline: Timeline::default(),
            run_answer: None,
            end: None,
            effects: Vec::new(),
            words: Vec::new(),
            changed: true,
            plocks_changed: false,
            published: Instant::default(),
        }
    }

    /// Run until the daemon ends, on the reactor of `inputs`, in a tokio runtime that other threads run; gives back the outputs, for what is left to do at the end.
    pub async fn run(mut self, mut inputs: Inputs) -> (End, Outputs, Inputs, Core) {
        self.step(Event::Begin);
        // From here on queries ask us.
        self.publish();
        let mut looks = Looks::new();
        loop {
            if let Some(end) = self.end.take() {
                self.publish_end();
                return (end, self.outputs, inputs, self.core);
            }
            let deadline = self.core.next_deadline();
            let first = inputs.next(&mut looks, &mut self.children, deadline).await;
            if let (Input::Event(Event::Deadline), Some(due)) = (&first, deadline) {
                self.outputs.meters.deadline(due, clock::now().mono);
            }
            if self.handle_batch(first, &mut inputs, &mut looks) == Batch::Full {
                // Timers, descriptors and other tasks have their turn only when this one waits.
                tokio::task::yield_now().await;
            }
        }
    }

    /// What has come, and what is there already: an input is only taken if it is also handled.
    fn handle_batch(&mut self, first: Input, inputs: &mut Inputs, looks: &mut Looks) -> Batch {
        self.handle(first);
        let mut batch = Batch::Full;
        for _ in 1..BATCH {
            if self.end.is_some() {
                return Batch::All;
            }
            let Some(input) = inputs.ready(looks) else {
                batch = Batch::All;
                break;
            };
            self.handle(input);
        }
        for _ in 0..BATCH {
            if self.end.is_some() {
                return Batch::All;
            }
            let Some(event) = inputs.ready_plock(looks) else { return batch };
            self.step(event);
        }
        Batch::Full
    }

    fn handle(&mut self, input: Input) {
        match input {
            Input::Event(event) => self.step(event),
            Input::Command(command) => self.command(command),
        }
    }

    fn step(&mut self, event: Event) {
        let mut effects = std::mem::take(&mut self.effects);
        let plocks_alone = concerns_plocks_alone(&event);
        self.plocks_changed |= plocks_alone;
        if !plocks_alone {
            self.touch();
        }
        let now = clock::now();
        self.outputs.meters.event(now.mono, &event);
        self.outputs.recorder.begin(now, &event, &self.core);
        self.core.step(now, event, &mut effects);
        self.outputs.recorder.end(&effects);
        // What acts before what tells: peers and the kernel wait for the one, and words can wait for both.
        let mut words = std::mem::take(&mut self.words);
        for effect in effects.drain(..) {
            if is_word(&effect) {
                words.push(effect);
            } else {
                self.carry_out(now.mono, effect);
            }
        }
        for effect in words.drain(..) {
            self.carry_out(now.mono, effect);
        }
        self.words = words;
        self.effects = effects;
        self.outputs.meters.handled(now.mono, clock::now().mono);
    }

    fn carry_out(&mut self, now: Instant, effect: Effect) {
        if !matches!(effect, Effect::Send { .. } | Effect::PlockResult(_) | Effect::LogPlock { .. })
        {
            self.touch();
        }
        self.outputs.meters.effect(now, &effect);
        let Outputs { cluster, kernel, logger, history, .. } = &mut self.outputs;
        match effect {
            Effect::Join(group) => {
                cluster.join(&group);
                if let Group::Lockspace(lockspace) = group {
                    kernel.prepare(Lane::Lockspace(lockspace));
                }
            }
            Effect::Leave(group) => cluster.leave(&group),
            Effect::Send { group, packet } => cluster.send(&group, wire::encode(&packet)),
            Effect::Kick(node) => cluster.kick(node),
            Effect::AnswerShutdown { allow } => cluster.answer_shutdown(allow),
            Effect::Kernel { token, lane, write } => kernel.write(token, lane, write),
            Effect::Retire(lockspace) => kernel.retire(&Lane::Lockspace(lockspace)),
            Effect::RunAgent { token, victim, device, fail_time } => {
                self.children.agents.start(token, victim, device, fail_time);
            }
            Effect::PlockResult(info) => kernel.plock_result(&info),
            Effect::LogPlock { level, lockspace, text } => {
                let text = with_delays(text, kernel.as_mut());
                logger.plock(level, Some(lockspace), text);
            }
            Effect::KillAgent(token) => self.children.agents.kill(token),
            Effect::Run(effect) => self.carry_out_run(effect),
            Effect::Ready => {
                if let Some(ready) = self.ready.take() {
                    ready();
                }
            }
            Effect::Log(line) => logger.line(&line),
            Effect::Timeline(moment) => {
                history.note(now, &moment);
                let (line, details) = self.timeline.line(clock::now().mono, &moment);
                logger.event(&line, details);
            }
            Effect::Exit => self.end = Some(End::Done),
            Effect::Refuse { why } => self.end = Some(End::Refused(why)),
            Effect::FailStop { why } => self.end = Some(End::FailStop(why)),
            Effect::ExitClusterLost { why } => self.end = Some(End::ClusterLost(why)),
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::State { reply } => {
                if self.changed
                    || self.plocks_changed && self.is_old()
                    || self.waits_beside_changed()
                {
                    self.publish();
                }
                // A client that has gone needs no answer.
                let _ = reply.send(Arc::clone(&self.outputs.published.borrow()));
            }
            Command::FenceAck(node) => self.step(Event::FenceAck { node }),
            Command::SetConfig(text) => {
                let outcome = self.config.set_config(text.as_bytes());
                self.options_changed(&outcome, "dynamic");
            }
            Command::ReloadConfig => self.reload(),
            Command::RecordSave { reply } => {
                let _ = reply.send(self.outputs.recorder.saved());
            }
            Command::RunStart { command, node, flags, reply } => {
                let _ = reply.send(self.run_start(command, node, flags));
            }
            Command::RunCheck { uuid, flags, reply } => {
                let _ = reply.send(self.run_check(&uuid, flags));
            }
            Command::PlockFiles { lockspace, last, reply } => {
                let _ = reply.send(self.core.plock_files(&lockspace, last, LOOKS));
            }
            Command::PlocksPart { lockspace, files, place, skip, reply } => {
                let _ = reply.send(self.core.plocks_part(&lockspace, &files, place, skip, LOOKS));
            }
        }
    }

    fn reload(&mut self) {
        match self.config.reload() {
            Ok(report) => {
                for diagnostic in &report.diagnostics {
                    let path = self.config.path().display();
                    self.outputs.logger.error(&format!("{path}: {diagnostic}"));
                }
                self.options_changed(&report.outcome, "reload");
                self.step(Event::Devices(self.config.fence_devices(&self.nodes)));
                self.step(Event::LockspaceOptions(self.config.lockspaces().clone()));
            }
            Err(error) => self.outputs.logger.error(&format!("reload_config: {error}")),
        }
    }

    fn options_changed(&mut self, outcome: &Outcome, how: &str) {
        let Outputs { logger, kernel, .. } = &mut self.outputs;
        for line in &outcome.trace {
            logger.debug(line);
        }
        for refused in &outcome.refused {
            logger.error(&refused.to_string());
        }
        for change in &outcome.changed {
            let name = change.key.row().long;
            logger.debug(&format!(
                "config {how} {name} = {} previous use {}",
                change.new, change.old
            ));
            let on = self.config.settings().is_on(change.key);
            match change.key {
                Key::LogDebug => kernel.set_log_debug(Switch::from(on)),
                Key::DebugLogfile => logger.set_debug_logfile(on),
                Key::DaemonDebug => logger.set_stderr(on),
                Key::PlockDebug => logger.set_plock_debug(on),
                Key::PlockRateLimit => {
                    kernel.set_plock_rate_limit(self.config.settings().number(change.key));
                }
                // The core's options come all at once below; the others are read where they are used.
                _ => {}
            }
        }
        self.config_text = Arc::from(self.config.settings().dump());
        self.touch();
        self.step(Event::Options(self.config.dynamic()));
    }
}

/// The one line whose end the core does not know.
fn with_delays(text: PlockText, kernel: &mut dyn Kernel) -> PlockText {
    match text {
        PlockText::ReadCount { .. } => {
            PlockText::Words(format!("{text} delays {}", kernel.take_plocks_delayed()))
        }
        PlockText::Words(_) | PlockText::Read(_) | PlockText::Received(_) => text,
    }
}

/// Nobody waits for the effect: it is for those who read what happened.
const fn is_word(effect: &Effect) -> bool {
    matches!(effect, Effect::Log(_) | Effect::LogPlock { .. } | Effect::Timeline(_))
}

/// Nothing that queries show changes by this event, unless its effects say so: single POSIX locks are asked for when they are
/// wanted ([`Command::PlocksPart`]).
const fn concerns_plocks_alone(event: &Event) -> bool {
    match event {
        Event::PlockRequest(_) => true,
        Event::Message { packet, .. } => matches!(
            packet.message,
            Message::Plock(_)
                | Message::PlockOwn { .. }
                | Message::PlockDrop { .. }
                | Message::PlockSyncLock(_)
                | Message::PlockSyncWaiter(_)
                | Message::PlocksData(_)
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
