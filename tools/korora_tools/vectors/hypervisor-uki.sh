#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# update-uki [VERSION]: what boots becomes systemd-boot and one unified image
# of the newest kernel, or of that one, both signed with the owner's key.
set -eu
version=${1:-$(linux-version list | linux-version sort | tail -n 1)}
efi=/usr/lib/systemd/boot/efi
key=/etc/kernel/keys/owner.key
pem=/etc/kernel/keys/owner.pem
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if command -v ukify >/dev/null; then
  ukify build --linux="/boot/vmlinuz-$version" \
    --initrd="/boot/initrd.img-$version" --cmdline=@/etc/kernel/cmdline \
    --uname="$version" --os-release=@/etc/os-release \
    --output="$work/plain"
else
  # Debian 12 has no tool of its own: the addresses are those of systemd 252's
  # documentation.
  tr -d '\n' </etc/kernel/cmdline >"$work/cmdline"
  printf %s "$version" >"$work/uname"
  objcopy \
    --add-section .osrel=/etc/os-release --change-section-vma .osrel=0x20000 \
    --add-section .cmdline="$work/cmdline" \
    --change-section-vma .cmdline=0x30000 \
    --add-section .uname="$work/uname" --change-section-vma .uname=0x40000 \
    --add-section .linux="/boot/vmlinuz-$version" \
    --change-section-vma .linux=0x2000000 \
    --add-section .initrd="/boot/initrd.img-$version" \
    --change-section-vma .initrd=0x4000000 \
    $efi/linuxx64.efi.stub "$work/plain"
  # objcopy writes the time into the header, which is part of what is measured:
  # without it the image is the same wherever it is made.
  header=$(od -An -t u4 -j 60 -N 4 "$work/plain")
  printf '\0\0\0\0' |
    dd of="$work/plain" bs=1 seek=$((header + 8)) conv=notrunc status=none
fi
sbsign --key $key --cert $pem --output "$work/image" "$work/plain"
sbsign --key $key --cert $pem --output "$work/loader" \
  $efi/systemd-bootx64.efi
mkdir -p /boot/efi/EFI/BOOT /boot/efi/EFI/Linux
rm -f /boot/efi/EFI/Linux/*.efi
cp "$work/loader" /boot/efi/EFI/BOOT/BOOTX64.EFI
cp "$work/image" "/boot/efi/EFI/Linux/debian-$version.efi"
