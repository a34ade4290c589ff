//! configfs: who the nodes are (`comms`), and who the members of a lockspace are (`spaces`);
//! spec/kernel-interfaces.md section 5.
//!
//! The kernel gives every `comms` entry a number when it is made, and remembers it when a member's `nodeid` is written. A
//! member that is removed while its entry has that same number has left in order; any other has failed. So the entry of
//! a node must exist before the node becomes a member anywhere, and nothing here touches an entry or a member that did
//! not change.

use crate::kernel::error::KernelError;
use crate::kernel::files::Files;
use crate::kernel::root::Root;
use crate::kernel::write::Journal;
use dlm_core::effect::KernelStart;
use dlm_core::options::Switch;
use dlm_core::types::{LockspaceName, NodeId};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::Path;

/// What dlm.conf says about all entries of `comms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommOptions {
    /// SO_MARK of the connection to a node (`node id=N mark=M`); a node without one uses the cluster's.
    pub marks: BTreeMap<NodeId, u32>,
    /// The hidden option `bind_all`, which only some vendors' kernels know.
    pub bind_all: Switch,
}

impl Default for CommOptions {
    fn default() -> Self {
        Self { marks: BTreeMap::new(), bind_all: Switch::Off }
    }
}

/// One entry of `comms` to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comm<'a> {
    /// Whose.
    pub node: NodeId,
    /// Its addresses, first one first; with TCP the kernel uses only that one.
    pub addresses: &'a [SocketAddr],
    /// Our own node.
    pub local: Switch,
}

/// Size of `struct sockaddr_storage`, and the only length that the kernel accepts.
pub const ADDRESS_SIZE: usize = 128;

