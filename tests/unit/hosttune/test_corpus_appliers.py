"""Hosts where a file of the administrator's changes what systemd-sysctl, systemd-modules-load or systemd-tmpfiles-setup
does at boot, or whether it does it: what it applies is not known then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts

SYSCTL, MODULES, TMPFILES = (f"systemd-{name}.service" for name in ("sysctl", "modules-load", "tmpfiles-setup"))
VENDOR = "/usr/lib/systemd/system"
#: Of Debian 12.
UNITS: dict[str, str] = {
    SYSCTL: "[Unit]\nDescription=Apply Kernel Variables\nConditionPathIsReadWrite=/proc/sys/net/\n"
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/lib/systemd/systemd-sysctl\nTimeoutSec=90s\n",
    MODULES: "[Unit]\nDescription=Load Kernel Modules\nConditionCapability=CAP_SYS_MODULE\n"
    "ConditionDirectoryNotEmpty=|/etc/modules-load.d\nConditionKernelCommandLine=|modules-load\n"
    "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/lib/systemd/systemd-modules-load\n",
    TMPFILES: "[Unit]\nDescription=Create Volatile Files and Directories\nRefuseManualStop=yes\n"
    "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
    "ExecStart=systemd-tmpfiles --create --remove --boot --exclude-prefix=/dev\nSuccessExitStatus=DATAERR CANTCREAT\n",
}
#: The programs, with arguments by which they do something else.
LESS = {
    SYSCTL: "/usr/lib/systemd/systemd-sysctl --prefix=/kernel",
    MODULES: "/usr/lib/systemd/systemd-modules-load /etc/other.conf",
    TMPFILES: "systemd-tmpfiles --create --remove --boot --exclude-prefix=/sys",
}
OPEN: dict[str, Expected] = {
    SYSCTL: dict.fromkeys(
        (
            *(f"net_buffers.{key}" for key in golden.SYSCTLS),
            *("tcp_bbr.congestion_control", "tcp_bbr.qdisc=", "rt_limits.sched_rt_runtime_us"),
        ),
        "unknown",
    ),
    MODULES: {"tcp_bbr.module": "unknown"},
    TMPFILES: dict.fromkeys(("hugepages.2M", "hugepages.transparent"), "unknown"),
}
# COMMAND stands for one of LESS.
CHANGING = {
    "another command": "[Service]\nExecStart=\nExecStart=COMMAND\n",
    "a command more": "[Service]\nExecStart=COMMAND\n",
    "nothing": "[Service]\nExecStart=/bin/true\n",
    "a condition": "[Unit]\nConditionPathExists=/nonexistent\n",
    "an assertion": "[Unit]\nAssertKernelVersion=>99\n",
    "a command that decides": "[Service]\nExecCondition=/bin/false\n",
    "a command before": "[Service]\nExecStartPre=/bin/false\n",
    "another user": "[Service]\nUser=nobody\n",
    "confined": "[Service]\nProtectKernelTunables=yes\n",
    "its own paths": "[Service]\nReadOnlyPaths=/proc/sys\n",
}
HARMLESS = {
    "other settings": "[Unit]\nAfter=network.target\n[Service]\nNice=5\nTimeoutSec=10\nEnvironment=A=b\n",
    "not confined": "[Service]\nProtectKernelTunables=no\n",
    "no condition": "[Unit]\nConditionPathIsReadWrite=\n",
    "a condition that is taken back": "[Unit]\nConditionPathExists=/nonexistent\nConditionPathExists=\n",
    "a comment": "# [Service]\n#ExecStart=/bin/true\n",
    "an assignment of another section": "[Unit]\nExecStart=/bin/true\n",
}


def ship(service: str) -> Changes:
    return {f"{VENDOR}/{service}": UNITS[service], f"{VENDOR}/sysinit.target.wants/{service}": f"-> ../{service}"}


def drop_in(service: str, text: str, top: str = golden.UNITS, name: str = "") -> Changes:
    return {f"{top}/{name or service}.d/x.conf": text.replace("COMMAND", LESS[service])}


@pytest.mark.parametrize("service", UNITS)
@pytest.mark.parametrize("name", CHANGING)
def test_a_drop_in(name: str, service: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes = {**ship(service), **drop_in(service, CHANGING[name])}
    corpus.assert_judged(changes, OPEN[service], fake_host, tmp_path)


@pytest.mark.parametrize("service", UNITS)
@pytest.mark.parametrize("name", HARMLESS)
def test_a_drop_in_that_changes_nothing(name: str, service: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes = {**ship(service), **drop_in(service, HARMLESS[name])}
    corpus.assert_judged(changes, {}, fake_host, tmp_path)


LINE = "w /proc/sys/net/core/busy_poll - - - - 0\n"
CONDITION = CHANGING["a condition"]
HOSTS: Hosts = {
    "the distribution's own": (ship(SYSCTL) | ship(MODULES) | ship(TMPFILES), {}),
    **{
        f"a file in place of {service}": (
            {**ship(service), f"{golden.UNITS}/{service}": "[Service]\nExecStart=/bin/true\n"},
            OPEN[service],
        )
        for service in UNITS
    },
    "a link to the distribution's": (
        {**ship(SYSCTL), f"{golden.UNITS}/{SYSCTL}": f"-> {VENDOR}/{SYSCTL}"},
        {},
    ),
    "a drop-in without the unit": (drop_in(SYSCTL, CONDITION), OPEN[SYSCTL]),
    "of all services": (
        {**ship(SYSCTL), f"{golden.UNITS}/service.d/x.conf": CONDITION},
        # That of the interrupts' service, too.
        OPEN[SYSCTL] | OPEN[MODULES] | OPEN[TMPFILES] | {"irq_affinity.queues": "unknown"},
    ),
    "of a prefix": ({**ship(MODULES), **drop_in(MODULES, CONDITION, name="systemd-modules-.service")}, OPEN[MODULES]),
    "that the next boot does not find": (
        {**ship(SYSCTL), **drop_in(SYSCTL, CONDITION, top="/run/systemd/system")},
        {},
    ),
    "of another service": ({**ship(SYSCTL), **drop_in(SYSCTL, CONDITION, name="systemd-sysctl2.service")}, {}),
    "of its other name": (
        {
            **ship(SYSCTL),
            f"{VENDOR}/procps.service": f"-> {SYSCTL}",
            **drop_in(SYSCTL, CONDITION, name="procps.service"),
        },
        OPEN[SYSCTL],
    ),
    "of what is not its other name": ({**ship(SYSCTL), **drop_in(SYSCTL, CONDITION, name="procps.service")}, {}),
    "masked too": (
        {**ship(MODULES), **drop_in(MODULES, CONDITION), f"{golden.UNITS}/{MODULES}": "-> /dev/null"},
        {"tcp_bbr.module": "warn"},
    ),
    "a line for a sysctl that may not be written": (
        {**ship(TMPFILES), **drop_in(TMPFILES, CONDITION), "/etc/tmpfiles.d/x.conf": LINE},
        {**OPEN[TMPFILES], "net_buffers.net.core.busy_poll": "unknown"},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)


def test_what_to_do(fake_host: type[Any]) -> None:
    for service in UNITS:
        report = corpus.judge(corpus.make(fake_host, ship(service) | drop_in(service, CONDITION)))
        fixes = {one.fix for one in report.findings if one.status == "unknown"}
        assert fixes == {
            f"# {golden.UNITS}/{service}.d/x.conf changes what a service of systemd applies at boot: "
            "take out what does so"
        }
