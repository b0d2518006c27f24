"""Hosts with something about sysctls or modules broken, or merely written otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Hosts, replace

OWN = "/etc/sysctl.d/99-zz-hosttune-net_buffers.conf"
BBR = "/etc/sysctl.d/99-zz-hosttune-tcp_bbr.conf"
RT = "/etc/sysctl.d/99-zz-hosttune-rt_limits.conf"
LATE = "/etc/sysctl.d/zzz.conf"
EARLY = "/etc/sysctl.d/10-x.conf"
MODULES = "/etc/modules-load.d/hosttune-tcp_bbr.conf"
RMEM, WMEM, TCP = "net_buffers.net.core.rmem_max", "net_buffers.net.core.wmem_max", "net_buffers.net.ipv4.tcp_rmem"
ALL = "net_buffers."
QDISC = "tcp_bbr.qdisc="
OTHERS = ("tcp_bbr.congestion_control", QDISC, "rt_limits.sched")
RMEM_LINE = "net.core.rmem_max = 67108864\n"
VOLATILE = {RMEM: "volatile"}
PROFILES = ("/etc/hosttune/profile.d/net_buffers.yml", "/var/lib/hosttune/stated/net_buffers.yml")


def number(text: str) -> dict[str, str | None]:
    return dict(replace(OWN, RMEM_LINE, f"net.core.rmem_max = {text}\n"))


def want(lines: str) -> dict[str, str | None]:
    """The profile asks for more keys."""
    return dict.fromkeys(PROFILES, f"+{lines}")


def rp_filter(all_now: str, own_now: str, at_boot: str) -> dict[str, str | None]:
    return {
        **want("    net.ipv4.conf.eth0.rp_filter: 0\n"),
        "/proc/sys/net/ipv4/conf/all/rp_filter": f"{all_now}\n",
        "/proc/sys/net/ipv4/conf/eth0/rp_filter": f"{own_now}\n",
        LATE: at_boot,
    }


CONNTRACK = {
    **want("    net.netfilter.nf_conntrack_max: 262144\n"),
    "/proc/sys/net/netfilter/nf_conntrack_max": "262144\n",
    LATE: "net.netfilter.nf_conntrack_max = 262144\n",
    "/proc/modules": "+nf_conntrack 180224 1 - Live 0x0000000000000000\n",
    "/lib/modules/6.1.0-28-amd64/modules.dep": "kernel/net/netfilter/xt_conntrack.ko: "
    "kernel/net/netfilter/nf_conntrack.ko kernel/net/netfilter/x_tables.ko\n"
    "kernel/net/netfilter/nf_conntrack.ko: kernel/lib/libcrc32c.ko\nkernel/net/ipv4/tcp_bbr.ko:\n"
    "kernel/net/sched/sch_fq.ko:\n",
}
LIMIT = "net_buffers.net.netfilter.nf_conntrack_max"

MAX = "net.netfilter.nf_conntrack_max"
TMPFILES = "/etc/tmpfiles.d/00-hosttune-hugepages.conf"
NO_POOLS = "w /sys/kernel/mm/transparent_hugepage/enabled - - - - never\n"
UNTHROTTLED = "sysctl.kernel.sched_rt_runtime_us=-1"
THROTTLED = {"rt_limits.sched": "volatile"}
REDIRECTS, FORWARD = "net.ipv4.conf.all.accept_redirects", "net.ipv4.ip_forward"
CONF = "net_buffers.net.ipv4.conf"


def set_now(key: str, value: object) -> dict[str, str | None]:
    """The profile asks for one more key, and the kernel has it."""
    return {**want(f"    {key}: {value}\n"), f"/proc/sys/{key.replace('.', '/')}": f"{value}\n"}


def tracked(lines: str) -> dict[str, str | None]:
    return {**CONNTRACK, "/etc/modules-load.d/x.conf": "nf_conntrack\n", LATE: lines}


def boot_line(words: str, *paths: str) -> dict[str, str | None]:
    """The kernel's command line, of this boot and of the next one, has more words."""
    both = paths or ("/boot/grub/grub.cfg", "/proc/cmdline")
    return {path: golden.FILES[path].replace(golden.BOOT, f"{golden.BOOT} {words}") for path in both}


