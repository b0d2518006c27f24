"""Hosts whose huge pages something other than tmpfiles.d decides at boot: what services run and what they do not, what
starts them, /etc/rc.local, and services of systemd's own that are masked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected, Hosts
from tests.unit.hosttune.test_corpus_boot import NEVER, PAGES, THP, WANTS, coming, more, service, thp

FILE = f"{THP}/enabled"
POOL = "/proc/sys/vm/nr_hugepages"
SHELL = f"ExecStart=/bin/sh -c 'echo never > {FILE}'"
LOST: Expected = {NEVER: "volatile"}
OPEN: Expected = {NEVER: "unknown"}
POOLS_OPEN: Expected = {PAGES: "unknown"}
RC_LOCAL, GENERATED = "/etc/rc.local", "/run/systemd/generator"
NOTHING = thp("# nothing here")


def beside(command: str, unit: str = "") -> Changes:
    """A service beside the line of tmpfiles.d."""
    return {path: text for path, text in service(command, "x.service", unit).items() if "tmpfiles" not in path}


def wanted_by(target: str, command: str = SHELL) -> Changes:
    return {
        **service(command),
        f"{WANTS}/thp.service": None,
        f"{golden.UNITS}/{target}.wants/thp.service": f"-> {golden.UNITS}/thp.service",
    }


def timed(command: str, timer: str = "[Timer]\nOnBootSec=1min\n", name: str = "thp") -> Changes:
    """A service that an enabled timer starts, beside the line of tmpfiles.d."""
    return {
        f"{golden.UNITS}/thp.service": f"[Service]\n{command}\n",
        f"{golden.UNITS}/{name}.timer": timer,
        f"{golden.UNITS}/timers.target.wants/{name}.timer": f"-> {golden.UNITS}/{name}.timer",
    }


def rc_local(*lines: str, start: str = "#!/bin/sh -e") -> Changes:
    return {**NOTHING, RC_LOCAL: "\n".join([start, *lines, ""])}


def masked(name: str) -> Changes:
    return {f"{golden.UNITS}/{name}": "-> /dev/null"}


WRITE = f"echo never > {FILE}"
HOSTS: Hosts = {
    # --- what redirects ---
    "no shell": (service(f"ExecStart=/bin/echo never > {FILE}"), LOST),
    "no shell, by a pipe": (service(f"ExecStart=/bin/echo never | tee {FILE}"), LOST),
    "no shell, another value beside": (beside(f"ExecStart=/bin/echo always > {FILE}"), {}),
    "a shell by env": (service(f"ExecStart=/usr/bin/env sh -c 'echo never > {FILE}'"), {}),
    "a shell by env with a variable": (service(f"ExecStart=/usr/bin/env A=b bash -c 'echo never > {FILE}'"), {}),
    "a shell with options": (service(f"ExecStart=-/bin/bash -e -o pipefail -c 'echo never > {FILE}'"), {}),
    "a shell in double quotes": (service(f'ExecStart=/usr/bin/bash -lc "echo never > {FILE}"'), {}),
    "a shell behind another command": (service(f"ExecStart=/bin/true ; /bin/sh -c 'echo never > {FILE}'"), {}),
    "a shell through a program": (service(f"ExecStart=/usr/bin/timeout 5 sh -c 'echo never > {FILE}'"), OPEN),
    "tee without a pipe": (service(f"ExecStart=/usr/bin/tee {FILE}"), OPEN),
    "a script": (
        {**service("ExecStart=/usr/local/sbin/thp"), "/usr/local/sbin/thp": f"#!/bin/bash\nset -e\n{WRITE}\n"},
        {},
    ),
    "a script of no interpreter": (
        {**service("ExecStart=/usr/local/sbin/thp"), "/usr/local/sbin/thp": f"{WRITE}\n"},
        LOST,
    ),
    "a script of no interpreter that a shell is given": (
        {**service("ExecStart=/bin/sh /usr/local/sbin/thp"), "/usr/local/sbin/thp": f"{WRITE}\n"},
        {},
    ),
    "a script of Python": (
        {
            **service("ExecStart=/usr/local/sbin/thp"),
            "/usr/local/sbin/thp": f"#!/usr/bin/python3\nimport os\nos.system('{WRITE}')\n",
        },
        OPEN,
    ),
    "a script that ends before": (
        {**service("ExecStart=/usr/local/sbin/thp"), "/usr/local/sbin/thp": f"#!/bin/sh\nexec /opt/x\n{WRITE}\n"},
        LOST,
    ),
    "a script whose name has the file's": (
        {
            **service("ExecStart=/usr/local/sbin/no_transparent_hugepage.sh"),
            "/usr/local/sbin/no_transparent_hugepage.sh": f"#!/bin/sh\n{WRITE}\n",
        },
        {},
    ),
    # --- /etc/rc.local ---
    "rc.local that ends before": (rc_local("exit 0", WRITE), LOST),
    "rc.local that ends before, with a remark": (rc_local("exit 0 # that was all", WRITE), LOST),
    "rc.local that may end before": (rc_local("if [ -f /etc/x ]; then", "exit 0", "fi", WRITE), OPEN),
    "rc.local that may end before, indented": (rc_local("if [ -f /etc/x ]; then", "  exit 0", "fi", WRITE), OPEN),
    "rc.local that ends with its host": (rc_local("[ -d /sys ] || exit 0", WRITE, "exit 0"), {}),
    "rc.local of no interpreter": (rc_local(WRITE, start="# rc.local"), LOST),
    "rc.local of another shell": (rc_local(WRITE, start="#!/usr/bin/env bash"), {}),
    "rc.local that a generator starts": (
        {
            **rc_local(WRITE),
            f"{GENERATED}/multi-user.target.wants/rc-local.service": "-> /lib/systemd/system/rc-local.service",
        },
        {},
    ),
    "rc.local that no generator starts": (
        {**rc_local(WRITE), f"{GENERATED}/local-fs.target.wants/tmp.mount": "-> ../tmp.mount"},
        OPEN,
    ),
    "rc.local that no generator starts, of no matter": (
        {RC_LOCAL: f"#!/bin/sh\n{WRITE}\n", f"{GENERATED}/local-fs.target.wants/tmp.mount": "-> ../tmp.mount"},
        {},
    ),
    "rc.local that is masked": ({**rc_local(WRITE), **masked("rc-local.service")}, LOST),
    # --- what starts a service ---
    **{
        f"a service of {target}": (wanted_by(f"{target}.target"), LOST)
        for target in ("suspend", "sleep", "hibernate", "rescue", "emergency", "shutdown", "reboot", "poweroff")
    },
    "a service of basic.target": (wanted_by("basic.target"), {}),
    "a service with a condition": (service(SHELL, unit="ConditionPathExists=/etc/tuned\n"), OPEN),
    "a service with an assertion": (service(SHELL, unit="AssertPathExists=/etc/tuned\n"), OPEN),
    "a service with a condition that is reset": (
        service(SHELL, unit="ConditionPathExists=/etc/tuned\nConditionPathExists=\n"),
        {},
    ),
    "a service with a condition by a drop-in": (
        {**service(SHELL), f"{golden.UNITS}/thp.service.d/x.conf": "[Unit]\nConditionFirstBoot=yes\n"},
        OPEN,
    ),
    "a service with a condition that holds": (service(SHELL, unit=f"ConditionPathExists={FILE}\n"), {}),
    "a service with a condition, on the wrong value": (
        beside(SHELL.replace("never", "always"), "ConditionPathExists=/etc/x\n"),
        OPEN,
    ),
    "a service with a condition, of no matter": (beside(SHELL, "ConditionPathExists=/etc/x\n"), {}),
    "a service with a condition, and one without": (
        {
            **service(SHELL),
            f"{golden.UNITS}/y.service": f"[Unit]\nConditionPathExists=/etc/x\n[Service]\n{SHELL}\n",
            f"{WANTS}/y.service": f"-> {golden.UNITS}/y.service",
        },
        {},
    ),
    "a timer": (timed(SHELL.replace("never", "always")), OPEN),
    "a timer that names its service": (
        timed(SHELL.replace("never", "always"), "[Timer]\nOnBootSec=1\nUnit=thp.service\n", "x"),
        OPEN,
    ),
    "a timer of another service": (
        timed(SHELL.replace("never", "always"), "[Timer]\nOnBootSec=1\nUnit=y.service\n"),
        {},
    ),
    "a timer that says the same": (timed(SHELL), {}),
    "a timer that is masked": (
        {**timed(SHELL.replace("never", "always")), f"{golden.UNITS}/thp.timer": "-> /dev/null"},
        {},
    ),
    "a timer alone": ({**NOTHING, **timed(SHELL)}, OPEN),
    # --- what writes in other words ---
    "sysctl -w": (beside("ExecStart=/sbin/sysctl -w vm.nr_hugepages=0"), POOLS_OPEN),
    "sysctl -w by a shell": (beside("ExecStart=/bin/sh -c 'sysctl -w vm.nr_hugepages=0'"), POOLS_OPEN),
    "sysctl that looks": (beside("ExecStart=/sbin/sysctl vm.nr_hugepages"), {}),
    "sysctl of another key": (beside("ExecStart=/sbin/sysctl -w vm.swappiness=0"), {}),
    "dd": (beside(f"ExecStart=/bin/dd if=/etc/x of={POOL}"), POOLS_OPEN),
    "hugeadm": (beside("ExecStart=/usr/bin/hugeadm --pool-pages-min 2M:3"), POOLS_OPEN),
    "hugeadm of the policy": (beside("ExecStart=/usr/bin/hugeadm --thp-always"), {NEVER: "unknown", PAGES: "unknown"}),
    "DPDK's tool": (beside("ExecStart=/usr/bin/dpdk-hugepages.py --setup 2G"), POOLS_OPEN),
    "DPDK's tool that looks": (beside("ExecStart=/usr/bin/dpdk-hugepages.py --show"), {}),
    "words on the file": (beside("ExecStart=/bin/sh -c 'echo nr_hugepages is set; logger transparent_hugepage'"), {}),
    "words on the file for sysctl": (beside("ExecStart=/bin/sh -c 'echo vm.nr_hugepages=0 | sysctl -p -'"), POOLS_OPEN),
    # --- services of systemd's own ---
    "tmpfiles.d by nobody": (masked("systemd-tmpfiles-setup.service"), {PAGES: "volatile", NEVER: "volatile"}),
    "tmpfiles.d by nobody, an empty file": (
        {f"{golden.UNITS}/systemd-tmpfiles-setup.service": ""},
        {PAGES: "volatile", NEVER: "volatile"},
    ),
    "tmpfiles.d by nobody, and by a service": (
        {**masked("systemd-tmpfiles-setup.service"), **service(SHELL)},
        {PAGES: "volatile"},
    ),
    "tmpfiles.d by nobody, the line asks too": (
        {**masked("systemd-tmpfiles-setup.service"), **more("hugepages=0:512,1:256 transparent_hugepage=never")},
        {},
    ),
    "tmpfiles.d by nobody, of the line": (
        coming(golden.BOOT, f"{golden.BOOT} systemd.mask=systemd-tmpfiles-setup.service"),
        {PAGES: "volatile", NEVER: "volatile"},
    ),
    "the cleaner is masked": (masked("systemd-tmpfiles-clean.service"), {}),
    "another one is masked by the line": (coming(golden.BOOT, f"{golden.BOOT} systemd.mask=tmp.mount"), {}),
    "sysctl.d by nobody, of the line": (
        coming(golden.BOOT, f"{golden.BOOT} systemd.mask=systemd-sysctl"),
        dict.fromkeys(
            (
                *(f"net_buffers.{key}" for key in golden.SYSCTLS),
                *("tcp_bbr.congestion_control", "tcp_bbr.qdisc=", "rt_limits.sched_rt_runtime_us"),
            ),
            "volatile",
        ),
    ),
    # The kernel loads it when the key is written, as where no line is for it.
    "modules by nobody": (masked("systemd-modules-load.service"), {"tcp_bbr.module": "warn"}),
    "modules by nobody, of the line": (
        coming(golden.BOOT, f"{golden.BOOT} systemd.mask=systemd-modules-load"),
        {"tcp_bbr.module": "warn"},
    ),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)
