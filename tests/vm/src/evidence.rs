//! What is kept of a cluster in which a scenario failed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cluster::Cluster;
use crate::node::Node;
use crate::time::HostTime;

/// How long a node may take for one of them.
const PATIENCE: Duration = Duration::from_secs(20);
/// Name of the file, command that fills it.
const COMMANDS: [(&str, &str); 8] = [
    ("corosync.log", "cat /var/log/cluster/corosync.log"),
    ("daemon.log", "cat /var/log/daemon.stamped; cat /run/daemon.exit"),
    ("dump", "timeout 10 dlm_tool dump"),
    ("status", "timeout 10 dlm_tool status -v"),
    ("ls", "timeout 10 dlm_tool ls -n"),
    ("dmesg", "dmesg"),
    ("fence.log", "cat /var/log/fence_vm.log"),
    (
        "processes",
        "ps axww -o pid,stat,wchan:20,args; cat /var/log/load.*; cat /proc/mounts; free -m",
    ),
];

impl Cluster {
    /// Writes every node's logs and state, the power switch's log and the timeline into a directory.
    /// What cannot be had is left out: a failed scenario's cluster is seldom whole.
    pub fn collect_on_failure(&self, folder: &Path, since: HostTime) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("write {}", path.display()))
        };
        for node in self.nodes() {
            for kind in ["console", "console.earlier", "qemu"] {
                let from = self.state().node_file(node.id(), kind);
                let _ = fs::copy(from, folder.join(format!("node{}.{kind}", node.id())));
            }
        }
        let running: Vec<u8> = self.running().iter().map(Node::id).collect();
        self.on_all(&running, |node| {
            for (name, command) in COMMANDS {
                // Once it does not answer, it would not answer the rest either.
                let Ok(output) = node.sh_within(command, PATIENCE) else { break };
                write(&format!("node{}.{name}", node.id()), &(output.out + &output.err))?;
            }
            Ok(())
        })?;
        let _ = fs::copy(self.state().run_file("fence.log"), folder.join("power.log"));
        let mut text = String::new();
        for entry in self.timeline(since).unwrap_or_default() {
            let after = entry.at.seconds_after(since);
            let _ =
                writeln!(text, "{after:9.3} node{} {:8} {}", entry.node, entry.source, entry.text);
        }
        write("timeline", &text)
    }
}
