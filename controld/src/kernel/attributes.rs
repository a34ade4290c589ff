//! Settings of the whole cluster in configfs, and clearing it (spec/kernel-interfaces.md section 4).

use crate::kernel::configfs::{make_if_absent, write_text};
use crate::kernel::error::{KernelError, Operation};
use crate::kernel::files::Files;
use crate::kernel::root::Root;
use crate::kernel::write::Journal;
use dlm_core::options::Switch;
use std::fs;
use std::path::Path;

/// How the kernels talk to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `0`
    Tcp,
    /// `1`
    Sctp,
}

impl Protocol {
    /// What the option `protocol` means. `detect` goes by corosync's `totem.rrp_mode`, which corosync 3 does not have.
    /// `None`: write nothing, so that the kernel's own default holds.
    #[must_use]
    pub fn choose(option: &str, rrp_mode: Option<&str>) -> Option<Self> {
        match option.to_ascii_lowercase().as_str() {
            "tcp" | "0" => Some(Self::Tcp),
            "sctp" | "1" => Some(Self::Sctp),
            "detect" | "2" => {
                rrp_mode.map(|mode| if mode == "none" { Self::Tcp } else { Self::Sctp })
            }
            _ => None,
        }
    }

    const fn value(self) -> u8 {
        match self {
            Self::Tcp => 0,
            Self::Sctp => 1,
        }
    }
}

/// The settings, from options and corosync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterAttributes {
    /// `log_debug`, only if the option was given.
    pub log_debug: Option<Switch>,
    /// `port`, only if the option was given.
    pub tcp_port: Option<u32>,
    /// `mark`: SO_MARK of all of the dlm's sockets; 0 for none.
    pub mark: u32,
    /// See [`Protocol::choose`].
    pub protocol: Option<Protocol>,
    /// On: file systems get recovery callbacks. Off: the cluster3 mode of `enable_fscontrol`.
    pub recover_callbacks: Switch,
    /// corosync's `totem.cluster_name`; `None` only in the cluster3 mode.
    pub cluster_name: Option<String>,
}

/// What SCTP needs as the default and the largest receive buffer of a socket, in bytes.
const SCTP_RMEM: u32 = 4_194_304;

/// The sysctls that are raised for SCTP, in this order.
const RMEM_SYSCTLS: [&str; 2] = ["proc/sys/net/core/rmem_default", "proc/sys/net/core/rmem_max"];

/// Make the cluster's directory and write its settings, in the C daemon's order. A setting that the kernel refuses is
/// noted and left at the kernel's own default, except those without which gfs2 could not be mounted.
///
/// # Errors
/// configfs or the dlm is missing; no cluster name; `recover_callbacks` or `cluster_name` could not be written.
pub fn set_cluster(
    files: &impl Files,
    root: &Root,
    attributes: &ClusterAttributes,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    if !root.configfs().is_dir() {
        return Err(KernelError::NoConfigfs);
    }
    let cluster = root.cluster();
    if !cluster.parent().is_some_and(Path::is_dir) {
        let mounted = files.is_configfs(&root.configfs());
        return Err(if mounted { KernelError::NoDlm } else { KernelError::ConfigfsNotMounted });
    }
    make_if_absent(files, &cluster)?;
    if let Some(log_debug) = attributes.log_debug {
        set_or_note(
            files,
            &cluster,
            "log_debug",
            &u8::from(log_debug.is_on()).to_string(),
            journal,
        );
    }
    if let Some(port) = attributes.tcp_port {
        set_or_note(files, &cluster, "tcp_port", &port.to_string(), journal);
    }
    set_or_note(files, &cluster, "mark", &attributes.mark.to_string(), journal);
    if let Some(protocol) = attributes.protocol {
        set_or_note(files, &cluster, "protocol", &protocol.value().to_string(), journal);
        if protocol == Protocol::Sctp {
            raise_rmem(files, root, journal);
        }
    }
    let callbacks = u8::from(attributes.recover_callbacks.is_on()).to_string();
    set(files, &cluster, "recover_callbacks", &callbacks, journal)?;
    match attributes.cluster_name.as_deref() {
        Some(name) if !name.is_empty() => set(files, &cluster, "cluster_name", name, journal),
        _ if attributes.recover_callbacks.is_on() => Err(KernelError::NoClusterName),
        _ => Ok(()),
    }
}

/// The kernel's own debug messages on or off, while the daemon runs.
///
/// # Errors
/// The path, the value and errno.
pub fn set_log_debug(
    files: &impl Files,
    root: &Root,
    log_debug: Switch,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    set(files, &root.cluster(), "log_debug", &u8::from(log_debug.is_on()).to_string(), journal)
}

