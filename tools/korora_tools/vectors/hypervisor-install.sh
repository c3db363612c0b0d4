# SPDX-License-Identifier: Apache-2.0
# Makes a machine's disk of a tree of packages, as its operator installs it.
#
#   IMAGE   with two partitions, as hypervisor.py beside this makes it
#   TREE    of hypervisor-packages.sh
#   NAME    of the host; LOADER: grub, or uki for systemd-boot and an image
#   STARTER directory with ima-policy; KEYS: of the owner, for uki
#   HERE    directory with what is put into the machine
#   $IMAGE.efi is what its EFI system partition is to hold
#
# Runs in a mount namespace of its own: its mounts end with it.
set -eu
root=$IMAGE.root
mkdir "$root"
loop() { losetup --find --show --offset "$1" --sizelimit "$2" "$IMAGE"; }
esp=$(loop 1048576 314572800)
disk=$(loop 315621376 $((4294967296 - 315621376 - 1048576)))
trap 'umount -R "$root" 2>/dev/null || :; losetup -d "$esp" "$disk"
  rmdir "$root"' EXIT

mke2fs -q -t ext4 -L root -O ^metadata_csum_seed,^orphan_file "$disk"
mount "$disk" "$root"
cp -a "$TREE/." "$root"
inside() { chroot "$root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }

# -- what chroot needs
mount -t tmpfs dev "$root/dev"
for node in null zero full random urandom tty; do
  cp -a /dev/$node "$root/dev/"
done
cp -a "$esp" "$disk" "$root/dev/"
mount -t proc proc "$root/proc"
mount -t sysfs sys "$root/sys"
inside mkfs.vfat -F 32 -n ESP "$esp" >/dev/null
mkdir -p "$root/boot/efi" "$root/dev/disk/by-uuid"
for part in "$esp" "$disk"; do
  uuid=$(blkid -p -s UUID -o value "$part")
  ln -s "$part" "$root/dev/disk/by-uuid/$uuid"
done
esp_uuid=$(blkid -p -s UUID -o value "$esp")
disk_uuid=$uuid

# -- what differs between hosts
echo "$NAME" >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$NAME" >"$root/etc/hosts"
cat >"$root/etc/fstab" <<X
UUID=$disk_uuid / ext4 errors=remount-ro 0 1
UUID=$esp_uuid /boot/efi vfat umask=0077 0 1
X
rm -f "$root/etc/machine-id" "$root/var/lib/dbus/machine-id" \
  "$root"/etc/ssh/ssh_host_* "$root/usr/sbin/policy-rc.d" \
  "$root/etc/resolv.conf"
inside systemd-machine-id-setup >/dev/null 2>&1
inside ssh-keygen -A >/dev/null

# -- what the starter's README asks for
install -D -m 644 "$STARTER/ima-policy" "$root/etc/ima/ima-policy"
line='ima_policy=tcb console=ttyS0'
if [ "$LOADER" = grub ]; then
  mkdir -p "$root/etc/default/grub.d"
  echo GRUB_TIMEOUT=1 >"$root/etc/default/grub.d/timeout.cfg"
  echo "GRUB_CMDLINE_LINUX=\"$line\"" >"$root/etc/default/grub.d/ima.cfg"
else
  mkdir -p "$root/etc/kernel"
  # What is in an image has to fit all hosts: it is measured as a whole.
  echo "root=LABEL=root ro quiet $line" >"$root/etc/kernel/cmdline"
fi

# -- what records
install -m 755 "$HERE/hypervisor-record.sh" "$root/usr/local/sbin/record"
install -m 644 "$HERE/hypervisor-record.service" \
  "$root/etc/systemd/system/record.service"
inside systemctl enable --quiet record.service

# -- what boots
efi=$root/boot/efi/EFI
if [ "$LOADER" = grub ]; then
  # As grub-install does, which wants to see a FAT: not every kernel has it.
  mkdir -p "$efi/BOOT" "$efi/debian"
  grub=$root/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed
  for to in "$efi/debian/shimx64.efi" "$efi/BOOT/BOOTX64.EFI"; do
    cp "$root/usr/lib/shim/shimx64.efi.signed" "$to"
  done
  cp "$grub" "$efi/debian/grubx64.efi"
  cp "$root/usr/lib/shim/mmx64.efi.signed" "$efi/debian/mmx64.efi"
  for to in "$efi/debian" "$efi/BOOT"; do
    cp "$root/usr/lib/shim/fbx64.efi.signed" "$to/fbx64.efi"
  done
  cp "$root/usr/lib/shim/BOOTX64.CSV" "$efi/debian/"
  cat >"$efi/debian/grub.cfg" <<X
search.fs_uuid $disk_uuid root
set prefix=(\$root)'/boot/grub'
configfile \$prefix/grub.cfg
X
  # A loop device has no name that the machine knows: say what it will find.
  cat >"$IMAGE.probe" <<X
#!/bin/sh
case "\$*" in
*target=device*) echo /dev/vda2 ;;
*target=fs_uuid*) echo $disk_uuid ;;
*target=fs*) echo ext2 ;;
*target=partmap*) echo gpt ;;
*target=compatibility_hint*) echo hd0,gpt2 ;;
*target=drive*) echo '(hostdisk//dev/vda,gpt2)' ;;
esac
X
  chmod 755 "$IMAGE.probe"
  mount --bind "$IMAGE.probe" "$root/usr/sbin/grub-probe"
  inside update-grub
  umount "$root/usr/sbin/grub-probe"
else
  install -d -m 700 "$root/etc/kernel/keys"
  install -m 600 "$KEYS/owner.key" "$KEYS/owner.pem" "$root/etc/kernel/keys"
  install -m 755 "$HERE/hypervisor-uki.sh" "$root/usr/local/sbin/update-uki"
  inside /usr/local/sbin/update-uki
fi
mv "$efi" "$IMAGE.efi"
