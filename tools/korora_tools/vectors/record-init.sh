#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Boots, goes on from the disk if it holds a root, and records.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t securityfs sec /sys/kernel/security
exec </dev/ttyS0 >/dev/ttyS0 2>&1
for m in $(cat /mods/order); do
  insmod /mods/$m.ko || echo "insmod $m failed"
done
sleep 0.5
for disk in /dev/vda /dev/vdb; do
  [ -b $disk ] && mount -t ext4 $disk /mnt 2>/dev/null || continue
  for d in proc sys dev; do mount --move /$d /mnt/$d; done
  exec switch_root /mnt /bin/sh /record.sh
done
. /record.sh
