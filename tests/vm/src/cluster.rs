//! A cluster of virtual machines, as a scenario sees it.
//!
//! What waits here asks again at short intervals (see `host/wait.rs`): no event crosses the border of a
//! virtual machine.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::host::ledger::Ledger;
use crate::host::machine::Machine;
use crate::host::network::Network;
use crate::host::power::{FenceMode, FenceRecord, Outcome, Power};
use crate::host::remote::Remote;
use crate::host::service::Service;
use crate::host::stage::Stage;
use crate::host::wait::until;
use crate::node::Node;
use crate::options::{Daemon, Fencing, MAX_NODES, Options};
use crate::state::State;
use crate::time::HostTime;

/// From power on to the agent's first answer, on a busy host.
pub(crate) const BOOT: Duration = Duration::from_secs(180);
/// From the agent's first answer until every daemon sees every other.
pub(crate) const JOIN: Duration = Duration::from_secs(180);

/// What becomes of the machines when the value that stands for them goes out of scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AtEnd {
    TearDown,
    Leave,
}

/// A cluster. One that was booted with [`Cluster::boot`] is torn down when it is dropped, and one that an
/// earlier run left in the same state directory is torn down before it is booted.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    options: Options,
    network: Network,
    at_end: AtEnd,
    ledger: Option<Ledger>,
    stage: Option<Stage>,
    _power: Option<Service>,
}

/// Why a cluster cannot be used again.
#[derive(Debug)]
pub(crate) enum Unready {
    /// A machine does not come up, though nobody has switched it off: the host's affair.
    Machines(anyhow::Error),
    /// What runs on the machines does not do what it should.
    Programs(anyhow::Error),
}

impl Cluster {
    /// Boots a cluster; done when every daemon sees every other as a member and `post_join_delay` is 0.
    pub fn boot(state: &State, options: Options) -> Result<Self> {
        let cluster = Self::switch_on(state, options)?;
        cluster.with_evidence(cluster.settle())?;
        Ok(cluster)
    }

    /// Switches on the machines of a cluster; done when each answers. Of what runs on them nothing is known yet.
    pub(crate) fn switch_on(state: &State, options: Options) -> Result<Self> {
        options.check()?;
        tear_down(state)?;
        state.clear_run()?;
        let network = Network::named(state.namespace());
        network.up(options.nodes)?;
        // From here on everything is torn down again if a step fails.
        let mut cluster = Self {
            state: state.clone(),
            options,
            network,
            at_end: AtEnd::TearDown,
            ledger: None,
            stage: None,
            _power: None,
        };
        cluster.ledger = Some(Ledger::start(&cluster.network)?);
        cluster.stage = Some(Stage::start(&cluster.network)?);
        cluster._power = Some(Power::of(state).start(&cluster.network)?);
        cluster.start_machines()?;
        cluster.with_evidence(cluster.wait_machines())?;
        Ok(cluster)
    }

    /// Keeps what the nodes have to say about a boot that failed.
    fn with_evidence(&self, boot: Result<()>) -> Result<()> {
        boot.map_err(|error| {
            let folder = self.state.failures().join("boot");
            let _ = self.collect_on_failure(&folder, HostTime::default());
            error.context(format!("evidence in {}", folder.display()))
        })
    }

    /// Boots a cluster that outlives this process; its power switch is a process of its own, started by
    /// `power` (the caller knows how).
    pub fn boot_detached(state: &State, options: Options, mut power: Command) -> Result<Self> {
        options.check()?;
        tear_down(state)?;
        state.clear_run()?;
        options.save(state)?;
        let cluster = Self::attach(state)?;
        cluster.network.up(cluster.options.nodes)?;
        Machine::power_switch(state).spawn(&mut power)?;
        cluster.start_machines()?;
        cluster.settle()?;
        Ok(cluster)
    }

    /// The cluster that runs in a state directory. It is left running.
    pub fn attach(state: &State) -> Result<Self> {
        Ok(Self {
            state: state.clone(),
            options: Options::load(state)?,
            network: Network::named(state.namespace()),
            at_end: AtEnd::Leave,
            ledger: None,
            stage: None,
            _power: None,
        })
    }

    /// Answers the guests' fence agent until the process is ended: the power switch of a cluster that
    /// outlives the command that booted it.
    pub fn serve_power(state: &State) -> Result<()> {
        let _service = Power::of(state).start(&Network::named(state.namespace()))?;
        loop {
            thread::park();
        }
    }

