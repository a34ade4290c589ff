//! One node of a cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::actor::Actor;
use crate::cluster::{BOOT, Cluster, JOIN};
use crate::host::machine::Link;
use crate::host::remote::Output;
use crate::host::wait::until;
use crate::options::{Daemon, OUR_DAEMON};
use crate::workload::Load;

/// How long an ordinary command may take in an emulated machine on a busy host.
pub const COMMAND: Duration = Duration::from_secs(60);

/// A node. Its machine need not run.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    cluster: &'a Cluster,
    id: u8,
}

impl<'a> Node<'a> {
    pub(crate) fn new(cluster: &'a Cluster, id: u8) -> Self {
        Self { cluster, id }
    }

    pub(crate) fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Its id, from 1.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Its id in the cluster, which is another one with [`crate::Options::first_id`].
    pub fn cluster_id(&self) -> u8 {
        self.cluster.options().cluster_id(self.id)
    }

    /// Whether its machine runs; a hanging one does.
    pub fn runs(&self) -> bool {
        self.cluster.machine(self.id).runs()
    }

    /// Runs a shell command there. An error means that it could not be run, or took over [`COMMAND`].
    pub fn sh(&self, command: &str) -> Result<Output> {
        self.sh_within(command, COMMAND)
    }

    /// Runs a shell command that may take this long.
    pub fn sh_within(&self, command: &str, deadline: Duration) -> Result<Output> {
        self.cluster.remote(self.id).run(command, deadline)
    }

    /// Runs a shell command that must succeed; its standard output.
    pub fn ok(&self, command: &str) -> Result<String> {
        self.ok_within(command, COMMAND)
    }

    /// Runs a shell command that must succeed and may take this long; its standard output.
    pub fn ok_within(&self, command: &str, deadline: Duration) -> Result<String> {
        let Output { status, out, err } = self.sh_within(command, deadline)?;
        if status != 0 {
            bail!("node {}: {command}: exit {status}\n{out}{err}", self.id);
        }
        Ok(out)
    }

    /// Waits until a shell command succeeds there; its standard output.
    pub fn wait_for(&self, command: &str, deadline: Duration) -> Result<String> {
        until(&format!("node {}: {command}", self.id), deadline, || {
            let output = self.sh(command)?;
            Ok((output.status == 0).then_some(output.out))
        })
    }

    /// Writes a file there.
    pub fn put(&self, path: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.cluster.remote(self.id).put(path, mode, content)
    }

    /// What its kernel has written to the console since it was switched on.
    pub fn console(&self) -> Result<String> {
        let path = self.cluster.state().node_file(self.id, "console");
        let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Pulls the plug.
    pub fn kill(&self) -> Result<()> {
        self.cluster.machine(self.id).kill()
    }

    /// Waits until its machine is off, killed by the power switch or by itself.
    pub fn wait_off(&self, deadline: Duration) -> Result<()> {
        until(&format!("node {} is off", self.id), deadline, || Ok((!self.runs()).then_some(())))
    }

    /// Switches it on and waits until all running nodes' daemons see one another.
    pub fn boot(&self) -> Result<()> {
        self.power_on()?;
        self.cluster.settle()
    }

    /// Switches it on.
    pub fn power_on(&self) -> Result<()> {
        self.cluster.start_machine(self.id)
    }

    /// Freezes its machine: it stops answering without being dead.
    pub fn hang(&self) -> Result<()> {
        self.cluster.machine(self.id).signal(Signal::SIGSTOP)
    }

    /// Lets a frozen machine go on.
    pub fn resume(&self) -> Result<()> {
        self.cluster.machine(self.id).signal(Signal::SIGCONT)
    }

    /// Cuts or restores its cluster interface.
    pub fn link(&self, link: Link) -> Result<()> {
        self.cluster.machine(self.id).link(link)
    }

    /// The nodes that its daemon lists as members (`dlm_tool status`); empty when it cannot be asked.
    pub fn members(&self) -> Result<BTreeSet<u8>> {
        // It exits 0 without a daemon as well, so only what it prints counts.
        let text = self.sh("dlm_tool status")?.out;
        let ids = text.lines().filter_map(member_of_line);
        Ok(ids.filter_map(|id| self.cluster.options().node_of(id)).collect())
    }

    /// Waits until a lockspace runs there with exactly these members.
    pub fn wait_lockspace(&self, name: &str, members: &[u8], deadline: Duration) -> Result<()> {
        let ids = members.iter().map(|node| self.cluster.options().cluster_id(*node));
        let wanted: BTreeSet<u8> = ids.collect();
        let what = format!("node {}: lockspace {name} runs with {wanted:?}", self.id);
        let command = format!("dlm_tool ls {name}");
        until(&what, deadline, || {
            let text = self.sh(&command)?.out;
            if running_members(&text).as_ref() == Some(&wanted) {
                Ok(Some(()))
            } else {
                bail!(text)
            }
        })
    }

    /// Mounts the shared file system at `/mnt/gfs2`.
    pub fn mount(&self) -> Result<()> {
        self.ok_within("mount -t gfs2 -o noatime /dev/vdb /mnt/gfs2", 2 * COMMAND)?;
        Ok(())
    }

    /// Unmounts it.
    pub fn unmount(&self) -> Result<()> {
        self.ok_within("umount /mnt/gfs2", 2 * COMMAND)?;
        Ok(())
    }

    /// The journal that its mount uses.
    pub fn journal(&self) -> Result<u32> {
        let text = self.ok("cat /sys/fs/gfs2/*/lock_module/jid")?;
        text.trim().parse().with_context(|| format!("node {}: journal {text:?}", self.id))
    }

    /// How many whole records a file begins with there.
    pub fn verify(&self, path: &str) -> Result<u64> {
        let text = self.ok(&format!("/vm/dlm-vm-agent verify {path}"))?;
        text.trim().parse().with_context(|| format!("node {}: count {text:?}", self.id))
    }

    /// Starts a writer of records, each synced before it is acknowledged.
    pub fn write_records(&self, name: &str, path: &str) -> Result<Load<'a>> {
        Load::start(self.cluster, *self, "write", name, path)
    }

