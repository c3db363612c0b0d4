#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# Boots, does the recipe's job, and hands everything in /out over ttyS1.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin:/usr/bin
export LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t securityfs sec /sys/kernel/security
exec </dev/ttyS0 >/dev/ttyS0 2>&1
SEC=/sys/kernel/security
mkdir -p /out
for m in $(cat /mods/order); do
  insmod /mods/$m.ko || echo "insmod $m failed"
done

# pcrs FILE [INDEX...]: "bank index hex", one line each
pcrs() {
  f=$1; shift
  for d in /sys/class/tpm/tpm0/pcr-*; do
    for i in ${*:-0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 \
                22 23}; do
      echo "${d##*pcr-} $i $(cat $d/$i)"
    done
  done >$f
}

# ima: the lists, read again until PCR 10 stood still meanwhile
ima() {
  for n in 1 2 3 4 5 6 7 8 9; do
    pcrs /tmp/before 10
    for f in $SEC/ima/*_runtime_measurements*; do cp $f /out/; done
    pcrs /tmp/after 10
    cmp -s /tmp/before /tmp/after && break
    echo "PCR 10 moved, again"
  done
}

run() { echo "+ $*"; "$@"; }

. /job

uname -r >/out/kernel
cat /proc/cmdline >/out/cmdline
for f in $SEC/tpm0/binary_bios_measurements; do
  [ -e $f ] && cat $f >/out/binary_bios_measurements
done
pcrs /out/pcrs
cat /sys/class/tpm/tpm0/tpm_version_major >/out/tpm
dmesg >/out/dmesg
ls -l /out
# Held open, else the settings are lost.
exec 3<>/dev/ttyS1
stty raw -echo <&3
# Firmware and boot loaders write there too.
printf KORORA-VECTOR >&3
cd /out && tar c . | gzip -9 >&3
sleep 1
poweroff -f
