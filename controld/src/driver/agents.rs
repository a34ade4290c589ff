//! Fence agents that run, by the core's tokens.

use crate::fence::{AgentRequest, Purpose, run};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::options::Device;
use dlm_core::types::{NodeId, WallSeconds};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

/// The running agents.
pub(super) struct Agents {
    tasks: JoinSet<(Token, AgentOutcome, String)>,
    running: BTreeMap<Token, Running>,
    /// One has got its process id, which status is to show.
    started: Arc<Notify>,
}

struct Running {
    victim: NodeId,
    /// Its process id; 0 until it has been started.
    pid: Arc<AtomicU32>,
    /// Taken when it is killed.
    kill: Option<oneshot::Sender<()>>,
}

impl Agents {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), running: BTreeMap::new(), started: Arc::default() }
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
        self.running.insert(token, Running { victim, pid: Arc::clone(&pid), kill: Some(kill) });
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

    /// Wait for the end of one; never comes back while none runs. A start gives an event too, so that it is shown.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                () = self.started.notified() => return Event::Deadline,
                Some(ended) = self.tasks.join_next() => {
                    // A panic aborts the process in releases; a cancelled task has nobody who waits for it.
                    let Ok((token, outcome, output)) = ended else { continue };
                    self.running.remove(&token);
                    return Event::AgentDone { token, outcome, output };
                }
            }
        }
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
