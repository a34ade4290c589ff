//! One kernel write from its beginning to its end, on the thread of its lane.
//!
//! The order of the calls is spec/kernel-interfaces.md section 3. The first call that fails ends the write: a kernel must
//! never be started with members other than the agreed ones. Every write can be given again as a whole.

use crate::kernel::configfs::{self, Comm, CommOptions};
use crate::kernel::error::KernelError;
use crate::kernel::files::Files;
use crate::kernel::root::Root;
use crate::kernel::sysfs::{Control, DlmLockspace, Gfs2};
use dlm_core::effect::{KernelStart, KernelWrite, Lane, Level, LogLine};
use dlm_core::types::LockspaceName;

/// Lines for the log, kept until somebody who has the log's descriptors can write them.
#[derive(Debug, Default)]
pub struct Journal {
    lockspace: Option<LockspaceName>,
    lines: Vec<LogLine>,
}

/// More lines than this of one write are dropped: an entry for each of corosync's 128 nodes, three times over.
const JOURNAL_MAX: usize = 512;

impl Journal {
    /// For lines about the cluster, or about one lockspace.
    #[must_use]
    pub fn new(lockspace: Option<LockspaceName>) -> Self {
        Self { lockspace, lines: Vec::new() }
    }

    /// The lines, in order.
    #[must_use]
    pub fn into_lines(self) -> Vec<LogLine> {
        self.lines
    }

    /// A line for the dump.
    pub(crate) fn debug(&mut self, text: String) {
        self.push(Level::Debug, text);
    }

    /// A line for syslog.
    pub(crate) fn error(&mut self, text: String) {
        self.push(Level::Error, text);
    }

    fn push(&mut self, level: Level, text: String) {
        if self.lines.len() < JOURNAL_MAX {
            self.lines.push(LogLine { level, lockspace: self.lockspace.clone(), text });
        }
    }
}

/// What every write needs.
#[derive(Clone, Debug)]
pub struct Writer<F> {
    /// configfs.
    pub files: F,
    /// Below which everything is.
    pub root: Root,
    /// What dlm.conf says about nodes.
    pub comms: CommOptions,
}

impl<F: Files> Writer<F> {
    /// Carry out a write. May block as long as the kernel likes.
    ///
    /// # Errors
    /// The first call that failed; nothing after it was done.
    pub fn carry_out(
        &self,
        lane: &Lane,
        write: &KernelWrite,
        journal: &mut Journal,
    ) -> Result<(), KernelError> {
        match (lane, write) {
            (Lane::Cluster, KernelWrite::AddComm { node, addresses, local }) => {
                let comm = Comm { node: *node, addresses, local: (*local).into() };
                configfs::add_comm(&self.files, &self.root, &self.comms, comm, journal)
            }
            (Lane::Cluster, KernelWrite::RemoveComm { node }) => {
                configfs::remove_comm(&self.files, &self.root, *node, journal)
            }
            (Lane::Lockspace(_), KernelWrite::AddComm { .. } | KernelWrite::RemoveComm { .. }) => {
                Err(KernelError::WrongLane)
            }
            (_, KernelWrite::AckWithdraw { table }) => {
                let object = Gfs2::at(&self.root, table)?;
                journal.debug(format!("write \"1\" to withdraw of {table}"));
                object.acknowledge_withdraw()
            }
            (Lane::Lockspace(lockspace), KernelWrite::Stop) => {
                self.sysfs(lockspace).control(Control::Stop, journal)
            }
            (Lane::Lockspace(lockspace), KernelWrite::Start(start)) => {
                self.start(lockspace, start, journal)
            }
            (Lane::Lockspace(lockspace), KernelWrite::EventDone { result }) => {
                self.sysfs(lockspace).event_done(*result, journal)
            }
            (Lane::Lockspace(lockspace), KernelWrite::Release { stop }) => {
                let sysfs = self.sysfs(lockspace);
                if *stop {
                    sysfs.control(Control::Stop, journal)?;
                }
                configfs::remove_space(&self.files, &self.root.space(lockspace), journal)?;
                sysfs.event_done(0, journal)
            }
            (
                Lane::Cluster,
                KernelWrite::Stop
                | KernelWrite::Start(_)
                | KernelWrite::EventDone { .. }
                | KernelWrite::Release { .. },
            ) => Err(KernelError::WrongLane),
        }
    }

