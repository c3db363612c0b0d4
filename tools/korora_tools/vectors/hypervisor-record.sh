#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Lives as a hypervisor does, and hands over on ttyS1 what was measured.
#
# The disk "job" says what is to be done, one word after the other; a word
# that reboots is followed by what the next boot does.
set -u
STATE=/var/lib/record
SEC=/sys/kernel/security
OUT=/run/record
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
mkdir -p $STATE $OUT
[ -e $STATE/jobs ] ||
  tr -d '\0' </dev/disk/by-id/virtio-job >$STATE/jobs
NONCE=$(sed -n 's/^nonce=//p' $STATE/jobs)
# Held open, else the settings are lost.
exec 3<>/dev/ttyS1
stty raw -echo <&3
say() { echo "record: $*"; }

# pcrs: "bank index hex", one line each
pcrs() {
  for bank in /sys/class/tpm/tpm0/pcr-*; do
    for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
      echo "${bank##*pcr-} $i $(cat "$bank/$i")"
    done
  done
}

key() {
  [ -e $OUT/ak.ctx ] && return
  tpm2 createprimary -Q -C e -G ecc -c $OUT/ek.ctx
  tpm2 create -Q -C $OUT/ek.ctx -G ecc256:ecdsa-sha256:null -g sha256 \
    -a "$ATTRIBUTES" -u $OUT/ak.tpm2b -r $OUT/ak.priv
  tpm2 load -Q -C $OUT/ek.ctx -u $OUT/ak.tpm2b -r $OUT/ak.priv \
    -c $OUT/ak.ctx
}
ATTRIBUTES='fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda|restricted|sign'

# evidence NAME: a quote of PCRs as they are read, then the lists
#
# Whatever program this uses is in the list by then, or the next one would
# have programs that the first one has not.
evidence() {
  say "evidence: $1"
  # What is listed then does not lead to the register.
  if dmesg | grep -q 'ima: Error Communicating to TPM chip'; then
    say 'the TPM did not answer in time: the machine outside is too busy'
    return
  fi
  key
  to=$OUT/$1
  mkdir -p "$to"
  uname -r >"$to/kernel"
  cat /proc/cmdline >"$to/cmdline"
  cat /proc/sys/kernel/random/boot_id >"$to/boot_id"
  dpkg-query -W >"$to/packages"
  systemctl list-units --failed --plain --no-legend >"$to/failed"
  systemctl list-units --state=running --plain --no-legend >"$to/running"
  virsh list --all >"$to/guests" 2>&1
  cp $OUT/ak.tpm2b "$to"
  pack "$to"
  for n in 1 2 3 4 5 6 7 8 9; do
    pcrs >"$to/pcrs"
    tpm2 quote -Q -c $OUT/ak.ctx -q "$NONCE" -g sha256 -m "$to/attest" \
      -s "$to/signature" -l sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    pcrs >$OUT/after
    cmp -s "$to/pcrs" $OUT/after && break
    say 'PCRs moved, again'
  done
  cat $SEC/ima/binary_runtime_measurements >"$to/binary_runtime_measurements"
  cat $SEC/ima/ascii_runtime_measurements >"$to/ascii_runtime_measurements"
  cat $SEC/tpm0/binary_bios_measurements >"$to/binary_bios_measurements"
  for file in /run/log/systemd/tpm2-measure.log; do
    [ -e $file ] && cp $file "$to"
  done
  pack "$to"
  printf 'KORORA-VECTOR%s %s\n' "$1" "$(stat -c %s $OUT/archive)" >&3
  cat $OUT/archive >&3
}

# pack DIR: the archive, and how much the list has by now
pack() {
  tar -C "$1" -cz . >$OUT/archive
  stat -c %s $OUT/archive
  wc -l $SEC/ima/ascii_runtime_measurements
}

# work: a package is upgraded, a guest with a vTPM is started
work() {
  say 'upgrade'
  DEBIAN_FRONTEND=noninteractive apt-get -y --no-download upgrade
  say 'guest'
  dir=/var/lib/nova/instances/5f6d8a3e-0c3b-4f0e-9c55-6b6f726f7261
  mkdir -p $dir
  qemu-img create -q -f qcow2 $dir/disk 64M
  cat >/etc/libvirt/instance.xml <<X
<domain type='qemu'>
 <name>instance-00000001</name>
 <uuid>${dir##*/}</uuid>
 <memory unit='MiB'>64</memory>
 <os><type arch='x86_64' machine='q35'>hvm</type></os>
 <devices>
  <emulator>/usr/bin/qemu-system-x86_64</emulator>
  <disk type='file' device='disk'>
   <driver name='qemu' type='qcow2'/>
   <source file='$dir/disk'/>
   <target dev='vda' bus='virtio'/>
  </disk>
  <serial type='pty'><log file='$dir/console.log' append='off'/></serial>
  <tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>
 </devices>
</domain>
X
  virsh define /etc/libvirt/instance.xml
  virsh start instance-00000001
  sleep 10
}

# day: 24 hours go by, in steps that timers and cron make good
day() {
  hour=0
  while [ $hour -lt 24 ]; do
    hour=$((hour + 3))
    date -s '+3 hours' >/dev/null
    logger "hour $hour"
    virsh domstats >/dev/null
    sleep 4
    journalctl --rotate
    logrotate -f /etc/logrotate.conf
  done
  say 'timers, and services that they started'
  systemctl list-timers --all --no-pager
  sleep 5
}

# program: one that is not of this host's packages
program() {
  cp /usr/bin/true /usr/local/bin/miner
  echo 1 >>/usr/local/bin/miner
  /usr/local/bin/miner
}

# argument and kernel: the boot loader's, and a reboot
argument() {
  if [ -d /etc/default/grub.d ] && [ -e /boot/grub/grub.cfg ]; then
    echo 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX audit=0"' \
      >/etc/default/grub.d/zz.cfg
    update-grub
  else
    sed -i.good 's/$/ audit=0/' /etc/kernel/cmdline
    update-uki
  fi
  reboot
}

kernel() {
  older=$(linux-version list | linux-version sort | head -n 1)
  if [ -e /boot/grub/grub.cfg ]; then
    id=$(sed -n "s/.*'\(gnulinux-$older-advanced-[^']*\)'.*/\1/p" \
      /boot/grub/grub.cfg)
    top=$(sed -n "s/.*'\(gnulinux-advanced-[^']*\)'.*/\1/p" \
      /boot/grub/grub.cfg)
    echo "GRUB_DEFAULT='$top>$id'" >/etc/default/grub.d/zz.cfg
    update-grub
  else
    mv /etc/kernel/cmdline.good /etc/kernel/cmdline
    update-uki "$older"
  fi
  reboot
}

# Else libvirt-guests waits five minutes for a guest that cannot be told.
stop() { virsh destroy instance-00000001; sync; }

reboot() { stop; systemctl reboot; exit 0; }

while word=$(grep -n -m 1 '^do ' $STATE/jobs); do
  sed -i "${word%%:*}d" $STATE/jobs
  set -- ${word#*:}
  shift
  say "$*"
  "$@"
done
stop
systemctl poweroff
