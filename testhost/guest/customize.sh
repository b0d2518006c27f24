# Runs in mmdebstrap when all packages are configured; $1 is the root directory.
# ROOT_UUID and BUILD_KEY (the public half of the image's ssh key) are set by the caller.
set -eu
root=$1

echo testhost > "$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 testhost\n::1 localhost\n' > "$root/etc/hosts"
chroot "$root" systemd-machine-id-setup
rm -f "$root/etc/dpkg/dpkg.cfg.d/99mmdebstrap" "$root/etc/apt/apt.conf.d/99mmdebstrap"

# Who may come in: root and ops by key, ops with sudo as on a desk's real host. `start` replaces the key on first contact.
chroot "$root" useradd --create-home --shell /bin/bash ops
printf 'ops ALL=(ALL:ALL) NOPASSWD: ALL\n' > "$root/etc/sudoers.d/ops"
chmod 0440 "$root/etc/sudoers.d/ops"
for home in /root /home/ops; do
    mkdir -p -m 0700 "$root$home/.ssh"
    printf '%s\n' "$BUILD_KEY" > "$root$home/.ssh/authorized_keys"
    chmod 0600 "$root$home/.ssh/authorized_keys"
done
chroot "$root" chown -R ops:ops /home/ops/.ssh

rm -f "$root"/etc/ssh/ssh_host_*
mkdir -p "$root/etc/ssh/sshd_config.d"
cat > "$root/etc/ssh/sshd_config.d/testhost.conf" <<'END'
HostKey /etc/ssh/ssh_host_ed25519_key
PasswordAuthentication no
KexAlgorithms curve25519-sha256
UseDNS no
PrintMotd no
MaxStartups 50
MaxSessions 50
END
sed -i '/pam_motd\|pam_mail/d' "$root/etc/pam.d/sshd"

# The networks of the user netdevs, by MAC: names may match several interfaces.
for nic in 0 1 2 3 4 5 6 7; do
    file=$root/etc/systemd/network/10-testhost-$nic.network
    printf '[Match]\nMACAddress=52:54:00:12:34:%d%d\n\n[Network]\n' 5 "$nic" > "$file"
    printf 'Address=10.0.%d.15/24\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' "$((nic + 2))" >> "$file"
    [ "$nic" != 0 ] || printf 'Gateway=10.0.2.2\n' >> "$file"
done
chroot "$root" systemctl enable systemd-networkd.service
chroot "$root" systemctl disable systemd-networkd-wait-online.service

# GRUB as the Debian packages leave it, on the serial line and without a delay.
cat > "$root/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=ttyS0 net.ifnames=0"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"
GRUB_DISABLE_SUBMENU=true
GRUB_DISABLE_RECOVERY=true
GRUB_DISABLE_OS_PROBER=true
END
mkdir -p "$root/etc/default/grub.d"
# Menu scripts for what this machine cannot have.
chmod -x "$root/etc/grub.d/20_linux_xen" "$root/etc/grub.d/30_os-prober" "$root/etc/grub.d/30_uefi-firmware"

# The first menu. grub-probe cannot find the device from inside a directory, so this one is written by hand, with the
# command line that update-grub gives in the guest.
version=$(basename "$root"/boot/vmlinuz-* | sed 's/^vmlinuz-//')
mkdir -p "$root/boot/grub"
cat > "$root/boot/grub/grub.cfg" <<END
serial --unit=0 --speed=115200
terminal_input serial
terminal_output serial
set timeout=0
menuentry 'Debian GNU/Linux' {
    search --no-floppy --fs-uuid --set=root $ROOT_UUID
    linux /boot/vmlinuz-$version root=UUID=$ROOT_UUID ro console=ttyS0 net.ifnames=0
    initrd /boot/initrd.img-$version
}
END

# Nothing here may start by itself in the middle of a test, and nothing useless may slow the boot down.
chroot "$root" systemctl mask --quiet \
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
    systemd-tmpfiles-clean.timer e2scrub_reap.service systemd-pstore.service systemd-update-utmp.service \
    systemd-update-utmp-runlevel.service proc-sys-fs-binfmt_misc.automount systemd-binfmt.service \
    modprobe@configfs.service modprobe@drm.service modprobe@efi_pstore.service modprobe@fuse.service \
    sys-kernel-config.mount sys-fs-fuse-connections.mount getty@tty1.service systemd-timesyncd.service \
    systemd-ask-password-wall.path systemd-ask-password-console.path grub-common.service
# Drivers that udev would load for a CPU model with every feature, or for a desk's machine, and that have nothing to drive.
printf 'blacklist %s\n' kvm_amd kvm_intel powernow_k8 acpi_cpufreq cfg80211 vga16fb pcspkr psmouse iTCO_wdt lpc_ich i2c_i801 \
    > "$root/etc/modprobe.d/testhost.conf"
# A user's systemd stays for the next login: starting it is most of the cost of an ssh command under emulation.
mkdir -p "$root/etc/systemd/logind.conf.d"
printf '[Login]\nUserStopDelaySec=infinity\n' > "$root/etc/systemd/logind.conf.d/testhost.conf"
mkdir -p "$root/etc/systemd/journald.conf.d"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=64M\n' > "$root/etc/systemd/journald.conf.d/testhost.conf"
