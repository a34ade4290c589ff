//! Every kind of wait is reached by some script, and is listed in the snapshot then. But for one: a daemon that does not
//! know whether fencing is in progress has started no lockspace, and without state of its own it sees no merge
//! (`unknown_merge`).

use super::runner;
use dlm_core::snapshot::Wait;
use dlm_core::waiting::{FenceWait, LaneState, Unknown, Waiting};
use expect_test::expect;
use std::collections::BTreeSet;

/// A name for each; a new kind of wait must be named here, and then reached below.
fn name(what: &Waiting) -> &'static str {
    match what {
        Waiting::DaemonGroup => "daemon_group",
        Waiting::Protocols(_) => "protocols",
        Waiting::Proposal => "proposal",
        Waiting::FencingUnknown(why) => match why {
            Unknown::Rings => "unknown_rings",
            Unknown::Quorum => "unknown_quorum",
            Unknown::Merge => "unknown_merge",
            Unknown::Startup(_) => "unknown_startup",
            Unknown::Victims(_) => "unknown_victims",
            Unknown::Clearance(_) => "unknown_clearance",
            Unknown::Agreement(_) => "unknown_agreement",
        },
        Waiting::MergedRemoval(_) => "merged_removal",
        Waiting::MergedOperator(_) => "merged_operator",
        Waiting::Addresses(_) => "addresses",
        Waiting::Kernel(lane) => match lane.state {
            LaneState::Running { .. } => "kernel_write",
            LaneState::Pause { .. } => "kernel_retry",
            LaneState::Held => "kernel_held",
        },
        Waiting::RunReplies { .. } => "run_replies",
        Waiting::RunCommands { .. } => "run_commands",
        Waiting::Startup(wait) | Waiting::Fence(wait) => match wait {
            FenceWait::Protocol => "fence_protocol",
            FenceWait::Rings => "fence_rings",
            FenceWait::Quorum => "fence_quorum",
            FenceWait::Merge => "fence_merge",
            FenceWait::JoinDelay { .. } => "fence_join_delay",
            FenceWait::Agent => "fence_agent",
            FenceWait::OtherAgent => "fence_other_agent",
            FenceWait::Result => "fence_result",
            FenceWait::Pause { .. } => "fence_pause",
            FenceWait::Actor(_) => "fence_actor",
            FenceWait::Operator => "fence_operator",
        },
        Waiting::Queued => "queued",
        Waiting::Join => "join",
        Waiting::Rejoin => "rejoin",
        Waiting::Leave => "leave",
        Waiting::Change(wait) => match wait {
            Wait::Stop => "stop",
            Wait::Ring => "rings",
            Wait::Quorum => "quorum",
            Wait::Fencing(_) => "fencing",
            Wait::NodeGone(_) => "node_gone",
            Wait::Ghost(_) => "ghost",
            Wait::Comms(_) => "comms",
            Wait::Withdraw(_) => "withdraw",
            Wait::Handover => "handover",
            Wait::Starts(_) => "starts",
            Wait::Disallowed(_) => "disallowed",
        },
        Waiting::Plocks { .. } => "plocks",
        Waiting::WithdrawAnswer(_) => "withdraw_answer",
    }
}

#[test]
fn scripts_reach_every_wait() {
    let mut reached: BTreeSet<&'static str> = BTreeSet::new();
    runner::walk(&mut |snapshot| {
        reached.extend(snapshot.waits.iter().map(|wait| name(&wait.what)))
    });
    let reached: Vec<&str> = reached.into_iter().collect();
    expect![[r#"
        addresses
        comms
        daemon_group
        disallowed
        fence_actor
        fence_agent
        fence_join_delay
        fence_merge
        fence_operator
        fence_other_agent
        fence_pause
        fence_protocol
        fence_quorum
        fence_result
        fence_rings
        fencing
        ghost
        join
        kernel_held
        kernel_retry
        kernel_write
        leave
        merged_operator
        merged_removal
        node_gone
        plocks
        proposal
        protocols
        queued
        quorum
        rejoin
        rings
        run_commands
        run_replies
        starts
        stop
        unknown_agreement
        unknown_clearance
        unknown_merge
        unknown_quorum
        unknown_rings
        unknown_startup
        unknown_victims
        withdraw
        withdraw_answer"#]]
    .assert_eq(&reached.join("\n"));
}
