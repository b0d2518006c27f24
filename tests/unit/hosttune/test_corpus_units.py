"""Hosts whose units, or systemd's own settings, are in a directory or of a form that few hosts have."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.unit.hosttune import corpus, golden
from tests.unit.hosttune.corpus import Changes, Hosts

from .test_corpus_limits import AGENT, bad

LOW = "[Service]\nLimitMEMLOCK=64K\n"
UNIT: Changes = {f"{golden.UNITS}/agent.service": AGENT}
CPUS = "/etc/systemd/system.conf.d/hosttune-cpu_isolation.conf"
SYSTEMD = "cpu_isolation.systemd"

HOSTS: Hosts = {
    "set-property": ({**UNIT, "/etc/systemd/system.control/agent.service.d/50.conf": LOW}, bad("memlock")),
    "set-property, and reset": (
        {
            **UNIT,
            "/etc/systemd/system.control/agent.service.d/50.conf": LOW,
            f"{golden.UNITS}/agent.service.d/60.conf": "[Service]\nLimitMEMLOCK=infinity\n",
        },
        {},
    ),
    "a file of that name goes before": (
        {
            **UNIT,
            "/etc/systemd/system.control/agent.service.d/50.conf": "[Service]\n",
            f"{golden.UNITS}/agent.service.d/50.conf": LOW,
        },
        {},
    ),
    "attached": ({"/etc/systemd/system.attached/agent.service": f"{AGENT}LimitMEMLOCK=64K\n"}, bad("memlock")),
    "attached, behind the administrator's": (
        {**UNIT, "/etc/systemd/system.attached/agent.service": f"{AGENT}LimitMEMLOCK=64K\n"},
        {},
    ),
    "a drop-in that is attached": (
        {**UNIT, "/etc/systemd/system.attached/agent.service.d/20-portable.conf": LOW},
        bad("memlock"),
    ),
    "CPUs in quotes": ({CPUS: '[Manager]\nCPUAffinity="0-1" "4-7"\n'}, {}),
    "CPUs in other quotes": ({CPUS: "[Manager]\nCPUAffinity='0-1' '4-7'\n"}, {}),
    "CPUs in one pair of quotes": ({CPUS: '[Manager]\nCPUAffinity="0-1 4-7"\n'}, {SYSTEMD: "volatile"}),
    "other CPUs in quotes": ({CPUS: '[Manager]\nCPUAffinity="0-7"\n'}, {SYSTEMD: "volatile"}),
}


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    corpus.assert_judged(*HOSTS[name], fake_host, tmp_path)


@pytest.mark.parametrize("vendor", ["/usr/lib/systemd/system.conf.d/zzz.conf", "/usr/lib/systemd/system.conf.d/a.conf"])
def test_the_fix_is_read_behind_the_distributions_cpus(vendor: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes: Changes = {CPUS: None, vendor: "[Manager]\nCPUAffinity=0-7\n"}
    host = corpus.make(fake_host, changes)
    (found,) = [one for one in corpus.judge(host).findings if one.status != "pass"]
    assert found.id == SYSTEMD
    made, printed, _ = found.fix.splitlines()
    assert made == "mkdir -p /etc/systemd/system.conf.d"
    command, file = printed.split(" >> ")
    text = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=10).stdout
    host.files[file] = text
    assert all(one.status == "pass" for one in corpus.judge(host).findings)
