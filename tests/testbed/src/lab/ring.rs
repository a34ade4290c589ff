//! A real corosync for each node, all in one network: node 1's namespace holds the bridge, every other node a cable to it.

use super::host::Host;
use anyhow::{Context as _, bail};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Corosync's token timeout: short, so that a test does not wait for detection.
const TOKEN_MILLIS: u32 = 1000;

/// The end of the cable of this node in node 1's namespace.
fn port(node: u32) -> String {
    format!("port{node}")
}

/// Cables, and corosync everywhere.
pub(super) fn connect(hosts: &mut BTreeMap<u32, Host>) -> anyhow::Result<()> {
    let nodes: Vec<u32> = hosts.keys().copied().collect();
    let first = hosts.get(&1).context("no node 1")?;
    first.ip("link add link0 type bridge")?;
    for node in nodes.iter().filter(|node| **node != 1) {
        let other = hosts.get(node).context("no such node")?;
        let (port, holder) = (port(*node), other.holder_pid());
        first.ip(&format!("link add {port} type veth peer name link0 netns {holder}"))?;
        first.ip(&format!("link set {port} master link0 up"))?;
    }
    for (node, host) in hosts.iter() {
        host.ip("link set lo up")?;
        host.ip(&format!("addr add 10.99.0.{node}/24 dev link0"))?;
        host.ip("link set link0 up")?;
    }
    let config = config(&nodes)?;
    hosts.values_mut().try_for_each(|host| host.start_corosync(&config))
}

/// The node hears nobody any more, and nobody hears it.
pub(super) fn cut(hosts: &BTreeMap<u32, Host>, node: u32) -> anyhow::Result<()> {
    if node == 1 {
        bail!("node 1 holds the bridge: cut another one");
    }
    hosts.get(&1).context("no node 1")?.ip(&format!("link set {} down", port(node)))
}

/// And back.
pub(super) fn heal(hosts: &BTreeMap<u32, Host>, node: u32) -> anyhow::Result<()> {
    hosts.get(&1).context("no node 1")?.ip(&format!("link set {} up", port(node)))
}

/// The same corosync.conf for all.
pub(super) fn config(nodes: &[u32]) -> anyhow::Result<String> {
    let mut text = format!(
        "totem {{\n  version: 2\n  cluster_name: testbed\n  transport: knet\n  token: {TOKEN_MILLIS}\n}}\n\
         quorum {{\n  provider: corosync_votequorum\n}}\n\
         logging {{\n  to_stderr: yes\n  to_syslog: no\n  to_logfile: no\n}}\n\
         system {{\n  sched_rr: no\n}}\nnodelist {{\n"
    );
    for node in nodes {
        writeln!(
            text,
            "  node {{\n    nodeid: {node}\n    name: n{node}\n    ring0_addr: 10.99.0.{node}\n  }}"
        )?;
    }
    text.push_str("}\n");
    Ok(text)
}