    /// Starts making and removing files, which needs ever new locks.
    pub fn churn(&self, name: &str, folder: &str) -> Result<Load<'a>> {
        Load::start(self.cluster, *self, "churn", name, folder)
    }

    /// Starts locking and unlocking a byte of a file.
    pub fn lock_loop(&self, name: &str, path: &str) -> Result<Load<'a>> {
        Load::start(self.cluster, *self, "lock", name, path)
    }

    /// Starts a process that takes and gives back POSIX locks as it is told. No other actor of the
    /// cluster may have had the name.
    pub fn actor(&self, name: &str) -> Result<Actor<'a>> {
        Actor::start(*self, name)
    }

    /// Waits until its agent answers, and sets its clock.
    pub(crate) fn wait_agent(&self) -> Result<()> {
        let what = format!("agent of node {} (console: dlm-vm console {})", self.id, self.id);
        until(&what, BOOT, || {
            if !self.runs() {
                bail!("its machine is off");
            }
            self.cluster.remote(self.id).set_clock().map(Some)
        })
    }

    /// Ends the grace that nodes have while the cluster boots.
    pub(crate) fn end_boot_delay(&self) -> Result<()> {
        self.wait_for(
            "dlm_tool set_config post_join_delay=0 >/dev/null; \
             dlm_tool dump_config | grep -q '^post_join_delay=0'",
            JOIN,
        )?;
        Ok(())
    }

    /// Leaves all lockspaces and ends the daemon.
    pub(crate) fn end_daemon(&self) -> Result<()> {
        self.leave_everything()?;
        self.wait_for("kill $(pgrep -o dlm_controld) 2>/dev/null; cat /run/daemon.exit", COMMAND)?;
        Ok(())
    }

    /// Starts the daemon that the cluster's options name.
    pub(crate) fn begin_daemon(&self) -> Result<()> {
        let options = self.cluster.options();
        if let Daemon::Ours(path) = options.daemon_of(self.id) {
            // Not anew: what has run before is in the machine's caches, as the other daemon is.
            if self.ok(&format!("test -x {OUR_DAEMON} || echo missing"))?.contains("missing") {
                let content =
                    std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
                self.put(OUR_DAEMON, 0o755, &content)?;
            }
        }
        self.put("/vm/env", 0o644, options.guest_environment(self.id).as_bytes())?;
        self.ok(". /vm/rc; start_daemon")?;
        Ok(())
    }

    /// Ends what an earlier scenario left: workloads, mounts, lockspaces.
    pub(crate) fn leave_everything(&self) -> Result<()> {
        self.ok_within(
            "for exe in /proc/[0-9]*/exe; do \
               process=${exe#/proc/}; process=${process%/exe}; \
               case \"$(tr '\\0' ' ' </proc/$process/cmdline 2>/dev/null)\" in \
               */dlm-vm-agent\\ init*|*/dlm-vm-agent\\ serve*|*/dlm-vm-agent\\ stamp*) ;; \
               */dlm-vm-agent\\ *) kill -9 $process;; esac; done; \
             for place in $(sed -n 's,^[^ ]* \\(/mnt/[^ ]*\\) .*,\\1,p' /proc/mounts); do \
               umount $place || exit 1; done; \
             for array in $(sed -n 's,^\\(md[0-9]*\\) : .*,\\1,p' /proc/mdstat 2>/dev/null); do \
               mdadm --stop /dev/$array || exit 1; done; \
             for name in $(dlm_tool ls | sed -n 's/^name  *//p'); do \
               dlm_tool leave $name >/dev/null || exit 1; done",
            2 * COMMAND,
        )?;
        Ok(())
    }
}

/// `node 2 M add 13 rem 0 …`: M is a member.
fn member_of_line(line: &str) -> Option<u8> {
    let mut words = line.split_whitespace();
    let (word, id, sign) = (words.next()?, words.next()?, words.next()?);
    if word == "node" && sign == "M" { id.parse().ok() } else { None }
}

/// The members of the one lockspace that `dlm_tool ls NAME` describes, if it runs and no change is on.
fn running_members(text: &str) -> Option<BTreeSet<u8>> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
    if value("new change").is_some() || value("flags")?.contains("kern_stop") {
        return None;
    }
    Some(value("members")?.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_members_are_counted() {
        assert_eq!(member_of_line("node 2 M add 16 rem 0 fail 0 fence 0 at 0 0"), Some(2));
        assert_eq!(member_of_line("node 3 X add 18 rem 46 fail 46 fence 48 at 1 0"), None);
        assert_eq!(member_of_line("cluster nodeid 1 quorate 1 ring seq 13 13"), None);
    }

    #[test]
    fn stopped_or_changing_lockspace_does_not_run() {
        let runs = "dlm lockspaces\nname          fs\nid            0xd0b621e6\nflags         0x00000000 \n\
                    change        member 2 joined 0 remove 1 failed 1 seq 4,4\nmembers       1 2 \n\n";
        assert_eq!(running_members(runs), Some([1, 2].into()));
        assert_eq!(running_members(&runs.replace("0x00000000 ", "0x00000004 kern_stop")), None);
        assert_eq!(running_members(&format!("{runs}new change    member 1\n")), None);
        assert_eq!(running_members(""), None);
    }
}
