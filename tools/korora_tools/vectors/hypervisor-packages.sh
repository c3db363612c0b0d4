# SPDX-License-Identifier: Apache-2.0
# Makes TREE: a Debian with what a hypervisor runs, an older kernel beside its
# newest one, and one package that can be upgraded without a network.
#
#   SUITE, MIRROR, SECURITY   of Debian
set -eu
# One initrd for each kernel, at the end.
export DEBIAN_FRONTEND=noninteractive INITRD=No
PACKAGES='systemd systemd-sysv systemd-timesyncd dbus udev kmod zstd apparmor
 initramfs-tools linux-base linux-image-amd64 cron logrotate openssh-server
 libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils swtpm
 swtpm-tools tpm2-tools shim-signed grub-efi-amd64 grub-efi-amd64-signed
 systemd-boot-efi sbsigntool binutils iproute2 dosfstools less procps polkitd'
# The newest release has a tool for unified kernel images.
[ "$SUITE" = bookworm ] || PACKAGES="$PACKAGES systemd-ukify"

rm -rf --one-file-system "$TREE"
debootstrap --variant=minbase "$SUITE" "$TREE" "$MIRROR"
cat >"$TREE/etc/apt/sources.list" <<X
deb $MIRROR $SUITE main
deb $MIRROR $SUITE-updates main
deb $SECURITY $SUITE-security main
X
printf '#!/bin/sh\nexit 101\n' >"$TREE/usr/sbin/policy-rc.d"
chmod 755 "$TREE/usr/sbin/policy-rc.d"
cp --remove-destination /etc/resolv.conf "$TREE/etc/resolv.conf"
inside() { chroot "$TREE" env PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
mount -t proc proc "$TREE/proc"
inside apt-get -q update
inside apt-get -q upgrade -y
# shellcheck disable=SC2086
inside apt-get -q install -y --no-install-recommends $PACKAGES

# -- the kernel before the newest one
newest=$(inside dpkg-query -W -f '${Depends}' linux-image-amd64 | cut -d' ' -f1)
release=$(echo "$newest" | grep -oE '^linux-image-[0-9]+\.[0-9]+\.')
older=$(inside apt-cache pkgnames "$release" | grep -E '[0-9]-amd64$' |
  grep -vxF "$newest" | sort -V | tail -n 1)
inside apt-get -q install -y --no-install-recommends "$older"

# -- the release's libssl, and its security update as an archive
libssl=$(inside dpkg-query -W -f '${db:Status-Status} ${Package}\n' 'libssl3*' |
  sed -n 's/^installed //p')
version=$(inside apt-cache madison "$libssl" | awk '{print $3}' | sed -n 2p)
inside apt-get -q install -y --allow-downgrades "$libssl=$version"
inside apt-get -q clean
inside apt-get -q upgrade -y --download-only
inside ls /var/cache/apt/archives
inside update-initramfs -c -k all
umount "$TREE/proc"
