//! What can be done to a cluster from outside.

use std::fmt;
use testbed::harness::{Ask, Ending, World, lockspace};
use testbed::power::Behaviour;

/// How long the sender of POSIX locks is awaited, milliseconds.
const SENDER_AWAITED: u64 = 120_000;

/// How long a daemon that starts is awaited, milliseconds.
const COMER_AWAITED: u64 = 60_000;

/// Something done to the cluster from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A user on this node wants this lockspace.
    Join(u32, String),
    /// That user leaves.
    Leave(u32, String),
    /// That user leaves, and leaves to the others what is to be recovered.
    LeaveBehind(u32, String),
    /// The gfs2 of this node withdraws, with a kernel whose release leaves this behind.
    Withdraw(u32, String, Ending),
    /// Loss of power.
    Crash(u32),
    /// Two nodes lose power at once.
    CrashBoth(u32, u32),
    /// Power on.
    Boot(u32),
    /// Power off and on.
    Reset(u32),
    /// SIGKILL for a daemon.
    KillDaemon(u32),
    /// A daemon is started on a node that has none.
    StartDaemon(u32),
    /// These nodes are cut off from the others.
    Cut(Vec<u32>),
    /// The network is whole again.
    Heal,
    /// The next agent for this victim fails.
    AgentFails(u32),
    /// The next agent for this victim hangs.
    AgentHangs(u32),
    /// Agents for this victim cannot be started from now on.
    AgentMissing(u32),
    /// As soon as the first lockspace's POSIX locks are sent to somebody, and so many milliseconds more have passed, their sender
    /// loses power.
    SenderDies(u64),
    /// As soon as this node's daemon has come to the others, and before it is heard, it loses power.
    DiesUnheard(u32),
    /// Somebody wants to shut corosync down.
    ShutCorosync(u32),
    /// The next agent for this victim reports success, and does nothing.
    AgentLies(u32),
    /// SIGTERM for a daemon.
    Terminate(u32),
    /// Stops on this node take so many milliseconds from now on.
    SlowStops(u32, u64),
    /// A daemon does nothing for so many milliseconds.
    Hang(u32, u64),
    /// The wall clock of this node is set by so many seconds.
    SetClock(u32, i64),
    /// So many writes to this node's kernel fail.
    WritesFail(u32, u32),
    /// A process asks for a POSIX lock in the first lockspace.
    Lock(Ask),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Join(node, name) => write!(f, "a user of node {node} joins {name}"),
            Self::Leave(node, name) => write!(f, "a user of node {node} leaves {name}"),
            Self::LeaveBehind(node, name) => {
                write!(f, "a user of node {node} leaves {name}, to be recovered by the others")
            }
            Self::Withdraw(node, name, Ending::Clean) => {
                write!(f, "the gfs2 of node {node} withdraws from {name}")
            }
            Self::Withdraw(node, name, Ending::Recover) => {
                write!(
                    f,
                    "the gfs2 of node {node} withdraws from {name}, to be recovered by the others"
                )
            }
            Self::Crash(node) => write!(f, "node {node} loses power"),
            Self::CrashBoth(node, other) => write!(f, "nodes {node} and {other} lose power"),
            Self::Boot(node) => write!(f, "node {node} is switched on, if it is off"),
            Self::Reset(node) => write!(f, "node {node} is reset"),
            Self::KillDaemon(node) => write!(f, "the daemon of node {node} is killed"),
            Self::StartDaemon(node) => {
                write!(f, "the daemon of node {node} is started, if it is gone")
            }
            Self::Cut(nodes) => write!(f, "nodes {nodes:?} are cut off from the others"),
            Self::Heal => write!(f, "the network is mended"),
            Self::AgentFails(node) => write!(f, "the next fence agent for node {node} fails"),
            Self::AgentHangs(node) => write!(f, "the next fence agent for node {node} hangs"),
            Self::AgentMissing(node) => write!(f, "agents for node {node} cannot be started"),
            Self::SenderDies(millis) => {
                write!(f, "{millis} ms after POSIX locks are sent, their sender loses power")
            }
            Self::DiesUnheard(node) => {
                write!(
                    f,
                    "node {node} loses power when its daemon has come, and before it is heard"
                )
            }
            Self::ShutCorosync(node) => write!(f, "corosync of node {node} is to be shut down"),
            Self::AgentLies(node) => write!(f, "the next fence agent for node {node} lies"),
            Self::Terminate(node) => write!(f, "the daemon of node {node} gets SIGTERM"),
            Self::SlowStops(node, millis) => {
                write!(f, "stops of node {node} take {millis} ms from now on")
            }
            Self::Hang(node, millis) => {
                write!(f, "the daemon of node {node} hangs for {millis} ms")
            }
            Self::SetClock(node, seconds) => {
                write!(f, "the clock of node {node} is set by {seconds} s")
            }
            Self::WritesFail(node, times) => {
                write!(f, "{times} writes to the kernel of node {node} fail")
            }
            Self::Lock(Ask { node, process, file, bytes: (from, to), want }) => {
                write!(
                    f,
                    "process {process} of node {node}, file {file} from {from} to {to}: {want:?}"
                )
            }
        }
    }
}

impl Fault {
    /// Do it.
    pub fn happen(&self, world: &mut World) {
        match self {
            Self::Join(node, name) => world.join(*node, name),
            Self::Leave(node, name) => world.leave(*node, name),
            Self::LeaveBehind(node, name) => world.leave_behind(*node, name, Ending::Recover),
            Self::Withdraw(node, name, ending) => world.withdraw(*node, name, *ending),
            Self::Crash(node) => world.crash(*node),
            Self::CrashBoth(node, other) => {
                world.crash(*node);
                world.crash(*other);
            }
            Self::Boot(node) => world.boot(*node),
            Self::Reset(node) => {
                world.crash(*node);
                world.boot(*node);
            }
            Self::KillDaemon(node) => world.kill_daemon(*node),
            Self::StartDaemon(node) => world.start_daemon(*node),
            Self::Cut(nodes) => world.partition(&[nodes]),
            Self::Heal => world.heal(),
            Self::AgentFails(node) => world.fail_fencing(*node, 1),
            Self::AgentHangs(node) => world.order_fencing(*node, Behaviour::Hangs),
            Self::AgentMissing(node) => world.stand_fencing(*node, Behaviour::Missing),
            Self::SenderDies(millis) => {
                let sender = |world: &World| world.sender_of_locks(&lockspace("ls"));
                world.await_millis(|world| sender(world).is_some(), SENDER_AWAITED);
                if let Some(node) = sender(world) {
                    world.run_millis(*millis);
                    world.crash(node);
                }
            }
            Self::DiesUnheard(node) => {
                world.await_millis(|world| world.is_unheard(*node), COMER_AWAITED);
                world.crash(*node);
            }
            Self::ShutCorosync(node) => world.shut_corosync(*node),
            Self::AgentLies(node) => world.order_fencing(*node, Behaviour::Lies),
            Self::Terminate(node) => world.terminate(*node),
            Self::SlowStops(node, millis) => world.stops_take(*node, Some(*millis)),
            Self::Hang(node, millis) => world.hang(*node, *millis),
            Self::SetClock(node, seconds) => world.set_clock(*node, *seconds),
            Self::WritesFail(node, times) => world.fail_writes(*node, *times),
            Self::Lock(ask) => world.ask(&lockspace("ls"), *ask),
        }
    }
}
