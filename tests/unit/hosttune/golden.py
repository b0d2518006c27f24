"""A correctly tuned host, as the roles leave it: Debian 12 with 8 CPUs on 2 nodes, of which CPUs 2-3 are isolated."""

from __future__ import annotations

import copy
import posixpath
from pathlib import Path
from typing import Any

UNITS = "/etc/systemd/system"
PCI = "/sys/devices/pci0000:00/0000:00:03.0"
NODES = "/sys/devices/system/node"
CPUS = "/sys/devices/system/cpu"
BOOT = "isolcpus=managed_irq,domain,2-3 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1,4-7"
ELSEWHERE = "0-1,4-7"

SYSCTLS: dict[str, str] = {
    "net.core.rmem_max": "67108864",
    "net.core.wmem_max": "67108864",
    "net.core.netdev_max_backlog": "16384",
    "net.core.busy_poll": "50",
    "net.ipv4.tcp_rmem": "4096 131072 67108864",
    "net.ipv4.tcp_slow_start_after_idle": "0",
}
PROFILES: dict[str, str] = {
    "net_buffers": "net_buffers:\n  sysctl:\n"
    + "".join(
        f"    {key}: {f'[{value}]'.replace(' ', ', ') if ' ' in value else value}\n" for key, value in SYSCTLS.items()
    ),
    "tcp_bbr": 'tcp_bbr:\n  congestion_control: "bbr"\n  qdisc: "fq"\n  require_fq: false\n',
    "hugepages": "hugepages:\n  pages:\n    2M:\n      node0: 512\n      node1: 256\n  transparent: never\n",
    "irq_affinity": '{\n  "irq_affinity": {\n    "housekeeping": "0-1,4-7",\n    "irqbalance": "banned",\n'
    '    "queues": {\n      "eth0": "1"\n    }\n  }\n}\n',
    "cpu_isolation": "cpu_isolation:\n  irqaffinity: 0-1,4-7\n  isolated: 2-3\n  managed_irq: true\n  nohz_full: 2-3\n"
    "  rcu_nocbs: 2-3\n  systemd: true\n",
    "rt_limits": "rt_limits:\n  users:\n    trader:\n      memlock: unlimited\n      nice: -20\n      nofile: 65536\n"
    "      rtprio: 95\n  sched_rt_runtime_us: -1\n",
}


def _status(name: str, pid: int, ppid: int, cpus: str, uid: int = 0, threads: int = 1, tgid: int | None = None) -> str:
    return (
        f"Name:\t{name}\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t{tgid or pid}\nPid:\t{pid}\nPPid:\t{ppid}\n"
        f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\nGid:\t{uid}\t{uid}\t{uid}\t{uid}\nThreads:\t{threads}\n"
        f"Cpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\nvoluntary_ctxt_switches:\t15\n"
        "nonvoluntary_ctxt_switches:\t4\n"
    )


def make_limits(unlimited: bool) -> str:
    rows = {
        "Max cpu time": ("unlimited", "unlimited", "seconds"),
        "Max open files": ("65536", "524288", "files") if unlimited else ("1024", "524288", "files"),
        "Max locked memory": ("unlimited", "unlimited", "bytes") if unlimited else ("8388608", "8388608", "bytes"),
        "Max nice priority": ("40", "40", "") if unlimited else ("0", "0", ""),
        "Max realtime priority": ("95", "95", "") if unlimited else ("0", "0", ""),
        "Max realtime timeout": ("unlimited", "unlimited", "us"),
    }
    lines = [f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}Units"]
    lines += [f"{name:<26}{soft:<21}{hard:<21}{unit}" for name, (soft, hard, unit) in rows.items()]
    return "\n".join([*lines, ""])


