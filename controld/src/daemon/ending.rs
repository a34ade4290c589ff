//! The end: in order where nothing runs, and otherwise so that peers and kernel know.
//!
//! **A leave says that nothing needs recovery.** With lockspaces left nothing is left in order: the kernels are stopped,
//! the connections dropped, and the peers see a failure (DESIGN "Leaving and failing").

use super::FAILURE;
use super::startup::StartError;
use crate::cluster::Cluster;
use crate::driver::{End, Inputs, Outputs, Writing, clock};
use crate::kernel::root::Root;
use crate::kernel::startup::clear_configfs;
use crate::logging::Logger;
use crate::reactor::Reactor;
use dlm_core::Core;
use dlm_core::effect::{KernelWrite, Lane};
use dlm_core::event::{Event, Token};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

/// How long the stops may take. The kernel stops by itself what is left when the monitor is closed.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Nothing ran: tidy up and say so. What a daemon before us has left in the kernel stays: its lockspaces are there still.
pub(super) fn after_failed_start(failure: StartError, root: &Root, logger: &Logger) -> u8 {
    if !matches!(failure, StartError::Corosync(_) | StartError::Uncontrolled(_)) {
        tidy(root, logger);
    }
    if matches!(failure, StartError::Signal(_)) { 0 } else { FAILURE }
}

/// The loop has ended.
pub(super) fn after_run(
    end: &End,
    mut outputs: Outputs,
    inputs: Inputs,
    core: &Core,
    logger: &Logger,
    reactor: &mut Reactor,
) -> u8 {
    let recorded = match end {
        End::Done => None,
        End::Refused(why) | End::ClusterLost(why) | End::FailStop(why) => {
            Some(outputs.recorder.leave_behind(why.clone()))
        }
    };
    match end {
        // Its connections to corosync close with the cluster's, below.
        End::Done | End::Refused(_) => drop(inputs),
        End::ClusterLost(_) => stop_kernels(&mut outputs, inputs, core, logger, reactor),
        End::FailStop(why) => {
            logger.error(&format!("cannot go on: {why}"));
            stop_kernels(&mut outputs, inputs, core, logger, reactor);
            kill_ourselves(outputs.cluster.as_mut(), core, logger);
        }
    }
    // Waits, bounded, until corosync has what was asked for; groups that were not left see a failure.
    drop(outputs.cluster);
    if let Some(said) = recorded.and_then(Writing::wait) {
        logger.error(&said);
    }
    tidy(&Root::default(), logger);
    0
}

/// The peers must not wait for a node that does not go on, and their kernels not for ours.
fn kill_ourselves(cluster: &mut dyn Cluster, core: &Core, logger: &Logger) {
    if let Some(node) = core.snapshot().our_node {
        logger.error(&format!("tell corosync to remove nodeid {node} from cluster"));
        cluster.kick(node);
    }
}

/// Stop every lockspace that runs, before the others can see us gone.
fn stop_kernels(
    outputs: &mut Outputs,
    mut inputs: Inputs,
    core: &Core,
    logger: &Logger,
    reactor: &mut Reactor,
) {
    let mut outstanding = BTreeSet::new();
    for lockspace in core.snapshot().lockspaces {
        // Counted from the top: the core's own tokens count from the bottom.
        let token = Token(u64::MAX - lockspace.number);
        outstanding.insert(token);
        outputs.kernel.write(token, Lane::Lockspace(lockspace.name), KernelWrite::Stop);
    }
    let patience = clock::after(clock::now().mono, STOP_PATIENCE);
    let in_time = reactor.block_on(poll_fn(|context| {
        while !outstanding.is_empty() {
            match inputs.kernel.poll_next(context) {
                Poll::Ready(Some(Event::KernelDone { token, .. })) => {
                    outstanding.remove(&token);
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => break,
                Poll::Pending if inputs.registry.rang(Some(patience)) => return Poll::Ready(false),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(true)
    }));
    if !in_time {
        logger.error("some lockspaces have not stopped in time: the kernel stops them when the monitor closes");
    }
}

fn tidy(root: &Root, logger: &Logger) {
    // On the testbed this machine's configfs is somebody else's.
    #[cfg(feature = "testbed")]
    if crate::testbed::place().is_some() {
        return;
    }
    for line in clear_configfs(root) {
        logger.line(&line);
    }
}