/// Remove everything below `cluster`, and itself: entries of an earlier daemon at start, ours at the end. What cannot
/// be removed is noted.
pub fn clear(files: &impl Files, root: &Root, journal: &mut Journal) {
    clear_directory(files, &root.comms(), journal);
    for space in note_failure(files.directories(&root.spaces()), journal).unwrap_or_default() {
        let space = root.spaces().join(space);
        clear_directory(files, &space.join("nodes"), journal);
        clear_one(files, &space, journal);
    }
    // Another user of the cluster's directory may hold it; the C daemon is silent about it as well.
    let _ = files.rmdir(&root.cluster());
}

fn clear_directory(files: &impl Files, directory: &Path, journal: &mut Journal) {
    for name in note_failure(files.directories(directory), journal).unwrap_or_default() {
        clear_one(files, &directory.join(name), journal);
    }
}

fn clear_one(files: &impl Files, path: &Path, journal: &mut Journal) {
    journal.debug(format!("clear_configfs_nodes rmdir \"{}\"", path.display()));
    note_failure(files.rmdir(path), journal);
}

fn note_failure<T>(result: Result<T, KernelError>, journal: &mut Journal) -> Option<T> {
    result.map_err(|error| journal.error(error.to_string())).ok()
}

fn set(
    files: &impl Files,
    cluster: &Path,
    attribute: &str,
    value: &str,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    write_text(files, &cluster.join(attribute), value)?;
    journal.debug(format!("set {attribute} {value}"));
    Ok(())
}

fn set_or_note(
    files: &impl Files,
    cluster: &Path,
    attribute: &str,
    value: &str,
    journal: &mut Journal,
) {
    note_failure(set(files, cluster, attribute, value, journal), journal);
}

/// Raise the receive buffers of sockets to what SCTP needs; never lower them. After a failure the rest is left alone.
fn raise_rmem(files: &impl Files, root: &Root, journal: &mut Journal) {
    for sysctl in RMEM_SYSCTLS {
        if note_failure(raise(files, &root.join(sysctl), journal), journal).is_none() {
            return;
        }
    }
}

