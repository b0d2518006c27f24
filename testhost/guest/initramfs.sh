# Runs in mmdebstrap after the essential packages are unpacked, before the kernel is installed; $1 is the root directory.
# A short list of drivers and lz4: the guest unpacks its initramfs under software emulation.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=lz4\n' > "$1/etc/initramfs-tools/conf.d/testhost"
printf 'virtio_pci\nvirtio_blk\next4\ncrc32c_generic\n' > "$1/usr/share/initramfs-tools/modules.d/testhost"
# update-initramfs looks here for the file systems that it must be able to check.
printf 'UUID=%s / ext4 defaults,noatime 0 1\n' "$ROOT_UUID" > "$1/etc/fstab"