    /// What it was booted with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A node, by its id from 1.
    pub fn node(&self, id: u8) -> Node<'_> {
        Node::new(self, id)
    }

    /// All nodes, whether they run or not.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.options.ids().map(|id| self.node(id))
    }

    /// The nodes whose machines run.
    pub fn running(&self) -> Vec<Node<'_>> {
        self.nodes().filter(Node::runs).collect()
    }

    /// Does something on several nodes at once; the results in their order, or the first error.
    pub fn on_all<T: Send>(
        &self,
        nodes: &[u8],
        action: impl Fn(Node<'_>) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let action = &action;
        thread::scope(|scope| {
            let threads: Vec<_> =
                nodes.iter().map(|id| scope.spawn(move || action(self.node(*id)))).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| bail!("a thread panicked")))
                .collect()
        })
    }

    /// Sets how the power switch behaves from the next request on.
    pub fn fence_mode(&self, mode: FenceMode) -> Result<()> {
        Power::of(&self.state).set_mode(mode)
    }

    /// The power switch's requests since then, answered ones.
    pub fn fence_log(&self, since: HostTime) -> Vec<FenceRecord> {
        Power::of(&self.state).log().into_iter().filter(|record| record.asked >= since).collect()
    }

    /// Waits until something holds that the power switch's log tells.
    pub(crate) fn wait_fence_log(
        &self,
        what: &str,
        deadline: Duration,
        holds: impl Fn() -> bool,
    ) -> Result<()> {
        until(what, deadline, || Ok(holds().then_some(())))
    }

    /// Waits until the daemons of these nodes, and only of these, see one another as members.
    pub fn wait_members(&self, nodes: &[u8], deadline: Duration) -> Result<()> {
        let wanted: BTreeSet<u8> = nodes.iter().copied().collect();
        self.on_all(nodes, |node| {
            let what = format!("daemon of node {} sees the members {wanted:?}", node.id());
            until(&what, deadline, || Ok((node.members()? == wanted).then_some(())))
        })?;
        Ok(())
    }

    /// Waits until all machines' daemons see one another, then takes `post_join_delay` down to 0.
    pub(crate) fn settle(&self) -> Result<()> {
        self.wait_machines()?;
        let ids: Vec<u8> = self.running().iter().map(Node::id).collect();
        self.wait_members(&ids, JOIN)?;
        self.on_all(&ids, |node| node.end_boot_delay())?;
        Ok(())
    }

    /// Waits until every machine that runs answers.
    fn wait_machines(&self) -> Result<()> {
        let ids: Vec<u8> = self.running().iter().map(Node::id).collect();
        self.on_all(&ids, |node| node.wait_agent())?;
        Ok(())
    }

    /// Brings the cluster back to how it was booted, for the next scenario.
    pub(crate) fn restore(&self) -> Result<(), Unready> {
        let begin = HostTime::now();
        self.repower().map_err(|error| {
            let mut log = self.fence_log(begin).into_iter();
            match log.find(|record| record.outcome == Outcome::Killed) {
                Some(record) => Unready::Programs(error.context(format!("{record:?}"))),
                None => Unready::Machines(error),
            }
        })?;
        self.clear().map_err(Unready::Programs)
    }

    /// All machines run, and are connected.
    fn repower(&self) -> Result<()> {
        self.fence_mode(FenceMode::Ok)?;
        for node in self.nodes() {
            if node.runs() {
                node.resume()?;
                node.link(crate::Link::Up)?;
            } else {
                node.power_on()?;
            }
        }
        self.wait_machines()
    }

    /// No lockspace is left, and all daemons see one another.
    fn clear(&self) -> Result<()> {
        self.settle()?;
        let ids: Vec<u8> = self.options.ids().collect();
        self.on_all(&ids, |node| node.leave_everything())?;
        self.clear_fence_log()
    }

    /// Runs Debian's daemon or the cluster's own, with these words on its command line, on every node, after ending all
    /// lockspaces; nodes that are off are switched on.
    pub(crate) fn change_daemon(&mut self, daemon: Daemon, words: &str) -> Result<()> {
        self.options.daemon = daemon;
        self.options.daemon_args = words.to_owned();
        let running: Vec<u8> = self.running().iter().map(Node::id).collect();
        self.on_all(&running, |node| node.end_daemon())?;
        for node in self.nodes().filter(|node| !node.runs()) {
            node.power_on()?;
        }
        self.on_all(&running, |node| node.begin_daemon())?;
        self.settle()?;
        self.clear_fence_log()
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn remote(&self, node: u8) -> Remote<'_> {
        Remote::new(&self.network, node)
    }

    pub(crate) fn machine(&self, node: u8) -> Machine {
        Machine::of(&self.state, node)
    }

    pub(crate) fn start_machine(&self, node: u8) -> Result<()> {
        self.options.write_initramfs(&self.state, node)?;
        self.machine(node).start(&self.network, self.options.memory_mib)
    }

    /// The highest number a workload has acknowledged.
    pub(crate) fn acknowledged(&self, name: &str) -> u64 {
        self.ledger.as_ref().map_or(0, |ledger| ledger.acknowledged(name))
    }

    /// Where actors report.
    pub(crate) fn stage(&self) -> Result<&Stage> {
        self.stage.as_ref().context("no actors in a cluster that outlives its command")
    }

    /// A word that no other workload of this cluster was named with.
    pub(crate) fn new_mark(&self) -> String {
        HostTime::now().duration().as_micros().to_string()
    }

    /// Whether fencing is switched on.
    pub fn fences(&self) -> bool {
        self.options.fencing == Fencing::On
    }

    fn start_machines(&self) -> Result<()> {
        for name in ["shared.img", "second.img"] {
            let disk = self.state.run_file(name);
            File::create(&disk)
                .and_then(|disk| disk.set_len(self.options.disk_mib << 20))
                .with_context(|| format!("make {}", disk.display()))?;
        }
        self.fence_mode(FenceMode::Ok)?;
        self.clear_fence_log()?;
        self.options.ids().try_for_each(|node| self.start_machine(node))
    }

    fn clear_fence_log(&self) -> Result<()> {
        let path = self.state.run_file("fence.log");
        fs::write(&path, "").with_context(|| format!("write {}", path.display()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.at_end == AtEnd::Leave {
            return;
        }
        self.ledger = None;
        self.stage = None;
        self._power = None;
        if let Err(error) = tear_down(&self.state) {
            eprintln!("teardown: {error:#}");
        }
    }
}

/// Ends all processes of a state directory's cluster, each by its own id, and removes its network.
pub fn tear_down(state: &State) -> Result<()> {
    let mut last = Machine::power_switch(state).kill();
    for node in 1..=MAX_NODES {
        last = Machine::of(state, node).kill().and(last);
    }
    Network::named(state.namespace()).down().and(last)?;
    let _ = fs::remove_file(state.run_file("options.json"));
    Ok(())
}
