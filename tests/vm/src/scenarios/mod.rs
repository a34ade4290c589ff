//! The scenarios: each a promise, kept or broken by a cluster.

mod basics;
mod daemons;
mod failures;
mod lvm;
mod membership;
mod plock_model;
mod plock_script;
mod plocks;
mod recording;
mod runner;
mod settings;
mod storage;
mod tools;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;

use crate::cluster::Cluster;
use crate::options::{Daemon, Options};

pub use basics::{fenced_once, replayed_once};
pub use runner::{Outcome, Report, run};

/// Which binaries are under test, and how patient corosync is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnderTest {
    /// The daemon of every node, where a scenario does not mix.
    pub daemon: Daemon,
    /// `dlm_tool`, or Debian's.
    pub tool: Option<PathBuf>,
    /// `libdlmcontrol.so.3`, or Debian's.
    pub library: Option<PathBuf>,
    /// See [`Options::token`].
    pub token: Duration,
}

/// One scenario.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its promise in a line; in full at its function.
    pub promise: &'static str,
    /// The cluster it wants; `None` if it has no meaning with these binaries.
    pub options: fn(&UnderTest) -> Option<Options>,
    /// The scenario itself; an error is a broken promise.
    pub run: fn(&Cluster) -> Result<()>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name)
    }
}

/// All scenarios. Those on the same kind of cluster stand together, so that they share its boot.
pub const ALL: [Scenario; 35] = [
    scenario("mount", "three nodes share a file system", three, basics::mount),
    scenario(
        "leave",
        "a clean leave fences nobody, and the node can come back",
        three,
        basics::leave,
    ),
    scenario(
        "kill",
        "a node killed under load is fenced once; no synced write is lost; recordings replay",
        three,
        basics::kill,
    ),
    scenario(
        "rejoin",
        "the dead node comes back to a free journal and reads everything",
        three,
        basics::rejoin,
    ),
    scenario("hang", "a hanging node is fenced, the others go on", three, failures::hang),
    scenario(
        "partition",
        "only the majority goes on, and only when the minority is off",
        three,
        membership::partition,
    ),
    scenario(
        "fencing-fails",
        "failed fencing blocks and is tried again until it succeeds",
        three,
        membership::fencing_fails,
    ),
    scenario(
        "fence-ack",
        "an operator's word in place of fencing releases the wait",
        three,
        membership::fence_ack,
    ),
    scenario(
        "quorum",
        "without quorum nothing starts and nobody is fenced; with it both happen",
        three,
        membership::quorum,
    ),
    scenario(
        "daemon-killed",
        "a node whose daemon dies with lockspaces is removed",
        three,
        daemons::daemon_killed,
    ),
    scenario(
        "stuck-write",
        "a daemon killed under a kernel write that never ends is seen gone at once",
        three_of_ours,
        daemons::stuck_write,
    ),
    scenario("sigterm", "SIGTERM ends an idle daemon only", three, daemons::sigterm),
    scenario(
        "bad-input",
        "what a daemon can do nothing with is told, and changes no lockspace",
        three_of_ours,
        daemons::bad_input,
    ),
    scenario(
        "uncontrolled",
        "a daemon that finds a lockspace in the kernel refuses, and leaves it alone",
        three_of_ours,
        daemons::uncontrolled,
    ),
    scenario(
        "corosync-killed",
        "a node that loses corosync under a lockspace is fenced",
        three,
        daemons::corosync_killed,
    ),
    scenario(
        "many-lockspaces",
        "thirty lockspaces recover from one death",
        three,
        failures::many_lockspaces,
    ),
    scenario(
        "ocfs2",
        "of two volumes only the dead node's own recovers; the other never stops",
        three,
        storage::ocfs2,
    ),
    scenario(
        "withdraw",
        "a withdrawn gfs2 is acknowledged, its peer goes on, nobody is fenced",
        three,
        storage::withdraw,
    ),
    scenario(
        "md-cluster",
        "a clustered mirror survives a node's death",
        three,
        storage::md_cluster,
    ),
    scenario(
        "lvmlockd",
        "a shared volume group: grown volumes reach all nodes, a node's death the locks only",
        three,
        lvm::lvmlockd,
    ),
    scenario(
        "plock-script",
        "a script of POSIX locks comes to the same on one node and on three",
        three,
        plock_script::plock_script,
    ),
    scenario(
        "plock-kill",
        "a dead node's POSIX locks are given away, after it is fenced",
        three_of_ours,
        plocks::plock_kill,
    ),
    scenario(
        "plock-join",
        "a node that joins sees every POSIX lock, those taken meanwhile too",
        replicating,
        plocks::plock_join,
    ),
    scenario(
        "plock-crowd",
        "a hundred processes count under POSIX locks; no count is lost",
        three,
        plocks::plock_crowd,
    ),
    scenario(
        "plock-partition",
        "the lock of a node that is cut off is given away when it is off",
        three_of_ours,
        plocks::plock_partition,
    ),
    scenario(
        "plock-ownership",
        "with plock_ownership=1 POSIX locks are the same",
        owning,
        plocks::plock_ownership,
    ),
    scenario(
        "plock-owners",
        "three of ours own POSIX locks unasked; a C daemon that joins has them all",
        owning_unasked,
        plocks::plock_owners,
    ),
    scenario(
        "two-node",
        "the survivor of two fences the other and goes on",
        two,
        membership::two_node,
    ),
    scenario(
        "two-node-race",
        "of two nodes that lose each other exactly one goes on",
        two,
        membership::two_node_race,
    ),
    scenario(
        "options",
        "sctp, nodir and weights reach the kernel, and a death is recovered from",
        with_options,
        settings::options,
    ),
    scenario(
        "addresses",
        "node ids over 127, IPv6 and two links: as any cluster",
        addresses,
        settings::addresses,
    ),
    scenario(
        "no-fencing",
        "with enable_fencing=0 recovery waits for no fencing",
        no_fencing,
        failures::no_fencing,
    ),
    scenario(
        "five",
        "two deaths at once, an actor's death, a death in a recovery",
        five,
        failures::five,
    ),
    scenario(
        "mixed",
        "one C daemon and two of ours: death of either kind, leave, return",
        mixed,
        basics::mixed,
    ),
    scenario(
        "tools",
        "dlm_tool and library print what Debian's print, to the byte, of C daemons and of ours",
        with_our_tool,
        tools::tools,
    ),
];

