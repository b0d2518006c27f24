"""Hosts with a service that sets the policy of huge pages, or the default affinity, wrongly: as root, as another user,
confined, or by a script that nobody can read. Both knobs are judged alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Expected

UNIT, LINK = f"{golden.UNITS}/x.service", f"{golden.UNITS}/multi-user.target.wants/x.service"
SCRIPT = "/opt/x"
POLICY = "echo always > /sys/kernel/mm/transparent_hugepage/enabled"
AFFINITY = "echo ff > /proc/irq/default_smp_affinity"
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
    for knob, (line, start) in {
        "policy": (POLICY, "hugepages.transparent"),
        "affinity": (AFFINITY, "irq_affinity.default"),
    }.items():
        service = text.replace("COMMAND", shell.replace("LINE", line)).replace("SCRIPT", SCRIPT)
        (tmp_path / knob).mkdir()
        corpus.assert_judged(
            make_host(service, f"#!/bin/sh\n{line}\n"), expect(start, outcome), fake_host, tmp_path / knob
        )


@pytest.mark.parametrize("name", FILES)
def test_a_script(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    text, outcome = FILES[name]
    expected = {
        start: STATUS[outcome]
        for start in ("hugepages.", "irq_affinity.default", "irq_affinity.queues")
        if outcome in STATUS
    }
    found = corpus.find_wrong(corpus.judge(corpus.make(fake_host, make_host(f"ExecStart={SCRIPT}", text))), expected)
    assert not {id: status for id, status in found.items() if outcome == "nothing" or status not in ("pass",)}


def test_a_script_without_an_interpreter_is_not_started(fake_host: type[Any], tmp_path: Path) -> None:
    """The kernel refuses it (execve(2), ENOEXEC), and systemd has no shell take it."""
    for line in (POLICY, AFFINITY):
        corpus.assert_judged(make_host(f"ExecStart={SCRIPT}", f"{line}\n"), {}, fake_host, tmp_path)
