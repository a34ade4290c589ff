//! What kind of cluster is booted, and the configuration files that follow from it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::image::{self, cpio::Archive};
use crate::state::State;

/// The cluster's name, first part of a gfs2 lock table.
pub const CLUSTER_NAME: &str = "vm";
/// More nodes than this do not fit the two-digit parts of addresses, nor the patience of anybody.
pub const MAX_NODES: u8 = 9;
/// Seconds that no fencing starts after a join, while the cluster boots: nodes come up at different
/// times, and a daemon that is quorate alone would fence those that are still booting. On a busy host
/// a machine may need minutes.
pub(crate) const BOOT_POST_JOIN_DELAY: u32 = 600;

/// Where a guest has the daemon under test, beside Debian's.
pub(crate) const OUR_DAEMON: &str = "/vm/dlm_controld";

/// Where Debian has the library that lvmlockd and others use.
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/libdlmcontrol.so.3.2";

/// Which daemon a node runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Daemon {
    /// Debian's C `dlm_controld`.
    #[default]
    C,
    /// A binary of the host: linked statically, or against libraries of the same Debian release.
    Ours(PathBuf),
}

/// Whether nodes are fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Fencing {
    /// By the harness's agent and power switch.
    #[default]
    On,
    /// `enable_fencing=0`.
    Off,
}

/// Which addresses corosync and dlm use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum IpVersion {
    /// 10.77.0.N.
    #[default]
    V4,
    /// fd77::N.
    V6,
}

/// Whether two nodes may be quorate each alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Votes {
    /// More than half of the nodes.
    #[default]
    Majority,
    /// corosync's `two_node` without `wait_for_all`: fencing decides who goes on.
    TwoNode,
}

/// How many knet links corosync has, which are a node's addresses in dlm too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Links {
    /// One.
    #[default]
    One,
    /// A second one, with addresses of its own on the same interface.
    Two,
}

/// What kind of cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// How many nodes, 1 to [`MAX_NODES`].
    pub nodes: u8,
    /// The daemon of every node that `daemon_of` does not name.
    pub daemon: Daemon,
    /// Nodes with another daemon.
    pub daemon_of: BTreeMap<u8, Daemon>,
    /// A `dlm_tool` of the host in place of Debian's.
    pub tool: Option<PathBuf>,
    /// A `libdlmcontrol.so.3` of the host in place of Debian's.
    #[serde(default)]
    pub library: Option<PathBuf>,
    /// corosync's `token` for two nodes (it adds 650 ms for each further one). Short is quick, but a
    /// busy host makes nodes miss it.
    pub token: Duration,
    /// Words of the daemon's command line. Without `-D` there is no log with exact times to read; with it each of its lines
    /// costs about a millisecond on such a machine.
    pub daemon_args: String,
    /// What is added to a node's number here to make its node id in the cluster.
    pub first_id: u8,
    /// Links of corosync.
    pub links: Links,
    /// Further lines of dlm.conf.
    pub dlm_conf: Vec<String>,
    /// Whether nodes are fenced.
    pub fencing: Fencing,
    /// Addresses.
    pub ip: IpVersion,
    /// Quorum.
    pub votes: Votes,
    /// Memory of each node in MiB.
    pub memory_mib: u32,
    /// Size of each of the two shared disks in MiB; they are sparse.
    pub disk_mib: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 3,
            daemon: Daemon::C,
            daemon_of: BTreeMap::new(),
            tool: None,
            library: None,
            token: Duration::from_millis(3000),
            daemon_args: "-D".to_owned(),
            first_id: 0,
            links: Links::One,
            dlm_conf: Vec::new(),
            fencing: Fencing::On,
            ip: IpVersion::V4,
            votes: Votes::Majority,
            memory_mib: 640,
            disk_mib: 2048,
        }
    }
}

impl Options {
    /// Ids of all nodes.
    pub(crate) fn ids(&self) -> impl Iterator<Item = u8> + use<> {
        1..=self.nodes
    }