def _processes() -> dict[str, str]:
    """PID 1, kernel threads, irqbalance, and the trader's process with two threads."""
    found: dict[str, tuple[str, int, str, int, list[int]]] = {
        "1": ("systemd", 0, ELSEWHERE, 0, []),
        "2": ("kthreadd", 0, ELSEWHERE, 0, []),
        "12": ("ksoftirqd/2", 2, "2", 0, []),
        "20": ("rcuog/0", 2, ELSEWHERE, 0, []),
        **{str(30 + cpu): (f"rcuop/{cpu}", 2, ELSEWHERE, 0, []) for cpu in range(8)},
        "500": ("irqbalance", 1, ELSEWHERE, 0, []),
        "900": ("agent", 1, "2", 1001, [901]),
    }
    files: dict[str, str] = {}
    for pid, (name, ppid, cpus, uid, more) in found.items():
        number = int(pid)
        files[f"/proc/{pid}/status"] = _status(name, number, ppid, cpus, uid, 1 + len(more))
        files[f"/proc/{pid}/comm"] = f"{name}\n"
        files[f"/proc/{pid}/limits"] = make_limits(unlimited=uid == 1001)
        files[f"/proc/{pid}/cgroup"] = "0::/\n" if ppid == 2 or number == 2 else f"0::/system.slice/{name}.service\n"
        for tid in [number, *more]:
            where = "2" if tid == 900 else "0-1,4-7" if more else cpus
            files[f"/proc/{pid}/task/{tid}/status"] = _status(name, tid, ppid, where, uid, 1 + len(more), number)
            flags = 0x200000 if ppid == 2 or number == 2 else 0x400100
            files[f"/proc/{pid}/task/{tid}/stat"] = (
                f"{tid} ({name}) S {ppid} {pid} {pid} 0 -1 {flags} 0 0 0 0 5 6 0 0 20 0 {1 + len(more)} 0 "
                f"100 0 0 18446744073709551615 0 0 0 0 0 0 0 0 0 0 0 0 17 {where[0]} 0 0 0 0 0\n"
            )
    files["/proc/500/environ"] = "PATH=/usr/bin\0IRQBALANCE_BANNED_CPULIST=2-3\0"
    return files


def _interrupts() -> dict[str, str]:
    rows = {
        0: ("IO-APIC    2-edge      timer", None),
        9: ("IO-APIC    9-fasteoi   acpi", "0"),
        28: ("PCI-MSI 49152-edge      eth0", "0"),
        29: ("PCI-MSI 49153-edge      eth0-TxRx-0", "1"),
        30: ("PCI-MSI 49154-edge      nvme0q0", "4"),
    }
    head = "".join(f"{f'CPU{cpu}':>11}" for cpu in range(8))
    lines = [f"    {head}"]
    files: dict[str, str] = {}
    for number, (words, cpu) in rows.items():
        counts = "".join(f"{5 if cpu == str(each) else 0:>11}" for each in range(8))
        lines.append(f"{number:>3}:{counts}  {words}")
        handlers = words.split(None, 2)[2].strip()
        where = cpu or "0-1,4-7"
        files[f"/proc/irq/{number}/smp_affinity_list"] = f"{where}\n"
        files[f"/proc/irq/{number}/effective_affinity_list"] = f"{cpu or '0'}\n"
        files[f"/sys/kernel/irq/{number}/actions"] = f"{handlers}\n"
        files[f"/sys/kernel/irq/{number}/chip_name"] = f"{words.split()[0]}\n"
        files[f"/sys/kernel/irq/{number}/hwirq"] = "0\n"
    for name, words in (("NMI", "Non-maskable interrupts"), ("LOC", "Local timer interrupts")):
        lines.append(f"{name}:{'          7' * 8}   {words}")
    files["/proc/interrupts"] = "\n".join([*lines, "ERR:          0", ""])
    files["/proc/irq/default_smp_affinity"] = "f3\n"
    return files


