#!/bin/busybox sh
# SPDX-License-Identifier: Apache-2.0
# The guest's only program: extend PCR 16 once a second and say so.
/bin/busybox --install -s /bin 2>/dev/null
export PATH=/bin:/sbin:/usr/bin
export LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu
export TPM2TOOLS_TCTI=device:/dev/tpmrm0
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo 2>/dev/null
for m in virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev \
         virtio_pci virtio_blk; do
  [ ! -e /mods/$m.ko ] || insmod /mods/$m.ko || echo "insmod $m failed"
done
[ ! -e /sys/firmware/efi ] || [ ! -e /mods/efivarfs.ko ] ||
  insmod /mods/efivarfs.ko || echo "insmod efivarfs failed"
boot=$(cat /proc/sys/kernel/random/boot_id)
tpm=$(ls -d /sys/class/tpm/tpm0 2>/dev/null)
echo "GUEST-UP boot=$boot tpm=${tpm:-none}"

# A word written once to the disk, one to the vTPM's NV memory.
disk=
for i in 1 2 3 4 5 6 7 8; do
  [ -b /dev/vda ] && disk=/dev/vda && break
  sleep 0.3
done
if [ -n "$disk" ]; then
  end=$(($(cat /sys/block/vda/size) - 8))
  printf '%-512s' "once $boot" |
    dd of=$disk bs=512 seek=$end conv=fsync,notrunc 2>/dev/null
fi
if [ -n "$tpm" ]; then
  tpm2_nvdefine 0x1500016 -C o -s 36 -a "ownerread|ownerwrite" >/dev/null &&
    printf %s "$boot" >/tmp/nv &&
    tpm2_nvwrite 0x1500016 -C o -i /tmp/nv >/dev/null &&
    echo "NV-WRITTEN $boot"
fi

# Where the firmware is UEFI: is Secure Boot on, and a word in its variables.
efi=/sys/firmware/efi/efivars
secure=
if mount -t efivarfs efivarfs $efi 2>/dev/null; then
  on=$efi/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
  variable=$efi/KororaWord-6b6f726f-7261-4a6b-8c7d-5c3e8f0a19c6
  secure=$([ "$(tail -c 1 $on 2>/dev/null | od -An -tu1 | tr -d ' ')" = 1 ] &&
           echo on || echo off)
  [ -e $variable ] || printf '\007\000\000\000%s' "$boot" >$variable
fi

# A word sealed under the firmware's registers, as disk encryption does.
sealed=0x81000100
registers=sha256:0,7
unseal() {
  tpm2_unseal -c $sealed -p pcr:$registers 2>/dev/null || echo FAIL
}
if [ -n "$tpm" ] && [ "$(unseal)" = FAIL ]; then
  tpm2_createpolicy -Q --policy-pcr -l $registers -L /tmp/policy &&
    tpm2_createprimary -Q -C o -c /tmp/primary &&
    printf %s "$boot" | tpm2_create -Q -C /tmp/primary -L /tmp/policy \
      -i - -u /tmp/public -r /tmp/private &&
    tpm2_load -Q -C /tmp/primary -u /tmp/public -r /tmp/private \
      -c /tmp/sealed &&
    tpm2_evictcontrol -Q -C o -c /tmp/sealed $sealed &&
    echo "SEALED $boot"
fi

pcr16=/sys/class/tpm/tpm0/pcr-sha256/16
n=0
while :; do
  n=$((n + 1))
  more=
  if [ $((n % 10)) = 0 ]; then
    once=$([ -z "$disk" ] || dd if=$disk bs=512 skip=$end count=1 \
           iflag=direct 2>/dev/null | awk '{print $2}')
    more=" once=$once"
    [ -z "$tpm" ] ||
      more="$more nv=$(tpm2_nvread 0x1500016 -C o -s 36 2>/dev/null)"
  fi
  if [ $((n % 5)) = 2 ]; then
    [ -z "$secure" ] || more="$more secure=$secure var=$(tail -c +5 $variable)"
    [ -z "$tpm" ] || more="$more sealed=$(unseal)"
  fi
  if [ -n "$tpm" ]; then
    digest=$(printf %s $n | sha256sum | cut -c1-64)
    if tpm2_pcrextend 16:sha256=$digest; then ext=ok; else ext=FAIL; fi
    value=$(cat $pcr16)
  else
    ext=none
    value=0000000000000000000000000000000000000000000000000000000000000000
  fi
  set -- $(cat /proc/uptime)
  echo "TICK n=$n up=$1 boot=$boot ext=$ext pcr16=$value$more"
  sleep 1
done