    /// The daemon of a node.
    pub fn daemon_of(&self, node: u8) -> &Daemon {
        self.daemon_of.get(&node).unwrap_or(&self.daemon)
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.nodes == 0 || self.nodes > MAX_NODES {
            bail!("{} nodes; 1 to {MAX_NODES} can be booted", self.nodes);
        }
        if self.first_id.checked_add(self.nodes).is_none() {
            bail!("node ids from {} are over 255", self.first_id);
        }
        if self.votes == Votes::TwoNode && self.nodes != 2 {
            bail!("two_node with {} nodes", self.nodes);
        }
        Ok(())
    }

    /// A node's id in the cluster.
    pub(crate) fn cluster_id(&self, node: u8) -> u8 {
        self.first_id.saturating_add(node)
    }

    /// The node with an id in the cluster.
    pub(crate) fn node_of(&self, cluster_id: u8) -> Option<u8> {
        cluster_id.checked_sub(self.first_id)
    }

    /// A node's address on each link.
    fn ring_addresses(&self, node: u8) -> Vec<String> {
        let networks: &[u8] = match self.links {
            Links::One => &[77],
            Links::Two => &[77, 79],
        };
        let address = |network: &u8| match self.ip {
            IpVersion::V4 => format!("10.{network}.0.{node}"),
            IpVersion::V6 => format!("fd{network}::{node}"),
        };
        networks.iter().map(address).collect()
    }

    fn corosync_conf(&self) -> String {
        let ip = match self.ip {
            IpVersion::V4 => "ipv4",
            IpVersion::V6 => "ipv6",
        };
        let votes = match self.votes {
            Votes::Majority => "",
            Votes::TwoNode => " two_node: 1\n wait_for_all: 0\n",
        };
        let token = self.token.as_millis();
        let mut text = format!(
            "totem {{\n version: 2\n cluster_name: {CLUSTER_NAME}\n transport: knet\n \
             ip_version: {ip}\n crypto_cipher: none\n crypto_hash: none\n token: {token}\n}}\n\
             logging {{\n to_stderr: no\n to_syslog: no\n to_logfile: yes\n \
             logfile: /var/log/cluster/corosync.log\n timestamp: hires\n}}\n\
             quorum {{\n provider: corosync_votequorum\n{votes}}}\nnodelist {{\n"
        );
        for node in self.ids() {
            let _ = writeln!(text, " node {{\n  nodeid: {}", self.cluster_id(node));
            for (link, address) in self.ring_addresses(node).iter().enumerate() {
                let _ = writeln!(text, "  ring{link}_addr: {address}");
            }
            let _ = writeln!(text, "  name: node{node}\n }}");
        }
        text.push_str("}\n");
        text
    }

    fn dlm_conf(&self) -> String {
        let mut text = format!("log_debug=1\npost_join_delay={BOOT_POST_JOIN_DELAY}\n");
        if self.fencing == Fencing::Off {
            text.push_str("enable_fencing=0\n");
        }
        for line in &self.dlm_conf {
            let _ = writeln!(text, "{line}");
        }
        match self.fencing {
            Fencing::Off => {}
            Fencing::On if self.first_id == 0 => text.push_str("fence_all /usr/sbin/fence_vm\n"),
            // The power switch knows machines, not ids, so the agent is told the machine.
            Fencing::On => {
                text.push_str("device switch /usr/sbin/fence_vm\n");
                for node in self.ids() {
                    let id = self.cluster_id(node);
                    let _ = writeln!(text, "connect switch node={id} port={node}");
                }
            }
        }
        text
    }

    fn hosts(&self) -> String {
        let mut text = String::from("127.0.0.1 localhost\n");
        for node in self.ids() {
            for address in self.ring_addresses(node) {
                let _ = writeln!(text, "{address} node{node}");
            }
        }
        text
    }

