"""What can be wrong with one path that a check reads, and which findings hang on it.

A finding hangs on a path if there is something that could stand there with which the finding does not pass. Such a
finding cannot pass while the path could not be read: what it would have said is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from hosttune import checker
from hosttune.host.root import Fact, Root, accept_text, make_unreadable
from hosttune.profile import Profile
from tests.unit.hosttune import golden

NODES, CPUS = golden.NODES, golden.CPUS
#: What stands in a file of a kind such that what hangs on it does not pass.
WRONG: dict[str, str] = {
    r"/sysctl(\.d/[^/]*)?\.conf$": "".join(f"{key} = 1\n" for key in golden.SYSCTLS)
    + "net.core.default_qdisc = pfifo\nnet.ipv4.tcp_congestion_control = cubic\nkernel.sched_rt_runtime_us = 5\n"
    "vm.nr_hugepages = 1\n",
    r"/modules-load\.d/": "nothing\n",
    r"/tmpfiles\.d/": f"w {NODES}/node0/hugepages/hugepages-2048kB/nr_hugepages - - - - 1\n"
    f"w {NODES}/node1/hugepages/hugepages-2048kB/nr_hugepages - - - - 1\n"
    "w /sys/kernel/mm/transparent_hugepage/enabled - - - - always\n",
    r"/systemd/system\.conf": "[Manager]\nCPUAffinity=\nCPUAffinity=2\nDefaultLimitMEMLOCK=1\nDefaultLimitRTPRIO=1\n"
    "DefaultLimitNICE=0\nDefaultLimitNOFILE=1\n",
    r"irqbalance\.service": "[Service]\nEnvironment=IRQBALANCE_BANNED_CPULIST=3\nExecStart=/usr/sbin/irqbalance\n",
    r"hosttune-irq_affinity\.service": "[Service]\nExecStart=\nExecStart=/bin/true\nExecStartPre=\nUser=x\n",
    r"\.service": "[Service]\nUser=trader\nExecStart=/opt/a\nLimitMEMLOCK=1\nLimitRTPRIO=1\nLimitNICE=0\n"
    "LimitNOFILE=1\n",
    r"/etc/security/": "trader - memlock 1\ntrader - rtprio 1\ntrader - nice 0\ntrader - nofile 1\n",
    r"/etc/pam\.d/": "session required pam_unix.so\n",
    r"/etc/default/irqbalance": "IRQBALANCE_BANNED_CPULIST=3\n",
    r"/boot/grub2?/grub\.cfg": "menuentry x {\n linux /vmlinuz ro\n}\n",
    r"/boot/grub/grubenv": "next_entry=9\n",
    r"/etc/passwd": "trader:x:900:900::/:/bin/sh\n",
    r"/etc/group": "",
    r"/proc/cmdline": "BOOT_IMAGE=/vmlinuz ro\n",
    r"/transparent_hugepage/(hugepages-\d+kB/)?enabled": "[always] madvise never\n",
    r"/proc/\d+/limits": golden.make_limits(unlimited=False),
    r"profile.d/irq_affinity.yml": "irq_affinity: {housekeeping: 2-3, queues: {eth0: '3'}}\n",
    r"/fair_server/": "50000000\n",
}
#: What takes the place of text in a file of the kernel's.
NUMBERS = ("0", "1", "2", "3", "999", "0-7", "2-3", "ff", "fc")
KERNEL = ("/proc/", "/sys/")
#: A name that sorts last in a directory, and what a file of the name holds.
NEW_NAMES: dict[str, tuple[str, str]] = {
    r"/(sysctl|modules-load|tmpfiles|limits|system\.conf)\.d$": ("zzzz.conf", ""),
    r"\.service\.d$": ("zzzz.conf", ""),
    r"/systemd/system$": ("zzzz.service", ""),
    r"^/etc/pam\.d$": ("login", ""),
}


class OnePath:
    """A host, of which one path is otherwise: `kind` is read, list or link, `fact` what that gives."""

    def __init__(self, host: Any, kind: str, path: str, fact: Fact[Any]) -> None:
        self.source, self.taken = host.source, host.taken
        self._host, self._changed = host, {(kind, path): fact}

    def change(self, kind: str, path: str, fact: Fact[Any]) -> OnePath:
        self._changed[kind, path] = fact
        return self

    def read(self, path: str) -> Fact[str]:
        return self._changed.get(("read", path)) or self._host.read(path)

    def list(self, path: str) -> Fact[Any]:
        return self._changed.get(("list", path)) or self._host.list(path)

    def link(self, path: str) -> Fact[str]:
        return self._changed.get(("link", path)) or self._host.link(path)

    def netlink(self, request: str) -> Fact[Any]:
        return self._changed.get(("netlink", request)) or self._host.netlink(request)

    def later(self, seconds: float) -> None:
        return None


class Recorded:
    """A host that writes down what is asked of it."""

    def __init__(self, host: Any) -> None:
        self.source, self.taken, self.asked = host.source, host.taken, dict[tuple[str, str], Fact[Any]]()
        self._host = host

    def _ask(self, kind: str, path: str) -> Fact[Any]:
        fact: Fact[Any] = getattr(self._host, kind)(path)
        self.asked[kind, path] = fact
        return fact

    def read(self, path: str) -> Fact[str]:
        return self._ask("read", path)

    def list(self, path: str) -> Fact[Any]:
        return self._ask("list", path)

    def link(self, path: str) -> Fact[str]:
        return self._ask("link", path)

    def netlink(self, request: str) -> Fact[Any]:
        return self._ask("netlink", request)

    def later(self, seconds: float) -> None:
        return None


def judge(profile: Profile, host: Root) -> dict[str, str]:
    """Returns the status of each finding by its id."""
    return {finding.id: finding.status for finding in checker.run_checks(profile, host).findings}


def find_hanging(profile: Profile, host: Any, kind: str, path: str, fact: Fact[Any]) -> frozenset[str]:
    """Returns the findings that pass on the host, and that something else at the path would keep from passing."""
    passing = {id for id, status in judge(profile, host).items() if status == "pass"}
    hanging: set[str] = set()
    for probe in _list_probes(host, kind, path, fact):
        found = judge(profile, probe)
        hanging |= {id for id in passing if found.get(id, "pass") != "pass"}
    return frozenset(hanging)


def _list_probes(host: Any, kind: str, path: str, fact: Fact[Any]) -> Iterator[OnePath]:
    if kind == "read":
        for text in dict.fromkeys(_list_texts(path, fact.value or "")):
            yield OnePath(host, kind, path, Fact("value", text, path))
    elif kind == "list":
        yield OnePath(host, kind, path, Fact("absent", None, path, "ENOENT"))
        names: list[str] = fact.value or []
        for gone in names:
            yield OnePath(host, kind, path, Fact("value", [name for name in names if name != gone], path))
        for pattern, (name, _) in NEW_NAMES.items():
            if re.search(pattern, path):
                more = Fact("value", sorted({*names, name}), path)
                new = f"{path}/{name}"
                yield OnePath(host, kind, path, more).change("read", new, Fact("value", find_wrong(new), new))
    elif kind == "link":
        yield OnePath(host, kind, path, Fact("absent", None, path, "not a symbolic link"))
        yield OnePath(host, kind, path, Fact("value", "/dev/null", path))
    else:
        rows = [{**row, "kind": "pfifo"} for row in fact.value or []]
        yield OnePath(host, kind, path, Fact("value", rows, path))


def find_new_name(path: str) -> str:
    """Returns the name of a file that would count in a directory, empty if none would."""
    return next((name for pattern, (name, _) in NEW_NAMES.items() if re.search(pattern, path)), "")


def find_wrong(path: str) -> str:
    """Returns a text for a file with which what hangs on it does not pass, empty if none is known."""
    return next((text for pattern, text in WRONG.items() if re.search(pattern, path)), "")


def _list_texts(path: str, text: str) -> Iterator[str]:
    wrong = find_wrong(path)
    if wrong:
        yield wrong
        yield text + wrong
        yield wrong + text
    lines = text.splitlines(keepends=True)
    if 1 < len(lines) < 30:
        for number in range(len(lines)):
            yield "".join(lines[:number] + lines[number + 1 :])
    if path.startswith(KERNEL):
        yield from (f"{number}\n" for number in NUMBERS)
        fields = re.findall(r"^(Cpus_allowed_list|Uid|Name|PPid):", text, re.MULTILINE)
        for field in fields:
            for words in ("1001\t1001\t1001\t1001", "2", "0-7", "0"):
                yield re.sub(rf"^{field}:.*", f"{field}:\t{words}", text, flags=re.MULTILINE)


def list_breaks(fact: Fact[Any], path: str) -> Iterator[tuple[str, Fact[Any]]]:
    """Yield what may become of a path, by name.

    What is refused stands for all that is unreadable by test_root.py: EACCES, EIO, a directory in place of a file, a
    loop of links, more bytes than are read. Configuration that is garbage, empty, missing or cut off is another one,
    and its programs ignore what they do not understand: NULs apart, it is not among the breaks.
    """
    yield "refused", make_unreadable(path, "EIO")
    if isinstance(fact.value, str):
        yield "NULs", accept_text("\0" * len(fact.value or "x"), path)
        if path.startswith(KERNEL):
            yield "garbage", Fact("value", "\x7f\ufffd\ufffd\x01@#!%" * 40, path)
            yield "empty", Fact("value", "", path)
    if path.startswith(KERNEL) and fact.state == "value":
        yield "missing", Fact("absent", None, path, "ENOENT")
