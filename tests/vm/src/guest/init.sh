#!/bin/sh
# Second stage: mounts, modules, network, then the cluster's programs; process 1 becomes the agent.
. /vm/env
export PATH=/usr/sbin:/usr/bin HOME=/root
mount -t tmpfs run /run
mkdir -p /run/lock /run/dlm_controld /run/cluster /var/log/cluster /var/log/dlm_controld \
	/var/lib/corosync /dev/shm /dev/pts /mnt/gfs2
mount -t tmpfs shm /dev/shm
mount -t devpts pts /dev/pts
# No udev here: the device nodes that the kernel makes in /dev are those that programs seek in /dev/misc.
ln -s . /dev/misc
ln -sf /proc/self/fd /dev/fd
ln -sf /proc/mounts /etc/mtab
hostname "node$ID"
for module in virtio_net virtio_rng configfs dlm gfs2; do modprobe $module; done
mount -t configfs configfs /sys/kernel/config
mount -t debugfs debugfs /sys/kernel/debug
ip link set lo up
ip addr add "10.77.0.$ID/24" dev eth0
ip addr add "fd77::$ID/64" dev eth0 nodad
[ "$LINKS" = 1 ] || { ip addr add "10.79.0.$ID/24" dev eth0; ip addr add "fd79::$ID/64" dev eth0 nodad; }
ip link set eth0 up
ip addr add "10.78.0.$ID/24" dev eth1
ip link set eth1 up
ulimit -c unlimited
echo '/var/log/core.%e' > /proc/sys/kernel/core_pattern
(. /vm/rc; start_all) </dev/null >/var/log/rc.log 2>&1 &
exec /vm/dlm-vm-agent init
