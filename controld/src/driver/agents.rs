//! Fence agents that run, by the core's tokens.

use crate::fence::{AgentRequest, Purpose, run};
use dlm_core::event::{AgentOutcome, Event, Token};
use dlm_core::options::Device;
use dlm_core::types::{NodeId, WallSeconds};
use std::collections::BTreeMap;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The running agents.
pub(super) struct Agents {
    tasks: JoinSet<(Token, AgentOutcome, String)>,
    running: BTreeMap<Token, Running>,
}

struct Running {
    victim: NodeId,
    /// Taken when it is killed.
    kill: Option<oneshot::Sender<()>>,
}

impl Agents {
    pub(super) fn new() -> Self {
        Self { tasks: JoinSet::new(), running: BTreeMap::new() }
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
        self.running.insert(token, Running { victim, kill: Some(kill) });
        let request = AgentRequest { token, victim, device, purpose: Purpose::Fence { fail_time } };
        self.tasks.spawn(async move {
            let (outcome, output) = run(request, killed).await;
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

    /// Wait for the end of one; never comes back while none runs.
    pub(super) async fn next(&mut self) -> Event {
        loop {
            match self.tasks.join_next().await {
                Some(Ok((token, outcome, output))) => {
                    self.running.remove(&token);
                    return Event::AgentDone { token, outcome, output };
                }
                // A panic aborts the process in releases; a cancelled task has nobody who waits for it.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Process ids by victim.
    pub(super) fn pids(&self) -> BTreeMap<NodeId, u32> {
        self.running
            .values()
            .filter(|running| running.kill.is_some())
            .map(|running| (running.victim, 0))
            .collect()
    }

    /// Agents that were killed and have not ended.
    pub(super) fn killed(&self) -> usize {
        self.running.values().filter(|running| running.kill.is_none()).count()
    }
}
