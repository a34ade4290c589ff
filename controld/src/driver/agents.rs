//! Fence agents that run, by the core's tokens.

use super::clock;
use crate::control::{Attempt, Attempts};
use crate::fence::{AgentRequest, Purpose, run};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::options::Device;
use dlm_core::types::{Instant, NodeId, WallSeconds};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// Attempts that are remembered for each victim.
const ATTEMPTS_MAX: usize = 8;

/// Victims whose attempts are remembered.
const VICTIMS_MAX: usize = 128;

/// The running agents.
pub(super) struct Agents {
    tasks: JoinSet<(Token, AgentOutcome, String)>,
    running: BTreeMap<Token, Running>,
    /// One has got its process id, which status is to show.
    started: Arc<Notify>,
    /// Shown to clients; copied on a change only while somebody looks.
    attempts: Arc<Attempts>,
}

struct Running {
    victim: NodeId,
    /// When it was started; finds its record among the attempts.
    began: Instant,
    device: String,
    /// Its process id; 0 until it has been started.
    pid: Arc<AtomicU32>,
    /// Taken when it is killed.
    kill: Option<oneshot::Sender<()>>,
}

impl Agents {
    pub(super) fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            running: BTreeMap::new(),
            started: Arc::default(),
            attempts: Arc::default(),
        }
    }

    /// Start one.
    pub(super) fn start(
        &mut self,
        token: Token,
        victim: NodeId,
        device: Device,
        fail_time: WallSeconds,
    ) {
        let (kill, killed) = oneshot::channel();
        let pid = Arc::new(AtomicU32::new(0));
        let began = clock::now().mono;
        self.remember(victim, &device, began);
        let running = Running {
            victim,
            began,
            device: device.name.clone(),
            pid: Arc::clone(&pid),
            kill: Some(kill),
        };
        self.running.insert(token, running);
        let request = AgentRequest { token, victim, device, purpose: Purpose::Fence { fail_time } };
        let notify = Arc::clone(&self.started);
        self.tasks.spawn(async move {
            let started = |id| {
                pid.store(id, Ordering::Relaxed);
                notify.notify_one();
            };
            let (outcome, output) = run(request, killed, started).await;
            (token, outcome, output)
        });
    }

    /// Kill one with its children; its end comes as any other.
    pub(super) fn kill(&mut self, token: Token) {
        if let Some(kill) = self.running.get_mut(&token).and_then(|running| running.kill.take()) {
            // A receiver that is gone has seen the agent's end.
            let _ = kill.send(());
        }
    }

    /// One runs, or has not told its end.
    pub(super) fn any(&self) -> bool {
        !self.tasks.is_empty()
    }

    /// Wait for the end of one; never comes back while none runs. A start gives an event too, so that it is shown.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                () = self.started.notified() => return Event::Deadline,
                Some(ended) = self.tasks.join_next() => {
                    // A panic aborts the process in releases; a cancelled task has nobody who waits for it.
                    let Ok((token, outcome, output)) = ended else { continue };
                    self.note_end(token, outcome, &output);
                    return Event::AgentDone { token, outcome, output };
                }
            }
        }
    }

    fn remember(&mut self, victim: NodeId, device: &Device, began: Instant) {
        let all = Arc::make_mut(&mut self.attempts);
        if !all.contains_key(&victim) && all.len() >= VICTIMS_MAX {
            all.pop_first();
        }
        let attempts = all.entry(victim).or_default();
        if attempts.len() >= ATTEMPTS_MAX {
            attempts.pop_front();
        }
        attempts.push_back(Attempt {
            device: device.name.clone(),
            agent: device.agent.clone(),
            started: began,
            ended: None,
            output: String::new(),
        });
    }

    fn note_end(&mut self, token: Token, outcome: AgentOutcome, output: &str) {
        let Some(running) = self.running.remove(&token) else { return };
        let all = Arc::make_mut(&mut self.attempts);
        let attempts = all.get_mut(&running.victim).into_iter().flatten();
        let is_it = |attempt: &&mut Attempt| {
            attempt.started == running.began
                && attempt.device == running.device
                && attempt.ended.is_none()
        };
        if let Some(attempt) = attempts.into_iter().find(is_it) {
            attempt.ended = Some((clock::now().mono, outcome));
            output.trim().clone_into(&mut attempt.output);
        }
    }

    /// The last attempts, for clients.
    pub(super) fn attempts(&self) -> Arc<Attempts> {
        Arc::clone(&self.attempts)
    }

    /// Process ids by victim.
    pub(super) fn pids(&self) -> BTreeMap<NodeId, u32> {
        self.running
            .values()
            .filter(|running| running.kill.is_some())
            .map(|running| (running.victim, running.pid.load(Ordering::Relaxed)))
            .collect()
    }

    /// Agents that were killed and have not ended.
    pub(super) fn killed(&self) -> usize {
        self.running.values().filter(|running| running.kill.is_none()).count()
    }
}
