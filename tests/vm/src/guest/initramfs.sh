#!/bin/sh
# First stage: the read-only root on the first disk, a writable layer in memory over it, and over that
# what the host put into this node's initramfs below /inject.
/bin/busybox mkdir -p /proc /sys /dev /ro /rw /new
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sys /sys
/bin/busybox mount -t devtmpfs dev /dev
export PATH=/bin
for module in $(cat /modules.order); do insmod "/$module"; done
# The kernel finds disks on its own time and tells nobody without udev.
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 500 ]; do tries=$((tries + 1)); usleep 20000; done
mount -t ext4 -o ro,noload /dev/vda /ro || exec sh
mount -t tmpfs -o size=60% rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/ro,upperdir=/rw/upper,workdir=/rw/work overlay /new || exec sh
cp -a /inject/. /new/
for place in proc sys dev; do mount -o move /$place /new/$place; done
exec switch_root /new /vm/init
