"""Hosts where lines of tmpfiles.d write to sysctls and to affinities of interrupts, in many words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus
from tests.unit.hosttune.corpus import Changes, Expected
from tests.unit.hosttune.test_corpus_sysctl_services import LINE

FILE = "/etc/tmpfiles.d/desk.conf"
VENDOR = "/usr/lib/tmpfiles.d/desk.conf"
KEY = "/proc/sys/net/core/rmem_max"
MASK = "/proc/irq/default_smp_affinity"
RIGHT: Expected = {}
LOST: Expected = {"net_buffers.net.core.rmem_max": "volatile"}
OPEN: Expected = {"net_buffers.net.core.rmem_max": "unknown"}
DEFAULT: Expected = {"irq_affinity.default_smp_affinity": "volatile"}


def lines(*texts: str, file: str = FILE) -> Changes:
    return {file: "".join(f"{text}\n" for text in texts)}


HOSTS: dict[str, tuple[Changes, Expected]] = {
    # systemd-sysctl and systemd-tmpfiles run in no fixed order.
    "a sysctl": (lines(f"w {KEY} - - - - 212992"), OPEN),
    "a sysctl at boot only": (lines(f"w! {KEY} - - - - 212992"), OPEN),
    "a sysctl, right": (lines(f"w {KEY} - - - - 67108864"), RIGHT),
    "a sysctl, right, hexadecimal": (lines(f"w+ {KEY} - - - - 0x4000000"), RIGHT),
    "a sysctl, right, with an end of line": (lines(rf"w {KEY} - - - - 67108864\n"), RIGHT),
    "a sysctl, of nothing else": (corpus.without(lines(f"w {KEY} - - - - 67108864"), LINE), RIGHT),
    "a sysctl, of nothing else, wrong": (corpus.without(lines(f"w {KEY} - - - - 212992"), LINE), LOST),
    "a sysctl that the kernel refuses": (lines(f"w {KEY} - - - - 64M"), RIGHT),
    "another sysctl": (lines("w /proc/sys/net/core/rmem_default - - - - 1"), RIGHT),
    "a sysctl by a glob": (lines("w /proc/sys/net/core/?mem_max - - - - 1"),
                           {**OPEN, "net_buffers.net.core.wmem_max": "unknown"}),
    "a sysctl by a directory's glob": (lines("w /proc/sys/*/core/rmem_max - - - - 1"), OPEN),
    "a sysctl by braces": (lines("w /proc/{sys,x}/net/core/rmem_max - - - - 1"), OPEN),
    "a sysctl by quotes": (lines(f'w "{KEY}" - - - - 1'), OPEN),
    "a sysctl of three values": (lines("w /proc/sys/net/ipv4/tcp_rmem - - - - 4096 87380 6291456"),
                                 {"net_buffers.net.ipv4.tcp_rmem": "unknown"}),
    "a sysctl of three values, right": (lines("w /proc/sys/net/ipv4/tcp_rmem - - - - 4096 131072 67108864"), RIGHT),
    "a sysctl of words": (lines("w /proc/sys/net/ipv4/tcp_congestion_control - - - - cubic"),
                          {"tcp_bbr.congestion_control": "unknown"}),
    "a sysctl of what the host is": (lines(f"w {KEY} - - - - %m"), OPEN),
    "a sysctl that is made": (lines(f"f {KEY} - - - - 1"), RIGHT),
    "a sysctl that is made or truncated": (lines(f"F {KEY} - - - - 1"), OPEN),
    "a comment": (lines(f"#w {KEY} - - - - 1"), RIGHT),
    "without an argument": (lines(f"w {KEY} - - - -"), RIGHT),
    "a line that is refused": (lines(f"w {KEY} - - - - \\q"), RIGHT),
    "a duplicate": (lines(f"w {KEY} - - - - 67108864", f"w {KEY} - - - - 1"), RIGHT),
    "a file of another name": ({"/etc/tmpfiles.d/desk.conf.off": f"w {KEY} - - - - 1\n"}, RIGHT),
    "a vendor's": (lines(f"w {KEY} - - - - 1", file=VENDOR), OPEN),
    "a vendor's that is masked": ({**lines(f"w {KEY} - - - - 1", file=VENDOR), FILE: "-> /dev/null"}, RIGHT),
    "what the next boot does not find": (lines(f"w {KEY} - - - - 1", file="/run/tmpfiles.d/desk.conf"), RIGHT),
    "real-time throttling": (lines("w /proc/sys/kernel/sched_rt_runtime_us - - - - 950000"),
                             {"rt_limits.sched_rt_runtime_us": "unknown"}),
    "the default mask": (lines(f"w {MASK} - - - - ff"), DEFAULT),
    "the default mask, right": (lines(f"w {MASK} - - - - 3"), RIGHT),
    "the default mask by a glob": (lines("w /proc/irq/default_* - - - - ff"), DEFAULT),
    "the default mask by braces": (lines("w /proc/{irq,no}/default_smp_affinity - - - - ff"), DEFAULT),
    "an interrupt": (lines("w /proc/irq/30/smp_affinity_list - - - - 1"), RIGHT),
    "an interrupt that may be an isolated CPU's": (
        lines("w /proc/irq/30/smp_affinity_list - - - - 2"),
        {"irq_affinity.default_smp_affinity": "unknown", "irq_affinity.queues.eth0": "unknown"},
    ),
    "what is no affinity": (lines("w /proc/irq/30/affinity_hint - - - - 5"), RIGHT),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes, expected = HOSTS[name]
    corpus.assert_judged(changes, expected, fake_host, tmp_path)


BROKEN = [name for name, (_, expected) in HOSTS.items() if expected]


@pytest.mark.parametrize("name", BROKEN)
def test_each_fix_works(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    """As printed, on files: the line goes, of a vendor's file in a copy of it, and sysctl.d says what is wanted."""
    host = corpus.make(fake_host, HOSTS[name][0])
    corpus.apply_fixes(host, tmp_path)
    assert all(one.status == "pass" for one in corpus.judge(host).findings)
