//! A workload that runs on a node and acknowledges to the host what is complete.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::host::wait::until;
use crate::node::Node;

/// A running workload. Dropping it does not stop it: the node may be dead by then.
#[derive(Debug)]
pub struct Load<'a> {
    cluster: &'a Cluster,
    node: Node<'a>,
    name: String,
    process: u32,
}

impl<'a> Load<'a> {
    pub(crate) fn start(
        cluster: &'a Cluster,
        node: Node<'a>,
        kind: &str,
        name: &str,
        path: &str,
    ) -> Result<Self> {
        let name = format!("{name}@{}", node.id());
        let before = cluster.acknowledged(&name);
        if before != 0 {
            bail!("a workload {name} has run on this cluster already");
        }
        let out = node.ok(&format!(
            "/vm/dlm-vm-agent {kind} {name} {path} >/var/log/load.{name} 2>&1 & echo $!"
        ))?;
        let process = out.trim().parse().with_context(|| format!("process id {out:?}"))?;
        Ok(Self { cluster, node, name, process })
    }

    /// The node it runs on.
    pub fn node(&self) -> u8 {
        self.node.id()
    }

    /// How many operations are complete, as far as the host knows: every one of them is, the last ones
    /// may not have been reported yet.
    pub fn acknowledged(&self) -> u64 {
        self.cluster.acknowledged(&self.name)
    }

    /// Waits until this many more operations are complete than now.
    pub fn wait_more(&self, more: u64, deadline: Duration) -> Result<()> {
        let wanted = self.acknowledged() + more;
        let what = format!("{more} more operations of {}", self.name);
        until(&what, deadline, || {
            let now = self.acknowledged();
            if now >= wanted { Ok(Some(())) } else { bail!("{now} of {wanted}{}", self.said()) }
        })
    }

    /// Ends it, and waits for its end.
    pub fn stop(&self, deadline: Duration) -> Result<()> {
        let process = self.process;
        self.node.wait_for(
            &format!("kill {process} 2>/dev/null; ! kill -0 {process} 2>/dev/null"),
            deadline,
        )?;
        Ok(())
    }

    fn said(&self) -> String {
        let output = self.node.sh(&format!("cat /var/log/load.{}", self.name));
        output.map(|output| format!("; it said {:?}", output.out)).unwrap_or_default()
    }
}
