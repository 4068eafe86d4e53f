#!/bin/busybox sh
# The first program in the machine: kernel modules, the host's files (read-only) and the test's folder, then the scenario.
# The kernel's command line gives $python, $scenario and $work: paths on the host, and the same in here.
/bin/busybox --install -s /bin
mkdir -p /proc /host
while read -r module options; do
  insmod "/modules/$module.ko" $options
done </modules/order
shared=trans=virtio,version=9p2000.L,msize=512000
mount -t 9p -o "$shared,ro,cache=loose" root /host
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t devtmpfs devtmpfs /host/dev
mount -t tmpfs tmpfs /host/run
mount -t 9p -o "$shared" work "/host$work"
cd /host/run
PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run TMPDIR=/run LANG=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 \
  chroot /host "$python" "$scenario" "$work"
sync
poweroff -f