/// `AF_INET` and `AF_INET6` of linux/socket.h.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// An address as the kernel's `addr` attribute takes it: `struct sockaddr_storage`, the rest zero.
#[must_use]
pub fn address_bytes(address: &SocketAddr) -> [u8; ADDRESS_SIZE] {
    let mut fields = Vec::with_capacity(ADDRESS_SIZE);
    match address {
        SocketAddr::V4(v4) => {
            fields.extend(AF_INET.to_ne_bytes());
            fields.extend(v4.port().to_be_bytes());
            fields.extend(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            fields.extend(AF_INET6.to_ne_bytes());
            fields.extend(v6.port().to_be_bytes());
            fields.extend(v6.flowinfo().to_ne_bytes());
            fields.extend(v6.ip().octets());
            fields.extend(v6.scope_id().to_ne_bytes());
        }
    }
    let mut bytes = [0; ADDRESS_SIZE];
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    bytes
}

/// Make a node's entry; one that is there is replaced, which makes the node a new one for the kernel. Addresses beyond what
/// the kernel takes are left out.
///
/// # Errors
/// The first call that failed, or no address is known. The entry may then be incomplete: the next call replaces it.
pub fn add_comm(
    files: &impl Files,
    root: &Root,
    options: &CommOptions,
    comm: Comm<'_>,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let Comm { node, addresses, local } = comm;
    let Some(first) = addresses.first() else {
        return Err(KernelError::NoAddress { node });
    };
    let path = root.comm(node);
    remove_if_present(files, &path)?;
    files.mkdir(&path)?;
    write_text(files, &path.join("nodeid"), &node.to_string())?;
    let mark = options.marks.get(&node).copied().unwrap_or(0);
    let is_local = u8::from(local.is_on());
    for address in addresses {
        let ip = address.ip();
        match files.write(&path.join("addr"), &address_bytes(address), &ip.to_string()) {
            Err(error) if address != first && error.errno() == Some(libc::ENOSPC) => {
                journal
                    .debug(format!("node {node} address {ip} left out: the kernel takes no more"));
                break;
            }
            result => result?,
        }
        journal.debug(format!("set_configfs_node {node} {ip} local {is_local} mark {mark}"));
    }
    write_if_known(files, &path.join("mark"), &mark.to_string(), journal)?;
    if local.is_on() {
        // Behind nodeid and addr: the first entry that is local becomes the kernel's own identity.
        write_text(files, &path.join("local"), "1")?;
        if options.bind_all.is_on() {
            write_if_known(files, &path.join("bind_all"), "1", journal)?;
        }
    }
    Ok(())
}

/// Remove a node's entry, which closes the kernel's connection to it. Absent is success.
///
/// # Errors
/// The path and errno.
pub fn remove_comm(
    files: &impl Files,
    root: &Root,
    node: NodeId,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let path = root.comm(node);
    journal.debug(format!("del_configfs_node rmdir \"{}\"", path.display()));
    remove_if_present(files, &path)
}

/// Bring the members of a lockspace in configfs to those of a start: removals first, then new and renewed members in
/// their order. Members that stay are not touched.
///
/// # Errors
/// The first call that failed. The lockspace must not be started then.
pub fn set_members(
    files: &impl Files,
    root: &Root,
    lockspace: &LockspaceName,
    start: &KernelStart,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let space = root.space(lockspace);
    make_if_absent(files, &space)?;
    let nodes = space.join("nodes");
    let present = files.directories(&nodes)?;
    for name in &present {
        journal.debug(format!("dir_member {}", Path::new(name).display()));
    }
    let wanted: BTreeSet<OsString> = start.members.iter().map(|(node, _)| name_of(*node)).collect();
    let failures: BTreeSet<OsString> =
        start.release_recover.iter().map(|node| name_of(*node)).collect();
    for name in present.iter().filter(|name| !wanted.contains(*name)) {
        remove_old(files, &nodes, name, &failures, journal)?;
    }
    for (node, weight) in &start.members {
        let path = nodes.join(name_of(*node));
        if present.contains(&name_of(*node)) {
            if !start.renew.contains(node) {
                continue;
            }
            remove_old(files, &nodes, &name_of(*node), &failures, journal)?;
        }
        journal.debug(format!("set_members mkdir \"{}\"", path.display()));
        files.mkdir(&path)?;
        write_text(files, &path.join("nodeid"), &node.to_string())?;
        write_text(files, &path.join("weight"), &weight.to_string())?;
    }
    Ok(())
}

/// Remove a member of the last start; the kernel takes one of `failures` for failed, although its address is the same.
fn remove_old(
    files: &impl Files,
    nodes: &Path,
    name: &OsString,
    failures: &BTreeSet<OsString>,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let path = nodes.join(name);
    if failures.contains(name) {
        write_if_known(files, &path.join("release_recover"), "1", journal)?;
    }
    remove_member(files, &path, journal)
}

/// Remove a lockspace and all its members from configfs. Absent is success.
///
/// # Errors
/// The first call that failed.
pub fn remove_space(
    files: &impl Files,
    space: &Path,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    let nodes = space.join("nodes");
    for name in files.directories(&nodes)? {
        remove_member(files, &nodes.join(name), journal)?;
    }
    journal.debug(format!("set_members lockspace rmdir \"{}\"", space.display()));
    remove_if_present(files, space)
}

fn remove_member(
    files: &impl Files,
    path: &Path,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    journal.debug(format!("set_members rmdir \"{}\"", path.display()));
    remove_if_present(files, path)
}

fn name_of(node: NodeId) -> OsString {
    OsStr::new(&node.to_string()).to_owned()
}

/// rmdir; absent is success.
pub(crate) fn remove_if_present(files: &impl Files, path: &Path) -> Result<(), KernelError> {
    match files.rmdir(path) {
        Err(error) if error.is_absent() => Ok(()),
        result => result,
    }
}

/// mkdir; present is success.
pub(crate) fn make_if_absent(files: &impl Files, path: &Path) -> Result<(), KernelError> {
    match files.mkdir(path) {
        Err(error) if error.errno() == Some(libc::EEXIST) => Ok(()),
        result => result,
    }
}

/// Text goes into configfs without NUL and without newline.
pub(crate) fn write_text(files: &impl Files, path: &Path, value: &str) -> Result<(), KernelError> {
    files.write(path, value.as_bytes(), value)
}

/// Write an attribute that not every kernel has; that it is missing is noted.
fn write_if_known(
    files: &impl Files,
    path: &Path,
    value: &str,
    journal: &mut Journal,
) -> Result<(), KernelError> {
    match write_text(files, path, value) {
        Err(error) if error.is_absent() => {
            journal.debug(format!("left out, this kernel does not know it: {error}"));
            Ok(())
        }
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::error::Operation;
    use crate::kernel::testtree::{ModelConfigfs, TestTree};

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn lockspace() -> LockspaceName {
        LockspaceName::new(b"fs").unwrap()
    }

    fn tree() -> TestTree {
        let tree = TestTree::new();
        tree.cluster();
        tree
    }

    fn members(ids: &[u32]) -> KernelStart {
        KernelStart {
            first: None,
            nodir: false,
            members: ids.iter().map(|id| (node(*id), 1)).collect(),
            renew: BTreeSet::new(),
            release_recover: BTreeSet::new(),
        }
    }

    fn update(
        files: &ModelConfigfs,
        tree: &TestTree,
        start: &KernelStart,
    ) -> Result<Vec<String>, KernelError> {
        set_members(files, tree.root(), &lockspace(), start, &mut Journal::default())?;
        Ok(files.taken())
    }

    fn add(
        files: &ModelConfigfs,
        tree: &TestTree,
        id: u32,
        addresses: &[&str],
        local: Switch,
    ) -> Result<Vec<String>, KernelError> {
        let addresses: Vec<SocketAddr> =
            addresses.iter().map(|address| address.parse().unwrap()).collect();
        let options =
            CommOptions { marks: BTreeMap::from([(node(1000), 7)]), bind_all: Switch::Off };
        let comm = Comm { node: node(id), addresses: &addresses, local };
        add_comm(files, tree.root(), &options, comm, &mut Journal::default())?;
        Ok(files.taken())
    }

    #[test]
    fn addresses_are_a_sockaddr_storage() {
        let v4 = address_bytes(&"10.77.0.1:5405".parse().unwrap());
        assert_eq!(v4[..2], 2u16.to_ne_bytes());
        assert_eq!(v4[2..8], [0x15, 0x1d, 10, 77, 0, 1]);
        assert_eq!(v4[8..], [0; 120]);
        let v6 = address_bytes(&"[fe80::1:2%3]:0".parse().unwrap());
        assert_eq!(v6[..2], 10u16.to_ne_bytes());
        assert_eq!(v6[2..8], [0; 6]);
        assert_eq!(v6[8..24], [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
        assert_eq!(v6[24..28], 3u32.to_ne_bytes());
        assert_eq!(v6[28..], [0; 100]);
    }

    #[test]
    fn a_comm_is_made_in_order_with_local_last() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        let calls = add(&files, &tree, 1000, &["10.0.0.1:0", "[fd00::1]:0"], Switch::On).unwrap();
        assert_eq!(
            calls,
            [
                "mkdir /comms/1000",
                "write /comms/1000/nodeid 1000",
                "write /comms/1000/addr 10.0.0.1",
                "write /comms/1000/addr fd00::1",
                "write /comms/1000/mark 7",
                "write /comms/1000/local 1",
            ]
        );
        let comm =
            |name: &str| tree.read(&format!("sys/kernel/config/dlm/cluster/comms/1000/{name}"));
        assert_eq!(comm("nodeid"), b"1000");
        assert_eq!(comm("addr").len(), 256);
        assert_eq!(comm("addr")[..128], address_bytes(&"10.0.0.1:0".parse().unwrap()));
    }

    #[test]
    fn a_comm_that_is_there_is_replaced() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        add(&files, &tree, 2, &["10.0.0.2:0"], Switch::Off).unwrap();
        let calls = add(&files, &tree, 2, &["10.0.0.3:0"], Switch::Off).unwrap();
        assert_eq!(calls[..2], ["rmdir /comms/2", "mkdir /comms/2"]);
        assert!(!calls.iter().any(|call| call.contains("local")));
    }

    #[test]
    fn addresses_beyond_the_kernels_limit_are_left_out() {
        let (tree, files) =
            (tree(), ModelConfigfs { address_limit: Some(1), ..Default::default() });
        let calls = add(&files, &tree, 2, &["10.0.0.2:0", "10.1.0.2:0", "10.2.0.2:0"], Switch::Off)
            .unwrap();
        assert_eq!(calls.iter().filter(|call| call.contains("addr")).count(), 1);
        assert_eq!(calls.last().unwrap(), "write /comms/2/mark 0");
        let files = ModelConfigfs { address_limit: Some(0), ..Default::default() };
        assert_eq!(
            add(&files, &tree, 3, &["10.0.0.2:0"], Switch::Off).unwrap_err().errno(),
            Some(libc::ENOSPC)
        );
    }

    #[test]
    fn a_kernel_without_marks_is_served() {
        let (tree, files) = (tree(), ModelConfigfs { lacks: vec!["mark"], ..Default::default() });
        assert_eq!(
            add(&files, &tree, 2, &["10.0.0.2:0"], Switch::On).unwrap().last().unwrap(),
            "write /comms/2/local 1"
        );
    }

    #[test]
    fn a_node_without_address_is_refused() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        let error = add(&files, &tree, 2, &[], Switch::Off).unwrap_err();
        assert_eq!(error.to_string(), "no address known for node 2");
        assert!(files.taken().is_empty());
    }

    #[test]
    fn an_absent_comm_is_removed_already() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        remove_comm(&files, tree.root(), node(9), &mut Journal::default()).unwrap();
        add(&files, &tree, 9, &["10.0.0.2:0"], Switch::Off).unwrap();
        remove_comm(&files, tree.root(), node(9), &mut Journal::default()).unwrap();
        assert!(!tree.root().comm(node(9)).exists());
        let files = ModelConfigfs {
            fails: Some((Operation::Rmdir, "comms/9", libc::EBUSY)),
            ..Default::default()
        };
        let error = remove_comm(&files, tree.root(), node(9), &mut Journal::default()).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EBUSY));
    }

    #[test]
    fn first_members_come_in_the_order_given() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        let mut start = members(&[3, 1]);
        start.members[1].1 = 0;
        assert_eq!(
            update(&files, &tree, &start).unwrap(),
            [
                "mkdir /spaces/fs",
                "mkdir /spaces/fs/nodes/3",
                "write /spaces/fs/nodes/3/nodeid 3",
                "write /spaces/fs/nodes/3/weight 1",
                "mkdir /spaces/fs/nodes/1",
                "write /spaces/fs/nodes/1/nodeid 1",
                "write /spaces/fs/nodes/1/weight 0",
            ]
        );
        assert_eq!(tree.read("sys/kernel/config/dlm/cluster/spaces/fs/nodes/1/weight"), b"0");
    }

    #[test]
    fn members_that_stay_are_not_touched() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        update(&files, &tree, &members(&[1, 2, 3])).unwrap();
        let calls = update(&files, &tree, &members(&[1, 3, 4])).unwrap();
        assert_eq!(
            calls,
            [
                "rmdir /spaces/fs/nodes/2",
                "mkdir /spaces/fs/nodes/4",
                "write /spaces/fs/nodes/4/nodeid 4",
                "write /spaces/fs/nodes/4/weight 1",
            ]
        );
        assert!(update(&files, &tree, &members(&[4, 3, 1])).unwrap().is_empty());
    }

    #[test]
    fn renewed_members_are_removed_and_made_again() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        update(&files, &tree, &members(&[1, 2, 3])).unwrap();
        let mut start = members(&[1, 2]);
        start.renew = BTreeSet::from([node(2), node(7)]);
        let calls = update(&files, &tree, &start).unwrap();
        let expected =
            ["rmdir /spaces/fs/nodes/3", "rmdir /spaces/fs/nodes/2", "mkdir /spaces/fs/nodes/2"];
        assert_eq!(calls[..3], expected);
        assert_eq!(calls.len(), 5);
    }

    #[test]
    fn a_release_with_recovery_is_marked_before_the_removal() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        update(&files, &tree, &members(&[1, 2, 3])).unwrap();
        let mut start = members(&[1]);
        start.release_recover = BTreeSet::from([node(2)]);
        assert_eq!(
            update(&files, &tree, &start).unwrap(),
            [
                "write /spaces/fs/nodes/2/release_recover 1",
                "rmdir /spaces/fs/nodes/2",
                "rmdir /spaces/fs/nodes/3"
            ]
        );
        let files = ModelConfigfs { lacks: vec!["release_recover"], ..Default::default() };
        update(&files, &tree, &members(&[1, 2])).unwrap();
        assert_eq!(update(&files, &tree, &start).unwrap(), ["rmdir /spaces/fs/nodes/2"]);
    }

    #[test]
    fn who_was_released_with_recovery_and_is_back_is_marked_too() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        update(&files, &tree, &members(&[1, 2])).unwrap();
        let mut start = members(&[1, 2]);
        start.renew = BTreeSet::from([node(2)]);
        start.release_recover = BTreeSet::from([node(2)]);
        let calls = update(&files, &tree, &start).unwrap();
        let expected = [
            "write /spaces/fs/nodes/2/release_recover 1",
            "rmdir /spaces/fs/nodes/2",
            "mkdir /spaces/fs/nodes/2",
        ];
        assert_eq!(calls[..3], expected);
    }

    #[test]
    fn a_failed_call_ends_the_update() {
        let tree = tree();
        update(&ModelConfigfs::default(), &tree, &members(&[1, 2])).unwrap();
        let files = ModelConfigfs {
            fails: Some((Operation::Rmdir, "nodes/2", libc::EBUSY)),
            ..Default::default()
        };
        let text = update(&files, &tree, &members(&[1, 5])).unwrap_err().to_string();
        assert!(
            text.starts_with("rmdir") && text.contains("nodes/2") && text.contains("os error 16"),
            "{text}"
        );
        assert!(files.taken().is_empty());
    }

    #[test]
    fn a_space_is_removed_with_its_members_and_absent_is_fine() {
        let (tree, files) = (tree(), ModelConfigfs::default());
        update(&files, &tree, &members(&[1, 2])).unwrap();
        files.taken();
        let space = tree.root().space(&lockspace());
        remove_space(&files, &space, &mut Journal::default()).unwrap();
        assert_eq!(
            files.taken(),
            ["rmdir /spaces/fs/nodes/1", "rmdir /spaces/fs/nodes/2", "rmdir /spaces/fs"]
        );
        remove_space(&files, &space, &mut Journal::default()).unwrap();
    }
}
