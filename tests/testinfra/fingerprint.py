"""Print, as JSON, all that the roles may change on a host. Runs on the host itself, with its own Python."""

import glob
import hashlib
import json
import os
import subprocess

# Sysctls that move by themselves.
MOVING = (
    "dev.cdrom",
    "fs.dentry-state",
    "fs.file-nr",
    "fs.inode-",
    "fs.quota",
    "kernel.ns_last_pid",
    "kernel.random",
    "kernel.pty.nr",
    "kernel.tainted",
    "net.netfilter.nf_conntrack_count",
    "net.netfilter.nf_conntrack_buckets",
    "vm.nr_hugepages_mempolicy",
    # Drawn anew, or computed from the free memory, at each boot. The roles set none of them.
    "fs.epoll.max_user_watches",
    "fs.fanotify.max_user_marks",
    "fs.file-max",
    "fs.inotify.max_user_watches",
    "kernel.perf_event_max_sample_rate",
    "kernel.threads-max",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_tw_buckets",
    "user.max_",
    "net.core.netdev_rss_key",
    "net.ipv4.tcp_fastopen_key",
    "net.ipv4.tcp_mem",
    "net.ipv4.udp_mem",
    "vm.admin_reserve_kbytes",
    "vm.min_free_kbytes",
    "vm.user_reserve_kbytes",
)
FILES = (
    "/etc/sysctl.conf",
    "/etc/sysctl.d/*",
    "/etc/modules-load.d/*",
    "/etc/tmpfiles.d/*",
    "/etc/default/*",
    "/etc/default/grub.d/*",
    "/etc/security/limits.conf",
    "/etc/security/limits.d/*",
    "/etc/systemd/system.conf",
    "/etc/systemd/system.conf.d/*",
    "/etc/systemd/system/*.service.d/*",
    "/etc/udev/rules.d/*",
    "/etc/systemd/system/hosttune*",
    "/etc/hosttune/*",
    "/etc/hosttune/profile.d/*",
)


def read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def run(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout


# systemd and the kernel compute these limits from the memory, of which each boot finds a few pages more or less.
MEMORY = int(read("/proc/meminfo").split()[1])


def rounded(line: str) -> str:
    """A limit computed from the memory as a share of it, to the thousandth; any other as it is."""
    name, _, value = line.replace("=", " ").rpartition(" ")
    if value.isdigit() and any(word in name for word in ("locked memory", "process", "NPROC", "SIGPENDING")):
        return f"{name.strip()} {int(value) / MEMORY:.3f} of the memory in kB"
    return line


sysctls = dict(line.split(" = ", 1) for line in run("sysctl", "-a").splitlines() if " = " in line)
print(
    json.dumps(
        {
            "cmdline": sorted(read("/proc/cmdline").decode().split()),
            # The menu's text is update-grub's business; what it boots is ours.
            "menu": sorted(
                {
                    " ".join(line.split()[2:])
                    for line in read("/boot/grub/grub.cfg").decode().splitlines()
                    if line.strip().startswith("linux") and "single" not in line
                }
            ),
            "sysctl": {key: value for key, value in sysctls.items() if not key.startswith(MOVING)},
            "hugepages": {
                path: read(path).decode().strip()
                for path in [
                    *glob.glob("/sys/devices/system/node/node*/hugepages/*/nr_hugepages"),
                    *glob.glob("/sys/kernel/mm/transparent_hugepage/enabled"),  # none with PREEMPT_RT
                ]
            },
            "limits": [
                rounded(line)
                for line in run("systemctl", "show").splitlines()
                if line.startswith(("DefaultLimit", "CPUAffinity="))
            ]
            + [line for line in read("/proc/1/status").decode().splitlines() if "Cpus_allowed_list" in line],
            "login": [
                rounded(line)
                for line in run("su", "nobody", "-s", "/bin/sh", "-c", "ulimit -a; ulimit -e").splitlines()
            ],
            "qdisc": [line.split()[1] for line in run("tc", "qdisc", "show", "dev", "eth0").splitlines()],
            "interrupts": {
                "default": read("/proc/irq/default_smp_affinity").decode().strip(),
                **{
                    path: read(path).decode().strip()
                    for irq in glob.glob("/proc/irq/*/eth0*")
                    for path in [irq.rsplit("/", 1)[0] + "/smp_affinity_list"]
                },
            },
            "units": run("systemctl", "is-active", "irqbalance.service").split(),
            "files": {
                path: hashlib.sha256(read(path)).hexdigest()
                for pattern in FILES
                for path in sorted(glob.glob(pattern))
                if os.path.isfile(path)
            },
        }
    )
)
