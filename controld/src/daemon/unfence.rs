//! Access to storage that fencing has taken away is given back before anything is served.

use super::startup::StartError;
use crate::config::Config;
use crate::fence::{AgentRequest, Purpose, run};
use crate::logging::Logger;
use crate::process::kill_group;
use dlm_core::event::{AgentOutcome, Token};
use dlm_core::types::NodeId;
use std::cell::Cell;
use std::time::Duration;
use tokio::sync::oneshot;

/// An agent's process, 0 before and after. A start that is given up takes the agent along: it would go on beside the next
/// daemon's.
struct Running<'a>(&'a Cell<u32>);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        kill_group(self.0.get());
    }
}

/// Give ourselves access to storage again, device by device; the first failure ends the start.
pub(super) async fn unfence(
    config: &Config,
    node: NodeId,
    logger: &Logger,
) -> Result<(), StartError> {
    let devices = config
        .unfence_devices(node)
        .map_err(|why| StartError::Unfence { node, why: why.to_owned() })?;
    let limit = Duration::from_secs(config.fixed().agent_timeout_seconds);
    for device in devices {
        let name = format!("{} {}", device.name, device.agent);
        logger.error(&format!("unfence {node} {name}"));
        let request =
            AgentRequest { token: Token(0), victim: node, device, purpose: Purpose::Unfence };
        let (kill, killed) = oneshot::channel();
        let pid = Cell::new(0);
        let agent = run(request, killed, |started| pid.set(started));
        tokio::pin!(agent);
        // Dropped before the agent: as long as that has not been waited for, the number is its own.
        let _running = Running(&pid);
        let mut in_time = true;
        let (outcome, output) = tokio::select! {
            ended = &mut agent => ended,
            () = tokio::time::sleep(limit) => {
                in_time = false;
                let _ = kill.send(());
                agent.await
            }
        };
        pid.set(0);
        if outcome != AgentOutcome::Exited(0) {
            let end = if in_time {
                format!("{outcome:?}")
            } else {
                format!("no end in {} s (fence_agent_timeout), killed", limit.as_secs())
            };
            let why = format!("{name}: {end} {}", output.trim());
            return Err(StartError::Unfence { node, why: why.trim_end().to_owned() });
        }
    }
    Ok(())
}