def _kernel() -> dict[str, str]:
    files = {
        "/proc/cmdline": f"BOOT_IMAGE=/boot/vmlinuz-6.1.0-28-amd64 root=UUID=1-2 ro quiet {BOOT}\n",
        "/proc/modules": "tcp_bbr 20480 1 - Live 0x0000000000000000\nsch_fq 24576 2 - Live 0x0000000000000000\n",
        "/proc/meminfo": "MemTotal:       65536000 kB\nHugePages_Total:     768\nHugepagesize:       2048 kB\n",
        "/proc/filesystems": "nodev\tsysfs\n\text4\n",
        "/proc/sys/kernel/hostname": "golden\n",
        "/proc/sys/kernel/osrelease": "6.1.0-28-amd64\n",
        "/proc/sys/kernel/sched_rt_runtime_us": "-1\n",
        "/proc/sys/kernel/sched_rt_period_us": "1000000\n",
        "/proc/sys/fs/nr_open": "1048576\n",
        "/proc/sys/vm/nr_hugepages": "768\n",
        "/proc/sys/net/core/default_qdisc": "fq\n",
        "/proc/sys/net/ipv4/tcp_congestion_control": "bbr\n",
        "/proc/sys/net/ipv4/tcp_available_congestion_control": "reno cubic bbr\n",
        "/proc/sys/net/ipv4/tcp_allowed_congestion_control": "reno cubic bbr\n",
        f"{CPUS}/possible": "0-7\n",
        f"{CPUS}/present": "0-7\n",
        f"{CPUS}/online": "0-7\n",
        f"{CPUS}/offline": "\n",
        f"{CPUS}/isolated": "2-3\n",
        f"{CPUS}/nohz_full": "2-3\n",
        f"{NODES}/online": "0-1\n",
        f"{NODES}/possible": "0-1\n",
        "/sys/kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
        "/sys/kernel/mm/transparent_hugepage/defrag": "always defer defer+madvise [madvise] never\n",
        "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size": "2097152\n",
        "/sys/kernel/security/lockdown": "[none] integrity confidentiality\n",
        f"{PCI}/msi_irqs/28": "msix\n",
        f"{PCI}/msi_irqs/29": "msix\n",
        f"{PCI}/irq": "0\n",
        f"{PCI}/net/eth0/operstate": "up\n",
        "/sys/devices/virtual/net/lo/operstate": "unknown\n",
    }
    for key, value in SYSCTLS.items():
        files["/proc/sys/" + key.replace(".", "/")] = "\t".join(value.split()) + "\n"
    for cpu in range(8):
        files[f"{CPUS}/cpu{cpu}/topology/thread_siblings_list"] = f"{cpu}\n"
        files[f"{CPUS}/cpu{cpu}/topology/core_id"] = f"{cpu}\n"
        if cpu:
            files[f"{CPUS}/cpu{cpu}/online"] = "1\n"
    for node, (cpus, pages) in enumerate((("0-3", 512), ("4-7", 256))):
        files[f"{NODES}/node{node}/cpulist"] = f"{cpus}\n"
        for kb, count in ((2048, pages), (1048576, 0)):
            pool = f"{NODES}/node{node}/hugepages/hugepages-{kb}kB"
            files |= {f"{pool}/nr_hugepages": f"{count}\n", f"{pool}/free_hugepages": f"{count}\n"}
            files[f"{pool}/surplus_hugepages"] = "0\n"
    for kb, count in ((2048, 768), (1048576, 0)):
        for name, number in (("nr", count), ("free", count), ("surplus", 0)):
            files[f"/sys/kernel/mm/hugepages/hugepages-{kb}kB/{name}_hugepages"] = f"{number}\n"
    return files


