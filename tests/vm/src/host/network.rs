//! A network namespace with two bridges: `cluster` (10.77.0.N, fd77::N: corosync and dlm) and `manage`
//! (10.78.0.N: the harness). Nothing in it reaches the host's own network.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sched::{CloneFlags, setns};

use crate::command;

/// The cluster's namespace, by name; it need not be there yet.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    name: String,
}

impl Network {
    pub(crate) fn named(name: String) -> Self {
        Self { name }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Makes the namespace, its bridges and a pair of taps for each node.
    pub(crate) fn up(&self, nodes: u8) -> Result<()> {
        let name = self.name.as_str();
        command::run("ip", &["netns", "add", name])?;
        let ip = |words: &str| {
            let words: Vec<&str> = ["-n", name].into_iter().chain(words.split(' ')).collect();
            command::run("ip", &words)
        };
        ip("link set lo up")?;
        // Without a querier, snooping would in time drop corosync's and IPv6's multicast.
        ip("link add cluster type bridge mcast_snooping 0")?;
        ip("link add manage type bridge mcast_snooping 0")?;
        ip("addr add 10.77.0.254/24 dev cluster")?;
        ip("addr add 10.78.0.254/24 dev manage")?;
        ip("link set cluster up")?;
        ip("link set manage up")?;
        for node in 1..=nodes {
            for (tap, bridge) in [(format!("c{node}"), "cluster"), (format!("m{node}"), "manage")] {
                ip(&format!("tuntap add dev {tap} mode tap"))?;
                ip(&format!("link set {tap} master {bridge} up"))?;
            }
        }
        Ok(())
    }

    /// Removes the namespace, if it is there.
    pub(crate) fn down(&self) -> Result<()> {
        if self.path().exists() {
            command::run("ip", &["netns", "del", &self.name])?;
        }
        Ok(())
    }

    /// Does something with the calling thread in the namespace. A socket stays in the namespace it was
    /// made in, so this is needed for making it only.
    pub(crate) fn within<T>(&self, action: impl FnOnce() -> T) -> Result<T> {
        let open =
            |path: &Path| File::open(path).with_context(|| format!("open {}", path.display()));
        let back = open(Path::new("/proc/thread-self/ns/net"))?;
        let there = open(&self.path())?;
        setns(there, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))?;
        let result = action();
        setns(back, CloneFlags::CLONE_NEWNET).context("return to the own network namespace")?;
        Ok(result)
    }
}