def mask(wanted: str, running: str, at_boot: str) -> dict[str, str | None]:
    key = "net.core.rps_default_mask"
    text = wanted if wanted.isdigit() else f'"{wanted}"'
    return {**set_now(key, text), "/proc/sys/net/core/rps_default_mask": f"{running}\n", LATE: f"{key} = {at_boot}\n"}


def ports(wanted: str, running: str, at_boot: str) -> dict[str, str | None]:
    key = "net.ipv4.ip_local_reserved_ports"
    text = wanted if wanted.isdigit() else f'"{wanted}"'
    path = "/proc/sys/net/ipv4/ip_local_reserved_ports"
    return {**set_now(key, text), path: f"{running}\n", LATE: f"{key} = {at_boot}\n"}


def redirects(value: int, lines: str) -> dict[str, str | None]:
    return {**set_now(REDIRECTS, value), LATE: lines}


HOSTS: Hosts = {
    # --- numbers ---
    "an underscore": (number("67_108_864"), VOLATILE),
    "a plus": (number("+67108864"), VOLATILE),
    "hexadecimal": (number("0x4000000"), {}),
    "hexadecimal in capitals": (number("0X4000000"), {}),
    "octal": (number("0400000000"), {}),
    "octal as Python has it": (number("0o400000000"), VOLATILE),
    "binary": (number("0b100"), VOLATILE),
    "a unit": (number("64M"), VOLATILE),
    "an exponent": (number("6.7108864e7"), VOLATILE),
    "commas": (number("67,108,864"), VOLATILE),
    "digits of another script": (number("٦٧١٠٨٨٦٤"), VOLATILE),
    "a decimal read as octal": (number("067108864"), VOLATILE),
    "in quotes": (number('"67108864"'), VOLATILE),
    "a remark behind the number": (number("67108864 # 64 MiB"), {}),
    "a remark glued to the number": (number("67108864# 64 MiB"), VOLATILE),
    "white space": (number("\t67108864  "), {}),
    "another number": (number("67108863"), VOLATILE),
    "beyond 32 bits": (number("4362076160"), VOLATILE),
    "nothing": (number(""), VOLATILE),
    "an expression": (number("64*1024*1024"), VOLATILE),
    "two of three": ({LATE: "net.ipv4.tcp_rmem = 4096 131072\n"}, {TCP: "volatile"}),
    "three with commas": ({LATE: "net.ipv4.tcp_rmem = 4096,131072,67108864\n"}, {TCP: "volatile"}),
    "three with tabs": ({LATE: "net.ipv4.tcp_rmem =\t4096\t131072\t\t67108864\n"}, {}),
    "three and a fourth": ({LATE: "net.ipv4.tcp_rmem = 4096 131072 67108864 1\n"}, {}),
    "three in another order": ({LATE: "net.ipv4.tcp_rmem = 67108864 131072 4096\n"}, {TCP: "volatile"}),
    "three in hexadecimal": ({LATE: "net.ipv4.tcp_rmem = 0x1000 0x20000 0x4000000\n"}, {}),
    # --- the running value ---
    "running another": ({"/proc/sys/net/core/rmem_max": "212992\n"}, {RMEM: "fail"}),
    "running refused": ({"/proc/sys/net/core/rmem_max": "!EACCES"}, {RMEM: "unknown"}),
    "running empty": ({"/proc/sys/net/core/rmem_max": "\n"}, {RMEM: "fail"}),
    # --- lines ---
    "slashes": (replace(OWN, RMEM_LINE, "net/core/rmem_max = 67108864\n"), {}),
    "mixed separators": (replace(OWN, RMEM_LINE, "net/core.rmem_max = 67108864\n"), VOLATILE),
    "no blanks": (replace(OWN, " = ", "="), {}),
    "CRLF": (replace(OWN, "\n", "\r\n"), {}),
    "indented": (replace(OWN, RMEM_LINE, "    net.core.rmem_max = 67108864\n"), {}),
    "an absolute path": (replace(OWN, RMEM_LINE, "/net/core/rmem_max = 67108864\n"), {}),
    "ignore errors": (replace(OWN, RMEM_LINE, "-net.core.rmem_max = 67108864\n"), {}),
    "ignore errors, wrong": ({LATE: "-net.core.rmem_max = 212992\n"}, VOLATILE),
    "a comment": (replace(OWN, RMEM_LINE, f"#{RMEM_LINE}"), VOLATILE),
    "a comment by a semicolon": (replace(OWN, RMEM_LINE, f";{RMEM_LINE}"), VOLATILE),
    "a comment that overrides nothing": ({LATE: "# net.core.rmem_max = 1\n; net.core.rmem_max = 2\n"}, {}),
    "no equals sign": (replace(OWN, RMEM_LINE, "net.core.rmem_max 67108864\n"), VOLATILE),
    "a name in capitals": (replace(OWN, RMEM_LINE, "net.core.RMEM_MAX = 67108864\n"), VOLATILE),
    "no end of line": ({OWN: golden.FILES[OWN].rstrip("\n")}, {}),
    "twice in one file": (replace(OWN, RMEM_LINE, f"net.core.rmem_max = 1\n{RMEM_LINE}"), {}),
    "twice, the last wrong": (replace(OWN, RMEM_LINE, f"{RMEM_LINE}net.core.rmem_max = 1\n"), VOLATILE),
    "a backslash joins no lines": (replace(OWN, RMEM_LINE, "net.core.rmem_max = \\\n67108864\n"), VOLATILE),
    "a shell's export": (replace(OWN, RMEM_LINE, "export net.core.rmem_max=67108864\n"), VOLATILE),
    "the command's own words": (replace(OWN, RMEM_LINE, "sysctl -w net.core.rmem_max=67108864\n"), VOLATILE),
    "a byte order mark": ({OWN: "\ufeff" + golden.FILES[OWN]}, VOLATILE),
    # --- globs ---
    "by a glob": (replace(OWN, RMEM_LINE, "net.core.?mem_max = 67108864\n"), {}),
    "by a class": (replace(OWN, RMEM_LINE, "net.core.[rw]mem_max = 67108864\n"), {}),
    "by a class that excludes": (replace(OWN, RMEM_LINE, "net.core.[!w]mem_max = 67108864\n"), {}),
    "a glob goes below the name": ({LATE: "net.core.rmem_* = 1\n"}, {}),
    "excluded from the glob": (
        {**replace(OWN, RMEM_LINE, "net.core.?mem_max = 67108864\n"), LATE: "-net.core.rmem_max\n"},
        VOLATILE,
    ),
    "a star across directories": (replace(OWN, RMEM_LINE, "net.*max = 67108864\n"), VOLATILE),
    "braces are no glob": (replace(OWN, RMEM_LINE, "net.core.{r,w}mem_max = 67108864\n"), VOLATILE),
    "an exclusion of nothing": ({LATE: "-net.core.somaxconn\n"}, {}),
    "the name excluded after its line": ({LATE: "-net.core.rmem_max\n"}, VOLATILE),
    "two globs, the last wrong": (
        replace(OWN, RMEM_LINE, "net.core.?mem_max = 67108864\nnet.core.rmem_ma? = 1\n"),
        VOLATILE,
    ),
    # --- files ---
    "a later file": ({LATE: "net.core.rmem_max = 212992\n"}, VOLATILE),
    "an earlier file": ({EARLY: "net.core.rmem_max = 212992\n"}, {}),
    "later below /usr/lib": ({"/usr/lib/sysctl.d/zzz.conf": "net.core.rmem_max = 1\n"}, VOLATILE),
    "later below /usr/local/lib": ({"/usr/local/lib/sysctl.d/zzz.conf": "net.core.rmem_max = 1\n"}, VOLATILE),
    "only below /usr/lib": ({OWN: None, "/usr/lib/sysctl.d/50-desk.conf": golden.FILES[OWN]}, {}),
    "only below /usr/local/lib": ({OWN: None, "/usr/local/lib/sysctl.d/50-desk.conf": golden.FILES[OWN]}, {}),
    "only below /lib": ({OWN: None, "/lib/sysctl.d/50-desk.conf": golden.FILES[OWN]}, {}),
    "only below /run": ({OWN: None, "/run/sysctl.d/50-desk.conf": golden.FILES[OWN]}, {ALL: "volatile"}),
    "only below /dev/shm": (
        {OWN: None, "/etc/sysctl.d/50-desk.conf": "-> /dev/shm/x.conf", "/dev/shm/x.conf": golden.FILES[OWN]},
        {ALL: "volatile"},
    ),
    "wrong below /run": ({"/run/sysctl.d/zzz.conf": "net.core.rmem_max = 1\n"}, {}),
    "a mask below /run": (
        {LATE: "net.core.rmem_max = 1\n", "/run/sysctl.d/zzz.conf": "-> /dev/null"},
        VOLATILE,
    ),
    "masked": (
        {"/usr/lib/sysctl.d/zzz.conf": "net.core.rmem_max = 1\n", "/etc/sysctl.d/zzz.conf": "-> /dev/null"},
        {},
    ),
    "masked by an empty file": (
        {"/usr/lib/sysctl.d/zzz.conf": "net.core.rmem_max = 1\n", "/etc/sysctl.d/zzz.conf": ""},
        {},
    ),
    "our own masked": (
        {OWN: None, f"/usr/lib/{OWN[5:]}": golden.FILES[OWN], OWN + " ": "", "/etc/" + OWN[5:]: "-> /dev/null"},
        {ALL: "volatile"},
    ),
    "not called conf": ({OWN: None, "/etc/sysctl.d/desk": golden.FILES[OWN]}, {ALL: "volatile"}),
    "called CONF": ({OWN: None, "/etc/sysctl.d/desk.CONF": golden.FILES[OWN]}, {ALL: "volatile"}),
    "a package's leftover": ({"/etc/sysctl.d/zzz.conf.dpkg-dist": "net.core.rmem_max = 1\n"}, {}),
    "a backup": ({"/etc/sysctl.d/zzz.conf~": "net.core.rmem_max = 1\n"}, {}),
    "hidden": ({"/etc/sysctl.d/.zzz.conf": "net.core.rmem_max = 1\n"}, {}),
    "in a directory below": ({"/etc/sysctl.d/more/zzz.conf": "net.core.rmem_max = 1\n"}, {}),
    "in capitals it sorts first": ({"/etc/sysctl.d/ZZZ.conf": "net.core.rmem_max = 1\n"}, VOLATILE),
    "of sysctl.conf": ({OWN: None, "/etc/sysctl.conf": golden.FILES[OWN]}, {}),
    "wrong in sysctl.conf": ({"/etc/sysctl.conf": "net.core.rmem_max = 1\n"}, {}),
    "sysctl.conf that nothing reads": (
        {"/etc/sysctl.d/99-sysctl.conf": None, OWN: None, "/etc/sysctl.conf": golden.FILES[OWN]},
        {ALL: "volatile"},
    ),
    "wrong in sysctl.conf that nothing reads": (
        {"/etc/sysctl.d/99-sysctl.conf": None, "/etc/sysctl.conf": "net.core.rmem_max = 1\n"},
        {},
    ),
    "a link that leads nowhere": ({LATE: "-> ../none.conf"}, {}),
    "a file refused": (
        {LATE: "!EACCES"},
        {**dict.fromkeys((ALL, *OTHERS, "hugepages.2M."), "unknown"), "rt_limits.trader.nofile": "unknown"},
    ),
    "the service masked": (
        {"/etc/systemd/system/systemd-sysctl.service": "-> /dev/null"},
        dict.fromkeys((ALL, *OTHERS), "volatile"),
    ),
    # --- of interfaces ---
    "all is larger": (rp_filter("1", "0", "net.ipv4.conf.eth0.rp_filter = 0\n"), {"net_buffers.net.ipv4.conf": "fail"}),
    "both are right": (
        rp_filter("0", "0", "net.ipv4.conf.eth0.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 0\n"),
        {},
    ),
    "all is larger at boot": (
        rp_filter("0", "0", "net.ipv4.conf.eth0.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 2\n"),
        {"net_buffers.net.ipv4.conf": "volatile"},
    ),
    "all by a glob": (
        rp_filter("0", "0", "net.ipv4.conf.*.rp_filter = 0\nnet.ipv4.conf.all.rp_filter = 0\n"),
        {},
    ),
    "a glob that all takes too": (
        rp_filter("0", "0", "net.ipv4.conf.*.rp_filter = 2\nnet.ipv4.conf.eth0.rp_filter = 0\n"),
        {"net_buffers.net.ipv4.conf": "volatile"},
    ),
    # --- modules ---
    "a key whose module comes late": (CONNTRACK, {LIMIT: "volatile"}),
    "its module at boot": ({**CONNTRACK, "/etc/modules-load.d/x.conf": "nf_conntrack\n"}, {}),
    "its module spelled with a dash": ({**CONNTRACK, "/etc/modules-load.d/x.conf": "nf-conntrack\n"}, {}),
    "its module by one that needs it": ({**CONNTRACK, "/etc/modules-load.d/x.conf": "xt_conntrack\n"}, {}),
    "its module below /run": ({**CONNTRACK, "/run/modules-load.d/x.conf": "nf_conntrack\n"}, {LIMIT: "volatile"}),
    "its module in a comment": ({**CONNTRACK, "/etc/modules-load.d/x.conf": "# nf_conntrack\n"}, {LIMIT: "volatile"}),
    "its module with an option": (
        {**CONNTRACK, "/etc/modules-load.d/x.conf": "nf_conntrack hashsize=65536\n"},
        {LIMIT: "volatile"},
    ),
    "its module below /usr/lib": ({**CONNTRACK, "/usr/lib/modules-load.d/x.conf": "nf_conntrack\n"}, {}),
    "its module in /etc/modules": (
        {**CONNTRACK, "/etc/modules": "nf_conntrack\n", "/etc/modules-load.d/modules.conf": "-> ../modules"},
        {},
    ),
    "its module on a blacklist": (
        {
            **CONNTRACK,
            "/etc/modules-load.d/x.conf": "nf_conntrack\n",
            "/etc/modprobe.d/x.conf": "blacklist nf_conntrack\n",
        },
        {LIMIT: "volatile"},
    ),
    "its module built in": (
        {**CONNTRACK, "/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/net/netfilter/nf_conntrack.ko\n"},
        {},
    ),
    "bbr in no file": ({MODULES: None}, {"tcp_bbr.module": "warn"}),
    "bbr kept away": ({"/etc/modprobe.d/x.conf": "install tcp_bbr /bin/false\n"}, {"tcp_bbr.module": "volatile"}),
    "bbr loaded by another file": ({MODULES: None, "/usr/lib/modules-load.d/bbr.conf": "tcp-bbr\n"}, {}),
    "bbr built in": (
        {MODULES: None, "/lib/modules/6.1.0-28-amd64/modules.builtin": "kernel/net/ipv4/tcp_bbr.ko\n"},
        {},
    ),
    "bbr loaded by the boot line": (
        {
            MODULES: None,
            **boot_line("modules_load=tcp_bbr,sch_fq"),
        },
        {},
    ),
    "bbr loaded by the next boot's line": (
        {MODULES: None, **boot_line("modules-load=tcp_bbr,sch_fq", "/boot/grub/grub.cfg")},
        {},
    ),
    "bbr loaded by this boot's line alone": (
        {MODULES: None, **boot_line("modules_load=tcp_bbr,sch_fq", "/proc/cmdline")},
        {"tcp_bbr.module": "warn"},
    ),
    "bbr loaded by this boot's line, and the next one's is not known": (
        {MODULES: None, **boot_line("modules_load=tcp_bbr,sch_fq", "/proc/cmdline"), "/boot/grub/grub.cfg": "!EACCES"},
        dict.fromkeys(
            ["tcp_bbr.module", *(f"cpu_isolation.{name}" for name in ("iso", "managed", "nohz", "rcu", "irq"))],
            "unknown",
        ),
    ),
    "bbr refused by the next boot's line": (
        boot_line("module_blacklist=tcp_bbr", "/boot/grub/grub.cfg"),
        {"tcp_bbr.module": "volatile"},
    ),
    "cubic at boot": ({LATE: "net.ipv4.tcp_congestion_control = cubic\n"}, {"tcp_bbr.congestion_control": "volatile"}),
    "BBR in capitals": ({LATE: "net.ipv4.tcp_congestion_control = BBR\n"}, {"tcp_bbr.congestion_control": "volatile"}),
    "fq_codel at boot": ({"/usr/lib/sysctl.d/zzz.conf": "net.core.default_qdisc=fq_codel\n"}, {QDISC: "volatile"}),
    "bbr not among the allowed": (
        {"/proc/sys/net/ipv4/tcp_allowed_congestion_control": "reno cubic\n"},
        {"tcp_bbr.allowed": "fail"},
    ),
    # --- real-time ---
    "throttled at boot": ({LATE: "kernel.sched_rt_runtime_us = 950000\n"}, {"rt_limits.sched": "volatile"}),
    "throttled now": ({"/proc/sys/kernel/sched_rt_runtime_us": "950000\n"}, {"rt_limits.sched": "fail"}),
    "by a path": ({RT: "kernel/sched_rt_runtime_us=-1\n"}, {}),
    "minus one in hexadecimal": ({RT: "kernel.sched_rt_runtime_us = -0x1\n"}, {}),
    "minus, a blank, one": ({RT: "kernel.sched_rt_runtime_us = - 1\n"}, {"rt_limits.sched": "volatile"}),
    "fewer files may be open after the boot": ({LATE: "fs.nr_open = 4096\n"}, {"rt_limits.trader.nofile": "volatile"}),
    "fewer files, in hexadecimal": ({LATE: "fs.nr_open = 0x1000\n"}, {"rt_limits.trader.nofile": "volatile"}),
    "fewer files, and a remark": ({LATE: "fs.nr_open = 4096 # few\n"}, {"rt_limits.trader.nofile": "volatile"}),
    "fewer files, by a glob": ({LATE: "fs.nr_* = 4096\n"}, {"rt_limits.trader.nofile": "volatile"}),
    "a number of files that the kernel refuses": ({LATE: "fs.nr_open = 4_096\n"}, {}),
    "more pages by sysctl": ({LATE: "vm.nr_hugepages = 100\n"}, {"hugepages.2M.": "volatile"}),
    # --- one variable by two names ---
    "more pages by its other name": ({LATE: "vm.nr_hugepages_mempolicy = 0\n"}, {"hugepages.2M.": "volatile"}),
    "a total of pages by its other name": (
        {TMPFILES: "+w /proc/sys/vm/nr_hugepages_mempolicy - - - - 0\n"},
        {"hugepages.2M.": "unknown"},
    ),
    "tracked, then by the other name": (tracked(f"{MAX} = 262144\nnet.nf_conntrack_max = 1\n"), {LIMIT: "volatile"}),
    "tracked after the other name": (tracked(f"net.nf_conntrack_max = 1\n{MAX} = 262144\n"), {}),
    "tracked by the other name alone": (tracked("net/nf_conntrack_max=262144\n"), {}),
    "tracked, then by a glob of the other name": (
        tracked(f"{MAX} = 262144\nnet.nf_conntrack_m* = 1\n"),
        {LIMIT: "volatile"},
    ),
    "tracked, and a glob of both names": (tracked(f"{MAX} = 262144\nnet.*.nf_conntrack_max = 1\n"), {}),
    "tracked, and the other name is excluded": (
        tracked(f"{MAX} = 262144\nnet.nf_conntrack_m* = 1\n-net.nf_conntrack_max\n"),
        {},
    ),
    "forwarding by two names": (
        {**set_now("net.ipv4.ip_forward", 1), LATE: "net.ipv4.ip_forward = 1\nnet.ipv4.conf.all.forwarding = 0\n"},
        {"net_buffers.net.ipv4.ip_forward": "volatile"},
    ),
    "forwarding by the name of all": (
        {**set_now("net.ipv4.ip_forward", 1), LATE: "net.ipv4.conf.all.forwarding = 1\n"},
        {},
    ),
    # --- arguments of the kernel ---
    "unthrottled by an argument": ({RT: None, **boot_line(UNTHROTTLED)}, {}),
    "unthrottled by an argument with slashes": ({RT: None, **boot_line(UNTHROTTLED.replace(".", "/"))}, {}),
    "unthrottled by an argument in quotes": ({RT: None, **boot_line('sysctl.kernel.sched_rt_runtime_us="-1"')}, {}),
    "unthrottled by an argument, the service masked": (
        {"/etc/systemd/system/systemd-sysctl.service": "-> /dev/null", **boot_line(UNTHROTTLED)},
        {**dict.fromkeys((ALL, *OTHERS), "volatile"), "rt_limits.sched": "pass"},
    ),
    "an argument of this boot alone": ({RT: None, **boot_line(UNTHROTTLED, "/proc/cmdline")}, THROTTLED),
    "an argument with dashes": ({RT: None, **boot_line(UNTHROTTLED.replace("_", "-"))}, THROTTLED),
    "an argument with a blank": ({RT: None, **boot_line(UNTHROTTLED.replace(".", ". "))}, THROTTLED),
    "an argument behind the kernel's": ({RT: None, **boot_line(f"-- {UNTHROTTLED}")}, THROTTLED),
    "an argument of an old kernel": (
        {RT: None, **boot_line(UNTHROTTLED), "/proc/sys/kernel/osrelease": "5.4.0-200-generic\n"},
        THROTTLED,
    ),
    "a file goes above the argument": (
        {LATE: "kernel.sched_rt_runtime_us = 950000\n", **boot_line(UNTHROTTLED)},
        THROTTLED,
    ),
    "a file goes above a wrong argument": (boot_line("sysctl.kernel.sched_rt_runtime_us=950000"), {}),
    "fewer files by an argument": (
        boot_line("sysctl.fs.nr_open=4096", "/boot/grub/grub.cfg"),
        {"rt_limits.trader.nofile": "volatile"},
    ),
    "fewer files by an argument, and systemd raises it": (
        {**boot_line("sysctl.fs.nr_open=4096"), "/proc/sys/fs/nr_open": "1073741816\n"},
        {},
    ),
    "fewer files by an argument, more by a file": (
        {**boot_line("sysctl.fs.nr_open=4096"), LATE: "fs.nr_open = 1048576\n"},
        {},
    ),
    "no pages by an argument": (
        {TMPFILES: NO_POOLS, **boot_line("hugepagesz=2M hugepages=0:512,1:256 sysctl.vm.nr_hugepages=0")},
        {"hugepages.2M.": "volatile"},
    ),
    "no pages by an argument, but by tmpfiles.d": (boot_line("sysctl.vm.nr_hugepages=0"), {}),
    "a late module's key by an argument": (
        {**CONNTRACK, LATE: None, **boot_line(f"sysctl.{MAX}=262144")},
        {LIMIT: "volatile"},
    ),
    # --- masks and ranges ---
    "a mask is hexadecimal": (mask("8", "010", "010"), {"net_buffers.net.core.rps": "fail"}),
    "a mask is hexadecimal at boot": (mask("10", "00000010", "0x10"), {"net_buffers.net.core.rps": "volatile"}),
    "a mask in groups": (mask("f3", "00000000,000000f3", "f3"), {}),
    "a mask of digits in groups": (mask("8", "00000000,00000008", "0,8"), {}),
    "a mask in capitals": (mask("f3", "f3", "F3"), {}),
    "a mask's groups count": (mask("1,0", "00000001,00000000", "10"), {"net_buffers.net.core.rps": "volatile"}),
    "a mask without commas": (mask("1,0", "00000001,00000000", "100000000"), {"net_buffers.net.core.rps": "volatile"}),
    "ranges one by one": (ports("9000-9002", "9000-9002", "9000,9001,9002"), {}),
    "ranges in another order": (ports("5,9000-9002", "5,9000-9002", "9000-9001,9002,5,"), {}),
    "one of a range": (ports("9000", "9000-9002", "9000"), {"net_buffers.net.ipv4.ip_local": "fail"}),
    "ranges with a blank": (
        ports("9000-9002", "9000-9002", "9000, 9001,9002"),
        {"net_buffers.net.ipv4.ip_local": "volatile"},
    ),
    "ranges with another": (
        ports("9000-9002", "9000-9002", "9000-9003"),
        {"net_buffers.net.ipv4.ip_local": "volatile"},
    ),
    # --- keys that set others ---
    "forwarding takes redirects back": (redirects(1, f"{REDIRECTS} = 1\n{FORWARD} = 1\n"), {CONF: "volatile"}),
    "forwarding by its other name does": (
        redirects(1, f"{REDIRECTS} = 1\nnet.ipv4.conf.all.forwarding = 1\n"),
        {CONF: "volatile"},
    ),
    "all keys of all": (redirects(1, "net.ipv4.conf.all.* = 1\n"), {CONF: "volatile"}),
    "forwarding before": (redirects(1, f"{FORWARD} = 1\n{REDIRECTS} = 1\n"), {}),
    "forwarding as it is": (redirects(1, f"{REDIRECTS} = 1\n{FORWARD} = 0\n"), {}),
    "forwarding twice": (redirects(1, f"{FORWARD} = 1\n{REDIRECTS} = 1\nnet.ipv4.conf.*.forwarding = 1\n"), {}),
    "forwarding takes none back": (redirects(0, f"{REDIRECTS} = 0\n{FORWARD} = 1\n"), {}),
    "forwarding alone": (redirects(0, f"{FORWARD} = 1\n"), {}),
    "forwarding by an argument": (
        {**redirects(1, f"{REDIRECTS} = 1\n"), **boot_line(f"sysctl.{FORWARD}=1")},
        {},
    ),
    "forwarding of an interface": (
        {**set_now("net.ipv4.conf.eth0.forwarding", 0), LATE: f"net.ipv4.conf.eth0.forwarding = 0\n{FORWARD} = 1\n"},
        {CONF: "volatile"},
    ),
    "IPv6 of all interfaces": (
        {
            **set_now("net.ipv6.conf.eth0.disable_ipv6", 0),
            LATE: "net.ipv6.conf.eth0.disable_ipv6 = 0\nnet.ipv6.conf.all.disable_ipv6 = 1\n",
        },
        {"net_buffers.net.ipv6.conf": "volatile"},
    ),
    "IPv6 of an interface after that": (
        {
            **set_now("net.ipv6.conf.eth0.disable_ipv6", 0),
            LATE: "net.ipv6.conf.all.disable_ipv6 = 1\nnet.ipv6.conf.eth0.disable_ipv6 = 0\n",
        },
        {},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