def _configuration() -> dict[str, str]:
    service = "#\n[Unit]\nDescription=irqbalance daemon\n\n[Service]\nEnvironmentFile=-/etc/default/irqbalance\n"
    pools = {0: 512, 1: 256}
    writes = [f"w {NODES}/node{node}/hugepages/hugepages-2048kB/nr_hugepages - - - - {n}" for node, n in pools.items()]
    writes.append("w /sys/kernel/mm/transparent_hugepage/enabled - - - - never")
    return {
        **{f"/etc/hosttune/profile.d/{name}.yml": text for name, text in PROFILES.items()},
        **{f"/var/lib/hosttune/stated/{name}.yml": text for name, text in PROFILES.items()},
        "/etc/debian_version": "12.8\n",
        "/etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\ntrader:x:1001:1001::/home/trader:/bin/sh\n",
        "/etc/group": "root:x:0:\nrt:x:2000:trader\ntrader:x:1001:\n",
        "/etc/security/limits.conf": "# /etc/security/limits.conf\n",
        "/etc/security/limits.d/99-hosttune-rt_limits.conf": "trader - memlock unlimited\ntrader - rtprio 95\n"
        "trader - nice -20\ntrader - nofile 65536\n",
        "/etc/pam.d/sshd": "auth required pam_unix.so\n@include common-session\nsession required pam_limits.so\n",
        "/etc/pam.d/login": "@include common-session\nsession    required   pam_limits.so\n",
        "/etc/pam.d/common-session": "session required pam_unix.so\n",
        "/etc/systemd/system.conf": "[Manager]\n#LogLevel=info\n",
        "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf": "[Manager]\nCPUAffinity=0-1,4-7\n",
        "/etc/systemd/system.conf.d/hosttune-rt_limits.conf": "[Manager]\nDefaultLimitMEMLOCK=infinity\n"
        "DefaultLimitRTPRIO=95\nDefaultLimitNICE=-20\nDefaultLimitNOFILE=65536:524288\n",
        f"{UNITS}/hosttune-irq_affinity.service": "[Unit]\nDescription=Keep device interrupts\n[Service]\n"
        "ExecStartPre=/usr/local/lib/hosttune/irq_affinity apply /etc/hosttune/profile.d/irq_affinity.yml\n"
        "ExecStart=/usr/local/lib/hosttune/irq_affinity watch /etc/hosttune/profile.d/irq_affinity.yml\n"
        "[Install]\nWantedBy=multi-user.target\n",
        f"{UNITS}/irqbalance.service.d/hosttune.conf": "[Service]\nEnvironment=IRQBALANCE_BANNED_CPULIST=2-3\n",
        "/usr/local/lib/hosttune/irq_affinity": "#!/usr/bin/python3\nopen('/proc/irq/1/smp_affinity_list')\n",
        "/usr/lib/systemd/system/irqbalance.service": service + "ExecStart=/usr/sbin/irqbalance --foreground\n",
        "/usr/lib/systemd/system/ssh.service": "[Service]\nExecStart=/usr/sbin/sshd -D\n",
        "/usr/lib/sysctl.d/50-pid-max.conf": "kernel.pid_max = 4194304\n",
        "/usr/lib/tmpfiles.d/tmp.conf": "q /tmp 1777 root root -\n",
        "/usr/lib/modules-load.d/.keep": "",
        "/usr/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n",
        "/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n",
        "/etc/default/irqbalance": "# Configuration for irqbalance\n#IRQBALANCE_ARGS=\n",
        "/etc/default/grub": 'GRUB_DEFAULT=0\nGRUB_CMDLINE_LINUX_DEFAULT="quiet"\nGRUB_CMDLINE_LINUX=""\n',
        "/etc/default/grub.d/80-hosttune-cpu_isolation.cfg": f'GRUB_CMDLINE_LINUX_DEFAULT="$hosttune_kept {BOOT}"\n',
        "/boot/grub/grub.cfg": "set default=\"0\"\nmenuentry 'Debian GNU/Linux' --class debian {\n"
        f"\tlinux\t/boot/vmlinuz-6.1.0-28-amd64 root=UUID=1-2 ro quiet {BOOT}\n\tinitrd\t/boot/initrd.img\n}}\n",
        "/boot/grub/grubenv": "# GRUB Environment Block\n" + "#" * 100,
        "/etc/sysctl.conf": "# /etc/sysctl.conf\n",
        "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf": "".join(f"{k} = {v}\n" for k, v in SYSCTLS.items()),
        "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf": "net.core.default_qdisc = fq\n"
        "net.ipv4.tcp_congestion_control = bbr\n",
        "/etc/sysctl.d/99-zz-hosttune-rt_limits.conf": "kernel.sched_rt_runtime_us = -1\n",
        "/etc/modules-load.d/hosttune-tcp_bbr.conf": "tcp_bbr\nsch_fq\n",
        "/etc/tmpfiles.d/00-hosttune-hugepages.conf": "\n".join([*writes, ""]),
    }


LINKS = {
    "/sys/class/net/eth0": f"../../{PCI.removeprefix('/sys/')}/net/eth0",
    "/sys/class/net/eth0/device": "../../../0000:00:03.0",
    "/sys/class/net/lo": "../../devices/virtual/net/lo",
    "/etc/sysctl.d/99-sysctl.conf": "../sysctl.conf",
    f"{UNITS}/multi-user.target.wants/hosttune-irq_affinity.service": f"{UNITS}/hosttune-irq_affinity.service",
    f"{UNITS}/multi-user.target.wants/irqbalance.service": "/usr/lib/systemd/system/irqbalance.service",
    "/proc/500/exe": "/usr/sbin/irqbalance",
}
TABLE: list[dict[str, Any]] = [
    {"interface": "lo", "kind": "noqueue", "handle": 0, "parent": 0xFFFFFFFF},
    {"interface": "eth0", "kind": "mq", "handle": 0x10000, "parent": 0xFFFFFFFF},
    *({"interface": "eth0", "kind": "fq", "handle": 0, "parent": 0x10000 + n} for n in (1, 2)),
]
FILES = {**_kernel(), **_processes(), **_interrupts(), **_configuration()}


def make_host(fake_host: type[Any]) -> Any:
    """Returns the host, live, as a FakeHost of conftest.py."""
    host = fake_host(FILES)
    host.links.update(LINKS)
    host.tables["qdisc"] = copy.deepcopy(TABLE)
    return host


def write_tree(host: Any, directory: Path) -> None:
    """Put a host's files and links below a directory that does not have them."""
    for path, text in host.files.items():
        place = directory / path.lstrip("/")
        if any(posixpath.commonpath([path, link]) == link for link in host.links):
            continue  # a link leads there
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
    for path, target in host.links.items():
        if any(path != link and posixpath.commonpath([path, link]) == link for link in host.links):
            continue
        place = directory / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