    /// What a guest's scripts know of the cluster, as variables of the shell.
    pub(crate) fn guest_environment(&self, node: u8) -> String {
        let links = match self.links {
            Links::One => 1,
            Links::Two => 2,
        };
        let daemon = match self.daemon_of(node) {
            Daemon::C => "/usr/sbin/dlm_controld",
            Daemon::Ours(_) => OUR_DAEMON,
        };
        format!(
            "ID={node}\nNODES={}\nLINKS={links}\nDAEMON={daemon}\nDAEMON_ARGS='{}'\n",
            self.nodes, self.daemon_args
        )
    }

    /// Writes a node's initramfs: the common part, and over the root image this node's configuration,
    /// the agent and the daemon under test.
    pub(crate) fn write_initramfs(&self, state: &State, node: u8) -> Result<()> {
        let mut archive = Archive::default();
        let mut text = |path: &str, content: &str| {
            archive.file(&format!("inject/{path}"), 0o644, content.as_bytes());
        };
        text("etc/corosync/corosync.conf", &self.corosync_conf());
        text("etc/dlm/dlm.conf", &self.dlm_conf());
        text("etc/hosts", &self.hosts());
        text("vm/env", &self.guest_environment(node));
        for (path, content) in image::SCRIPTS {
            archive.file(&format!("inject/{path}"), 0o755, content.as_bytes());
        }
        archive.file("inject/vm/dlm-vm-agent", 0o755, &read(&image::agent_binary(state))?);
        if let Daemon::Ours(path) = self.daemon_of(node) {
            archive.file(&format!("inject{OUR_DAEMON}"), 0o755, &read(path)?);
        }
        if let Some(path) = &self.tool {
            archive.file("inject/usr/sbin/dlm_tool", 0o755, &read(path)?);
        }
        if let Some(path) = &self.library {
            archive.file(&format!("inject{LIBRARY}"), 0o644, &read(path)?);
        }
        let mut bytes = read(&state.file("initramfs.common"))?;
        bytes.extend(archive.finish());
        let path = state.node_file(node, "initramfs");
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))
    }

    /// Keeps the options for later commands on the same cluster.
    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let path = state.run_file("options.json");
        let text = serde_json::to_string_pretty(self).context("options as JSON")?;
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))
    }

    /// The options of the cluster that runs in a state directory.
    pub(crate) fn load(state: &State) -> Result<Self> {
        let path = state.run_file("options.json");
        let text = fs::read_to_string(&path).context("no cluster runs here; see `dlm-vm up`")?;
        serde_json::from_str(&text).with_context(|| format!("read {}", path.display()))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_follows_the_options() {
        let options =
            Options { nodes: 2, votes: Votes::TwoNode, ip: IpVersion::V6, ..Options::default() };
        let corosync = options.corosync_conf();
        assert!(corosync.contains("two_node: 1") && corosync.contains("ring0_addr: fd77::2"));
        assert!(options.dlm_conf().ends_with("fence_all /usr/sbin/fence_vm\n"));
        let options = Options { fencing: Fencing::Off, ..options };
        assert!(!options.dlm_conf().contains("fence_all"));
    }

    #[test]
    fn high_ids_are_told_from_machines() {
        let options = Options { first_id: 200, links: Links::Two, ..Options::default() };
        let corosync = options.corosync_conf();
        assert!(corosync.contains("nodeid: 203") && corosync.contains("ring1_addr: 10.79.0.3"));
        assert!(options.dlm_conf().contains("connect switch node=201 port=1\n"));
        assert!(Options { first_id: 253, ..options }.check().is_err());
    }

    #[test]
    fn impossible_cluster_is_refused() {
        assert!(Options { nodes: 0, ..Options::default() }.check().is_err());
        assert!(Options { votes: Votes::TwoNode, ..Options::default() }.check().is_err());
        assert!(Options::default().check().is_ok());
    }
}