    fn start(
        &self,
        lockspace: &LockspaceName,
        start: &KernelStart,
        journal: &mut Journal,
    ) -> Result<(), KernelError> {
        let sysfs = self.sysfs(lockspace);
        if let Some(id) = start.first {
            sysfs.log("id", &id.0.to_string(), journal);
            sysfs.object.set_id(id)?;
        }
        if start.nodir {
            sysfs.log("nodir", "1", journal);
            sysfs.object.set_nodir()?;
        }
        configfs::set_members(&self.files, &self.root, lockspace, start, journal)?;
        sysfs.control(Control::Start, journal)?;
        if start.first.is_some() {
            sysfs.event_done(0, journal)?;
        }
        Ok(())
    }

    fn sysfs(&self, lockspace: &LockspaceName) -> Logged {
        let directory = self.root.sysfs_lockspace(lockspace).display().to_string();
        Logged { object: DlmLockspace::at(&self.root, lockspace), directory }
    }
}

/// A lockspace in sysfs whose writes leave the C daemon's line in the log.
struct Logged {
    object: DlmLockspace,
    directory: String,
}

impl Logged {
    /// Before the write, as the C daemon does, so that a write that hangs is in the log as soon as it ends in any way.
    fn log(&self, attribute: &str, value: &str, journal: &mut Journal) {
        journal.debug(format!("write \"{value}\" to \"{}/{attribute}\"", self.directory));
    }

    fn control(&self, control: Control, journal: &mut Journal) -> Result<(), KernelError> {
        let value = match control {
            Control::Stop => "0",
            Control::Start => "1",
        };
        self.log("control", value, journal);
        self.object.set_control(control)
    }