/// The line of dlm.conf that lets one node own the locks of a file that it alone uses.
const OWNERSHIP: &str = "plock_ownership=1";
/// The line that lets nobody.
const NO_OWNERSHIP: &str = "plock_ownership=0";

const fn scenario(
    name: &'static str,
    promise: &'static str,
    options: fn(&UnderTest) -> Option<Options>,
    run: fn(&Cluster) -> Result<()>,
) -> Scenario {
    Scenario { name, promise, options, run }
}

fn base(under_test: &UnderTest) -> Options {
    Options {
        daemon: under_test.daemon.clone(),
        tool: under_test.tool.clone(),
        library: under_test.library.clone(),
        token: under_test.token,
        ..Options::default()
    }
}

fn three(under_test: &UnderTest) -> Option<Options> {
    Some(base(under_test))
}

/// For what the C daemon is known not to keep: it gives a failed node's locks away before it is fenced, its threads share
/// descriptors, and it clears configfs under lockspaces that it refuses to control.
fn three_of_ours(under_test: &UnderTest) -> Option<Options> {
    (under_test.daemon != Daemon::C).then(|| base(under_test))
}

fn owning(under_test: &UnderTest) -> Option<Options> {
    Some(Options { dlm_conf: vec![OWNERSHIP.into()], ..base(under_test) })
}

/// Every daemon has every lock.
fn replicating(under_test: &UnderTest) -> Option<Options> {
    Some(Options { dlm_conf: vec![NO_OWNERSHIP.into()], ..base(under_test) })
}

fn owning_unasked(under_test: &UnderTest) -> Option<Options> {
    let daemon_of = [(4, Daemon::C)].into();
    (under_test.daemon != Daemon::C).then(|| Options { nodes: 4, daemon_of, ..base(under_test) })
}

/// Whether a cluster's daemons own files' POSIX locks: ours do, unless they are told otherwise or are among C daemons.
fn owns_plocks(cluster: &Cluster) -> bool {
    let options = cluster.options();
    let says = |wanted: &str| options.dlm_conf.iter().any(|line| line == wanted);
    let ours = options.ids().all(|id| *options.daemon_of(id) != Daemon::C);
    says(OWNERSHIP) || (ours && !says(NO_OWNERSHIP))
}

fn two(under_test: &UnderTest) -> Option<Options> {
    Some(Options { nodes: 2, votes: crate::Votes::TwoNode, ..base(under_test) })
}

fn with_options(under_test: &UnderTest) -> Option<Options> {
    let dlm_conf = settings::OPTION_LINES.map(str::to_owned).into();
    Some(Options { dlm_conf, ..base(under_test) })
}

/// The kernel takes several addresses of a node with SCTP only.
fn addresses(under_test: &UnderTest) -> Option<Options> {
    Some(Options {
        first_id: 200,
        ip: crate::IpVersion::V6,
        links: crate::Links::Two,
        dlm_conf: vec!["protocol=sctp".into()],
        ..base(under_test)
    })
}

fn no_fencing(under_test: &UnderTest) -> Option<Options> {
    Some(Options { fencing: crate::Fencing::Off, ..base(under_test) })
}

/// Five emulated nodes on a host of few processors miss a short token.
fn five(under_test: &UnderTest) -> Option<Options> {
    let base = base(under_test);
    Some(Options { nodes: 5, token: base.token.max(Duration::from_secs(6)), ..base })
}

/// The tool has to be ours; with a daemon of ours there is a C daemon beside it.
fn with_our_tool(under_test: &UnderTest) -> Option<Options> {
    under_test.tool.as_ref()?;
    mixed(under_test).or_else(|| three(under_test))
}

/// The C daemon has the lowest id, so that it fences; it is the stricter peer.
fn mixed(under_test: &UnderTest) -> Option<Options> {
    (under_test.daemon != Daemon::C)
        .then(|| Options { daemon_of: [(1, Daemon::C)].into(), ..base(under_test) })
}
