"""Hosts where something sets the policy of huge pages, the default affinity, or a sysctl, wrongly at boot: a service,
as root, as another user or confined; cron; a script of /etc/init.d; a script that nobody can read. All knobs are judged
alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from hosttune.host.root import Tree
from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected

UNIT, LINK = f"{golden.UNITS}/x.service", f"{golden.UNITS}/multi-user.target.wants/x.service"
SCRIPT = "/opt/x"
POLICY = "echo always > /sys/kernel/mm/transparent_hugepage/enabled"
AFFINITY = "echo ff > /proc/irq/default_smp_affinity"
SYSCTL = "sysctl -qw net.core.rmem_max=212992"
KNOBS = {
    "policy": (POLICY, "hugepages.transparent"),
    "affinity": (AFFINITY, "irq_affinity.default"),
    "sysctl": (SYSCTL, "net_buffers.net.core.rmem_max"),
}
PROGRAM = "\x7fELF" + "\0" * (10 << 20)
Outcome = Literal["writes", "nothing", "unknown"]

# COMMAND stands for shell that writes, SCRIPT for a file with it.
SERVICES: dict[str, tuple[str, Outcome]] = {
    "root": ("ExecStart=COMMAND", "writes"),
    "root by name": ("User=root\nExecStart=COMMAND", "writes"),
    "root by number": ("User=0\nExecStart=COMMAND", "writes"),
    "root again": ("User=trader\nUser=\nExecStart=COMMAND", "writes"),
    "another user": ("User=trader\nExecStart=COMMAND", "nothing"),
    "another user, before": ("User=trader\nExecStartPre=COMMAND\nExecStart=/opt/y", "nothing"),
    "another user, but for this command": ("User=trader\nExecStartPre=+COMMAND\nExecStart=/opt/y", "writes"),
    "another user, but for this one too": ("User=trader\nExecStartPost=-!COMMAND\nExecStart=/opt/y", "writes"),
    "another user for the program alone": (
        "User=trader\nPermissionsStartOnly=yes\nExecStartPre=COMMAND\nExecStart=/opt/y",
        "writes",
    ),
    "another user for the program too": ("User=trader\nPermissionsStartOnly=on\nExecStart=COMMAND", "nothing"),
    "a dynamic user": ("DynamicUser=True\nExecStart=COMMAND", "nothing"),
    "no dynamic user": ("DynamicUser=yes\nDynamicUser=no\nExecStart=COMMAND", "writes"),
    "root, if dynamic": ("DynamicUser=yes\nUser=root\nExecStart=COMMAND", "writes"),
    "confined": ("ProtectKernelTunables=true\nExecStart=COMMAND", "nothing"),
    "confined, and not": ("ProtectKernelTunables=1\nExecStartPre=+COMMAND\nExecStart=/opt/y", "writes"),
    "confined, with a user": ("ProtectKernelTunables=y\nExecStartPre=!COMMAND\nExecStart=/opt/y", "nothing"),
    "not confined": ("ProtectKernelTunables=no\nExecStart=COMMAND", "writes"),
    "another user by a script": ("User=trader\nExecStart=SCRIPT", "nothing"),
    "a script": ("ExecStart=SCRIPT", "writes"),
    "a script by sudo": ("User=trader\nExecStart=/usr/bin/sudo SCRIPT", "writes"),
    "a script by sudo of nobody": ("User=trader\nExecStart=/usr/bin/sudo -u nobody SCRIPT", "nothing"),
    "a script by runuser": ("ExecStart=/usr/sbin/runuser -u trader -- SCRIPT", "nothing"),
    "a script by runuser of root": ("ExecStart=/usr/sbin/runuser -u root -- SCRIPT", "writes"),
    "a script by a shell": ("ExecStart=/bin/sh SCRIPT", "writes"),
}
# What shell may make of a part of the name.
GLOBS = ["transparent_huge*", "*", "trans*page", "t?ansparent_hugepage", "[t]ransparent_hugepage"]
# What the script is in place of lines for a shell.
FILES: dict[str, tuple[str | None, Outcome]] = {
    "refused": ("!EACCES", "unknown"),
    "too large": ("#!/bin/sh\n" + "x" * (10 << 20), "unknown"),
    "not there": (None, "nothing"),
    "a large program": (PROGRAM, "nothing"),
    "a large zip application": ("#!/usr/bin/python3\nPK\x03\x04" + "\0" * (10 << 20), "nothing"),
}
STATUS = {"writes": "volatile", "unknown": "unknown"}


def make_host(lines: str, script: str | None) -> Changes:
    return {UNIT: f"[Service]\nType=oneshot\n{lines}\n", LINK: f"-> {UNIT}", SCRIPT: script}


def expect(start: str, outcome: Outcome) -> Expected:
    return {start: STATUS[outcome]} if outcome in STATUS else {}


@pytest.mark.parametrize("shell", ["/bin/sh -c 'LINE'", "/usr/bin/env bash -ec 'LINE'"])
@pytest.mark.parametrize("name", SERVICES)
def test_a_service(name: str, shell: str, fake_host: type[Any], tmp_path: Path) -> None:
    text, outcome = SERVICES[name]
    for knob, (line, start) in KNOBS.items():
        service = text.replace("COMMAND", shell.replace("LINE", line)).replace("SCRIPT", SCRIPT)
        (tmp_path / knob).mkdir()
        corpus.assert_judged(
            make_host(service, f"#!/bin/sh\n{line}\n"), expect(start, outcome), fake_host, tmp_path / knob
        )


@pytest.mark.parametrize("name", GLOBS)
def test_a_name_that_a_shell_completes(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    """bash does so for a redirection, dash does not."""
    line = f"ExecStart=/bin/sh -c 'echo always > /sys/kernel/mm/{name}/enabled'"
    corpus.assert_judged(make_host(line, None), {"hugepages.transparent": "unknown"}, fake_host, tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_script(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    text, outcome = FILES[name]
    changes = make_host(f"ExecStart={SCRIPT}", text)
    host = corpus.make(fake_host, changes)
    if host.denied:
        report = corpus.judge(host)
    else:
        with corpus.lay_out(host, changes, fake_host, tmp_path / "golden") as tree:
            report = corpus.judge(Tree(str(tree)))
    findings = [one for one in report.findings if not one.id.startswith("tcp_bbr.qdisc.")]
    found = {one.id: one.status for one in findings if one.status != "pass"}
    if outcome == "nothing":
        assert not found
    else:
        assert set(found.values()) == {"unknown"}
        assert {"hugepages.transparent", "irq_affinity.default_smp_affinity", "irq_affinity.queues.eth0"} <= set(found)
        assert {f"net_buffers.{key}" for key in golden.SYSCTLS} <= set(found)


def test_a_script_without_an_interpreter_is_not_started(fake_host: type[Any], tmp_path: Path) -> None:
    """The kernel refuses it (execve(2), ENOEXEC), and systemd has no shell take it."""
    for line, _ in KNOBS.values():
        corpus.assert_judged(make_host(f"ExecStart={SCRIPT}", f"{line}\n"), {}, fake_host, tmp_path)


CRON = {
    f"{golden.UNITS}/multi-user.target.wants/cron.service": "-> /usr/lib/systemd/system/cron.service",
    "/usr/lib/systemd/system/cron.service": "[Service]\nExecStart=/usr/sbin/cron -f\n",
}
RHEL = {
    f"{golden.UNITS}/multi-user.target.wants/crond.service": "-> /usr/lib/systemd/system/crond.service",
    "/usr/lib/systemd/system/crond.service": "[Service]\nExecStart=/usr/sbin/crond -n\n",
}
INIT = {"/etc/rc3.d/S01tune": "-> ../init.d/tune"}
# LINE stands for shell that writes.
JOBS: dict[str, tuple[Changes, Outcome]] = {
    "cron.d": ({**CRON, "/etc/cron.d/tune": "SHELL=/bin/sh\n@reboot root LINE\n"}, "writes"),
    "crontab": ({**CRON, "/etc/crontab": "# m h\n\n  @reboot\troot\tLINE\n"}, "writes"),
    "root's crontab": ({**CRON, "/var/spool/cron/crontabs/root": "@reboot sleep 5 && LINE\n"}, "writes"),
    "root's crontab on RHEL": ({**RHEL, "/var/spool/cron/root": "@reboot LINE\n"}, "writes"),
    "behind a percent sign": ({**CRON, "/etc/cron.d/tune": "@reboot root cat %LINE\n"}, "nothing"),
    "a comment": ({**CRON, "/etc/cron.d/tune": "#@reboot root LINE\n"}, "nothing"),
    "another user's job": ({**CRON, "/etc/cron.d/tune": "@reboot trader LINE\n"}, "nothing"),
    "cron that is not enabled": ({"/etc/cron.d/tune": "@reboot root LINE\n"}, "nothing"),
    "every five minutes": ({**CRON, "/etc/cron.d/tune": "*/5 * * * * root LINE\n"}, "unknown"),
    "daily": ({**CRON, "/etc/cron.d/tune": "@daily root LINE\n"}, "unknown"),
    "a name that Debian's cron leaves out": ({**CRON, "/etc/cron.d/tune.conf": "@reboot root LINE\n"}, "unknown"),
    "a last line without an end": ({**CRON, "/etc/cron.d/tune": "@reboot root LINE"}, "unknown"),
    "a script of cron": (
        {**CRON, "/etc/cron.d/tune": "@reboot root /opt/x\n", "/opt/x": "#!/bin/sh\nLINE\n"},
        "writes",
    ),
    "an init script": (
        {**INIT, "/etc/init.d/tune": "#!/bin/sh\ncase $1 in\n  start)\n    LINE\n    ;;\nesac\n"},
        "writes",
    ),
    "an init script of no runlevel": ({"/etc/init.d/tune": "#!/bin/sh\nLINE\n"}, "nothing"),
    "an init script that is stopped": (
        {"/etc/rc3.d/K01tune": "-> ../init.d/tune", "/etc/init.d/tune": "#!/bin/sh\nLINE\n"},
        "nothing",
    ),
    "an init script with a unit": (
        {**INIT, "/etc/init.d/tune": "#!/bin/sh\nLINE\n", "/usr/lib/systemd/system/tune.service": "[Service]\n"},
        "nothing",
    ),
    "an init script that is masked": (
        {**INIT, "/etc/init.d/tune": "#!/bin/sh\nLINE\n", f"{golden.UNITS}/tune.service": "-> /dev/null"},
        "nothing",
    ),
    "an init script of another name": (
        {"/etc/rc2.d/S20tune.sh": "-> ../init.d/tune.sh", "/etc/init.d/tune.sh": "#!/bin/sh\nLINE\n"},
        "writes",
    ),
}


@pytest.mark.parametrize("name", JOBS)
def test_a_job(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    files, outcome = JOBS[name]
    for knob, (line, start) in KNOBS.items():
        changes = {path: text and text.replace("LINE", line) for path, text in files.items()}
        (tmp_path / knob).mkdir()
        corpus.assert_judged(changes, expect(start, outcome), fake_host, tmp_path / knob)


@pytest.mark.parametrize(
    "path",
    ["/etc/cron.d/x", "/etc/crontab", "/var/spool/cron/crontabs/root", "/etc/init.d/x", "/etc/rc3.d", golden.UNITS],
)
def test_a_job_that_is_refused(path: str, fake_host: type[Any]) -> None:
    changes: Changes = {**CRON, "/etc/rc3.d/S01x": "-> ../init.d/x", path: "!EACCES"}
    report = corpus.judge(corpus.make(fake_host, changes))
    found = {one.id: one.status for one in report.findings}
    assert {found[id] for id in ("hugepages.transparent", "irq_affinity.default_smp_affinity")} == {"unknown"}
    assert {found[f"net_buffers.{key}"] for key in golden.SYSCTLS} == {"unknown"}


SYSFS = {"/etc/rc2.d/S01sysfsutils": "-> ../init.d/sysfsutils", "/etc/init.d/sysfsutils": "#!/bin/sh\n. /lib/x\n"}
LINES: dict[str, tuple[Changes, Outcome]] = {
    "always": ({**SYSFS, "/etc/sysfs.conf": "# x\nkernel/mm/transparent_hugepage/enabled = always # y\n"}, "writes"),
    "never": ({**SYSFS, "/etc/sysfs.conf": "kernel/mm/transparent_hugepage/enabled=never\n"}, "nothing"),
    "in a drop-in": ({**SYSFS, "/etc/sysfs.d/x.conf": "kernel/mm/trans*/enabled = always"}, "unknown"),
    "in no drop-in": ({**SYSFS, "/etc/sysfs.d/x": "kernel/mm/transparent_hugepage/enabled = always"}, "nothing"),
    "without the script": ({"/etc/sysfs.conf": "kernel/mm/transparent_hugepage/enabled = always\n"}, "nothing"),
    "a mode": ({**SYSFS, "/etc/sysfs.conf": "mode kernel/mm/transparent_hugepage/enabled = 0644\n"}, "nothing"),
    "two values": ({**SYSFS, "/etc/sysfs.conf": "kernel/mm/transparent_hugepage/enabled = always x\n"}, "nothing"),
}


@pytest.mark.parametrize("name", LINES)
def test_sysfs_conf(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes, outcome = LINES[name]
    corpus.assert_judged(changes, expect("hugepages.transparent", outcome), fake_host, tmp_path)