    fn event_done(&self, result: i32, journal: &mut Journal) -> Result<(), KernelError> {
        self.log("event_done", &result.to_string(), journal);
        self.object.set_event_done(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::{ModelConfigfs, TestTree};
    use dlm_core::types::{GlobalId, NodeId};
    use std::collections::BTreeSet;

    fn name() -> LockspaceName {
        LockspaceName::new(b"fs").unwrap()
    }

    struct Bench {
        tree: TestTree,
        writer: Writer<ModelConfigfs>,
    }

    impl Bench {
        fn new() -> Self {
            let tree = TestTree::new();
            tree.cluster();
            tree.lockspace("fs");
            let writer = Writer {
                files: ModelConfigfs::default(),
                root: tree.root().clone(),
                comms: CommOptions::default(),
            };
            Self { tree, writer }
        }

        /// What the log says was done, paths below the tree, and the result.
        fn run(&self, write: &KernelWrite) -> (Vec<String>, Result<(), KernelError>) {
            let mut journal = Journal::new(Some(name()));
            let result = self.writer.carry_out(&Lane::Lockspace(name()), write, &mut journal);
            let root = self.tree.path("").display().to_string();
            let cluster = "sys/kernel/config/dlm/cluster/";
            let lines = journal
                .into_lines()
                .into_iter()
                .map(|line| line.text.replace(&root, "").replace(cluster, ""));
            (lines.collect(), result)
        }

        fn sysfs(&self, attribute: &str) -> Vec<u8> {
            self.tree.read(&format!("sys/kernel/dlm/fs/{attribute}"))
        }
    }

    fn start(first: Option<GlobalId>, nodir: bool, members: &[u32]) -> KernelWrite {
        KernelWrite::Start(KernelStart {
            first,
            nodir,
            members: members.iter().map(|id| (NodeId::new(*id).unwrap(), 1)).collect(),
            renew: BTreeSet::new(),
            release_recover: BTreeSet::new(),
        })
    }

    #[test]
    fn a_first_start_is_id_nodir_members_control_event_done() {
        let bench = Bench::new();
        let (lines, result) = bench.run(&start(Some(GlobalId(3_501_597_158)), true, &[1]));
        result.unwrap();
        assert_eq!(
            lines,
            [
                "write \"3501597158\" to \"sys/kernel/dlm/fs/id\"",
                "write \"1\" to \"sys/kernel/dlm/fs/nodir\"",
                "set_members mkdir \"spaces/fs/nodes/1\"",
                "write \"1\" to \"sys/kernel/dlm/fs/control\"",
                "write \"0\" to \"sys/kernel/dlm/fs/event_done\"",
            ]
        );
        assert_eq!(bench.sysfs("id"), b"3501597158\0");
        assert_eq!(bench.sysfs("event_done"), b"0\0");
    }

    #[test]
    fn a_later_start_is_members_and_control() {
        let bench = Bench::new();
        bench.run(&start(None, false, &[1, 2])).1.unwrap();
        let (lines, result) = bench.run(&start(None, false, &[1]));
        result.unwrap();
        assert_eq!(
            lines,
            [
                "dir_member 1",
                "dir_member 2",
                "set_members rmdir \"spaces/fs/nodes/2\"",
                "write \"1\" to \"sys/kernel/dlm/fs/control\""
            ]
        );
        assert_eq!((bench.sysfs("id"), bench.sysfs("event_done")), (vec![], vec![]));
    }

    #[test]
    fn nothing_is_started_after_a_failed_write() {
        use crate::kernel::error::Operation;
        for fails in [
            (Operation::Mkdir, "spaces/fs", libc::ENOMEM),
            (Operation::Mkdir, "nodes/1", libc::ENOMEM),
            (Operation::Open, "nodeid", libc::EINVAL),
            (Operation::Open, "weight", libc::EINVAL),
        ] {
            let mut bench = Bench::new();
            bench.writer.files.fails = Some(fails);
            assert_eq!(bench.run(&start(None, false, &[1])).1.unwrap_err().errno(), Some(fails.2));
            assert_eq!(bench.sysfs("control"), b"", "{fails:?}");
        }
        let bench = Bench::new();
        std::fs::remove_file(bench.tree.path("sys/kernel/dlm/fs/nodir")).unwrap();
        assert!(bench.run(&start(None, true, &[1])).1.is_err());
        assert_eq!(bench.sysfs("control"), b"");
    }

    #[test]
    fn a_start_can_be_given_again_as_a_whole() {
        let mut bench = Bench::new();
        bench.writer.files.fails =
            Some((crate::kernel::error::Operation::Mkdir, "nodes/2", libc::ENOMEM));
        assert!(bench.run(&start(Some(GlobalId(1)), false, &[1, 2])).1.is_err());
        bench.writer.files.fails = None;
        bench.run(&start(Some(GlobalId(1)), false, &[1, 2])).1.unwrap();
        assert_eq!(bench.sysfs("control"), b"1\0");
        assert!(bench.tree.exists("sys/kernel/config/dlm/cluster/spaces/fs/nodes/2"));
    }

    #[test]
    fn a_release_stops_removes_and_answers() {
        let bench = Bench::new();
        bench.run(&start(None, false, &[1])).1.unwrap();
        let (lines, result) = bench.run(&KernelWrite::Release { stop: true });
        result.unwrap();
        assert_eq!(
            lines,
            [
                "write \"0\" to \"sys/kernel/dlm/fs/control\"",
                "set_members rmdir \"spaces/fs/nodes/1\"",
                "set_members lockspace rmdir \"spaces/fs\"",
                "write \"0\" to \"sys/kernel/dlm/fs/event_done\"",
            ]
        );
        let (lines, result) = bench.run(&KernelWrite::Release { stop: false });
        result.unwrap();
        assert_eq!(lines.len(), 2, "the space is absent already: {lines:?}");
    }

    #[test]
    fn stop_event_done_and_withdraw_are_single_writes() {
        let bench = Bench::new();
        bench.run(&KernelWrite::Stop).1.unwrap();
        assert_eq!(bench.sysfs("control"), b"0\0");
        bench.run(&KernelWrite::EventDone { result: -17 }).1.unwrap();
        assert_eq!(bench.sysfs("event_done"), b"-17\0");
        bench.tree.file("sys/fs/gfs2/lab:fs/lock_module/withdraw", b"");
        bench.run(&KernelWrite::AckWithdraw { table: "lab:fs".to_owned() }).1.unwrap();
        assert_eq!(bench.tree.read("sys/fs/gfs2/lab:fs/lock_module/withdraw"), b"1\0");
    }

    #[test]
    fn a_write_in_the_wrong_lane_is_refused() {
        let bench = Bench::new();
        let remove = KernelWrite::RemoveComm { node: NodeId::new(1).unwrap() };
        assert!(matches!(bench.run(&remove).1, Err(KernelError::WrongLane)));
        let result =
            bench.writer.carry_out(&Lane::Cluster, &KernelWrite::Stop, &mut Journal::default());
        assert!(matches!(result, Err(KernelError::WrongLane)));
    }
}