fn raise(files: &impl Files, path: &Path, journal: &mut Journal) -> Result<(), KernelError> {
    let content = fs::read_to_string(path).map_err(KernelError::path(Operation::Read, path))?;
    let Ok(now) = content.trim().parse::<u32>() else {
        return Err(KernelError::Content { path: path.to_owned(), content });
    };
    if now < SCTP_RMEM {
        write_text(files, path, &SCTP_RMEM.to_string())?;
        journal.debug(format!("set {} {SCTP_RMEM}", path.display()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testtree::{ModelConfigfs, TestTree};

    fn attributes() -> ClusterAttributes {
        ClusterAttributes {
            log_debug: Some(Switch::On),
            tcp_port: Some(21064),
            mark: u32::MAX,
            protocol: Some(Protocol::Sctp),
            recover_callbacks: Switch::On,
            cluster_name: Some("lab".to_owned()),
        }
    }

    fn tree() -> TestTree {
        let tree = TestTree::new();
        fs::create_dir_all(tree.path("sys/kernel/config/dlm")).unwrap();
        tree.file("proc/sys/net/core/rmem_default", b"212992\n");
        tree.file("proc/sys/net/core/rmem_max", b"8388608\n");
        tree
    }

    fn run(
        files: &ModelConfigfs,
        tree: &TestTree,
        attributes: &ClusterAttributes,
    ) -> (Vec<String>, Result<(), KernelError>) {
        let mut journal = Journal::default();
        let result = set_cluster(files, tree.root(), attributes, &mut journal);
        (journal.into_lines().into_iter().map(|line| line.text).collect(), result)
    }

    #[test]
    fn settings_are_written_in_the_c_daemons_order() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        run(&files, &tree, &attributes()).1.unwrap();
        assert_eq!(
            files.taken(),
            [
                "mkdir",
                "write /log_debug 1",
                "write /tcp_port 21064",
                "write /mark 4294967295",
                "write /protocol 1",
                "write  4194304",
                "write /recover_callbacks 1",
                "write /cluster_name lab",
            ]
        );
        assert_eq!(tree.read("sys/kernel/config/dlm/cluster/cluster_name"), b"lab");
        assert_eq!(tree.read("proc/sys/net/core/rmem_default"), b"4194304");
        assert_eq!(tree.read("proc/sys/net/core/rmem_max"), b"8388608\n", "never lowered");
    }

    #[test]
    fn only_given_settings_are_written() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        let few = ClusterAttributes {
            log_debug: None,
            tcp_port: None,
            mark: 0,
            protocol: None,
            ..attributes()
        };
        let (lines, result) = run(&files, &tree, &few);
        result.unwrap();
        assert_eq!(lines, ["set mark 0", "set recover_callbacks 1", "set cluster_name lab"]);
    }

    #[test]
    fn a_cluster_without_name_is_refused_unless_the_mode_is_cluster3() {
        let tree = tree();
        for name in [None, Some(String::new())] {
            let nameless = ClusterAttributes { cluster_name: name, ..attributes() };
            let (_, result) = run(&ModelConfigfs::default(), &tree, &nameless);
            assert!(matches!(result, Err(KernelError::NoClusterName)));
        }
        let cluster3 = ClusterAttributes {
            cluster_name: None,
            recover_callbacks: Switch::Off,
            ..attributes()
        };
        run(&ModelConfigfs::default(), &tree, &cluster3).1.unwrap();
        assert_eq!(tree.read("sys/kernel/config/dlm/cluster/recover_callbacks"), b"0");
    }

    #[test]
    fn a_refused_setting_is_noted_but_not_one_that_gfs2_needs() {
        let failing = |end| ModelConfigfs {
            fails: Some((Operation::Open, end, libc::EINVAL)),
            ..Default::default()
        };
        let (lines, result) = run(&failing("tcp_port"), &tree(), &attributes());
        result.unwrap();
        assert!(
            lines.iter().any(|line| line.contains("\"21064\"") && line.contains("os error 22")),
            "{lines:?}"
        );
        assert!(run(&failing("cluster_name"), &tree(), &attributes()).1.is_err());
    }

    #[test]
    fn what_is_not_loaded_is_named() {
        let tree = TestTree::new();
        let refused = |tree: &TestTree| {
            run(&ModelConfigfs::default(), tree, &attributes()).1.unwrap_err().to_string()
        };
        assert_eq!(
            refused(&tree),
            "No /sys/kernel/config, is configfs loaded? (modprobe configfs)"
        );
        fs::create_dir_all(tree.path("sys/kernel/config")).unwrap();
        assert_eq!(refused(&tree), "No /sys/kernel/config/dlm, is the dlm loaded? (modprobe dlm)");
    }

    #[test]
    fn configfs_that_is_not_mounted_is_told_from_a_missing_dlm() {
        let (tree, files) =
            (TestTree::new(), ModelConfigfs { unmounted: true, ..Default::default() });
        fs::create_dir_all(tree.path("sys/kernel/config")).unwrap();
        let error = run(&files, &tree, &attributes()).1.unwrap_err().to_string();
        assert_eq!(
            error,
            "configfs is not mounted at /sys/kernel/config: mount -t configfs none /sys/kernel/config"
        );
        assert!(files.taken().is_empty(), "nothing is made in the directory below");
    }

    #[test]
    fn missing_sysctls_do_not_stop_the_start() {
        let tree = TestTree::new();
        fs::create_dir_all(tree.path("sys/kernel/config/dlm")).unwrap();
        let (lines, result) = run(&ModelConfigfs::default(), &tree, &attributes());
        result.unwrap();
        assert_eq!(lines.iter().filter(|line| line.contains("rmem")).count(), 1);
    }

    #[test]
    fn clearing_removes_all_and_goes_on_after_a_failure() {
        let tree = TestTree::new();
        tree.cluster();
        let files = ModelConfigfs::default();
        for path in ["comms/1", "comms/2", "spaces/a", "spaces/a/nodes/1", "spaces/b"] {
            files.mkdir(&tree.root().cluster().join(path)).unwrap();
        }
        let stubborn = ModelConfigfs {
            fails: Some((Operation::Rmdir, "comms/1", libc::EBUSY)),
            ..Default::default()
        };
        let mut journal = Journal::default();
        clear(&stubborn, tree.root(), &mut journal);
        assert_eq!(
            stubborn.taken(),
            ["rmdir /comms/2", "rmdir /spaces/a/nodes/1", "rmdir /spaces/a", "rmdir /spaces/b"]
        );
        let errors = journal
            .into_lines()
            .into_iter()
            .filter(|line| line.text.contains("os error 16"))
            .count();
        assert_eq!(errors, 1);
        clear(&files, tree.root(), &mut Journal::default());
        assert!(!tree.root().cluster().exists());
        clear(&files, tree.root(), &mut Journal::default());
    }

    #[test]
    fn the_protocol_goes_by_option_and_rrp_mode() {
        let choose = Protocol::choose;
        assert_eq!(choose("TCP", None), Some(Protocol::Tcp));
        assert_eq!(choose("1", None), Some(Protocol::Sctp));
        assert_eq!(choose("detect", None), None);
        assert_eq!(choose("2", Some("none")), Some(Protocol::Tcp));
        assert_eq!(choose("Detect", Some("active")), Some(Protocol::Sctp));
        assert_eq!(choose("udp", Some("none")), None);
    }
}
