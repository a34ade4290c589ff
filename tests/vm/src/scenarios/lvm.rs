//! lvmlockd with a shared volume group.

use anyhow::{Result, ensure};

use super::basics::{CHANGE, PROGRESS, RECOVERY, fenced_once};
use crate::cluster::Cluster;
use crate::host::power::Outcome;
use crate::node::{COMMAND, Node};
use crate::time::HostTime;

/// No udev, so LVM makes its device nodes itself; only the shared disk is looked at.
const LVM_CONF: &str = "devices { dir=\"/dev\" scan=[ \"/dev\" ] filter=[ \"a|/dev/vdb|\", \"r|.*|\" ] \
    obtain_device_list_from_udev=0 external_device_info_source=\"none\" use_devicesfile=0 }\n\
    global { use_lvmlockd=1 use_lvmpolld=0 }\n\
    activation { udev_sync=0 udev_rules=0 monitoring=0 }\n";

/// The lockspaces of lvmlockd: one for all groups, and one for the group `vg`.
const LOCKSPACES: [&str; 2] = ["lvm_global", "lvm_vg"];

/// What lvmlockd has the other nodes do when a volume has grown (spec/run-commands.md).
const REFRESH: &str = "lvm lvchange --refresh --partial --nolocking vg/one";

/// Three nodes share a volume group through lvmlockd. A volume that one has for itself no other gets; one that all have is
/// grown by one node, and the others' kernels learn its new size by a command that the daemons carry to them, asked for
/// with Debian's `dlm_tool` through the library under test. One node dies: the others go on with the group.
pub(super) fn lvmlockd(cluster: &Cluster) -> Result<()> {
    let all = [1, 2, 3];
    cluster.on_all(&all, begin)?;
    let first = cluster.node(1);
    first.ok("wipefs -aq /dev/vdb")?;
    first.ok_within("vgcreate --shared vg /dev/vdb 2>&1", 2 * COMMAND)?;
    cluster.on_all(&[2, 3], |node| {
        node.ok_within("vgchange --lock-start --lockopt auto vg 2>&1", 2 * COMMAND)
    })?;
    for id in all {
        for lockspace in LOCKSPACES {
            cluster.node(id).wait_lockspace(lockspace, &all, CHANGE)?;
        }
    }
    first.ok_within("lvcreate -y -W n -n one -L 64M vg 2>&1", 2 * COMMAND)?;
    let other = cluster.node(2);
    let refused = other.sh("lvchange -aey vg/one 2>&1")?;
    ensure!(
        refused.status != 0 && refused.out.contains("locked by other host"),
        "node 2 takes a volume that node 1 has for itself: {refused:?}"
    );
    first.ok_within("lvchange -an vg/one 2>&1", COMMAND)?;
    cluster.on_all(&all, |node| node.ok_within("lvchange -asy vg/one 2>&1", 2 * COMMAND))?;
    first.ok_within("lvextend --lockopt skiplv -L 128M vg/one 2>&1", 2 * COMMAND)?;
    refresh(cluster, first)?;

    let begin = HostTime::now();
    first.kill()?;
    for id in [2, 3] {
        for lockspace in LOCKSPACES {
            cluster.node(id).wait_lockspace(lockspace, &[2, 3], RECOVERY)?;
        }
    }
    fenced_once(cluster, begin, 1, Outcome::WasDown)?;
    other.ok_within("lvcreate -y -W n -n two -L 32M vg 2>&1", PROGRESS)?;
    let listed = cluster.node(3).ok_within("lvs --noheadings -o lv_name vg", 2 * COMMAND)?;
    ensure!(
        listed.split_whitespace().eq(["one", "two"]),
        "node 3 sees the volumes {listed:?} in the group"
    );
    cluster.on_all(&[2, 3], end)?;
    other.ok("wipefs -aq /dev/vdb")?;
    Ok(())
}

/// The other nodes still have the old size until they are told, and are told by the daemons.
fn refresh(cluster: &Cluster, from: Node<'_>) -> Result<()> {
    const OLD: u64 = 64 << 20;
    const NEW: u64 = 128 << 20;
    let size = |id: u8| -> Result<u64> {
        Ok(cluster.node(id).ok("blockdev --getsize64 /dev/mapper/vg-one")?.trim().parse()?)
    };
    ensure!((size(1)?, size(2)?, size(3)?) == (NEW, OLD, OLD), "sizes before the refresh");
    let told = from.ok_within(&format!("dlm_tool.c -i 60 run -- {REFRESH}"), 2 * COMMAND)?;
    ensure!(told.ends_with("check_status: done \n"), "the refresh: {told}");
    ensure!((size(2)?, size(3)?) == (NEW, NEW), "sizes after the refresh");
    Ok(())
}

fn begin(node: Node<'_>) -> Result<()> {
    node.put("/etc/lvm/lvm.conf", 0o644, LVM_CONF.as_bytes())?;
    node.ok("modprobe dm-mod && mkdir -p /run/lvm /run/lock/lvm && lvmlockd -g dlm")?;
    node.wait_for("lvmlockctl --info", CHANGE)?;
    Ok(())
}

fn end(node: Node<'_>) -> Result<()> {
    node.ok_within(
        "vgchange -an vg 2>&1 && vgchange --lock-stop vg 2>&1 && lvmlockctl --stop-lockspaces; \
         killall lvmlockd; ! dmsetup ls | grep -q vg",
        2 * COMMAND,
    )?;
    node.wait_for("! pidof lvmlockd", CHANGE)?;
    Ok(())
}
