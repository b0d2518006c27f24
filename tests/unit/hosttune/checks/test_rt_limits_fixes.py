"""Each fix of rt_limits, run as it is printed on a tree of files, turns its finding."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hosttune.checks import rt_limits
from hosttune.checks.rt_limits import Section, UserLimits
from hosttune.host.root import Tree

from .test_rt_limits import ALL_SET, DEFAULTS, ETC, FILES, LIMITS_D, WANTED

UNIT = f"{ETC}/agent.service"
BROKEN: dict[str, dict[str, str | None]] = {
    "nothing is set": {LIMITS_D: None, DEFAULTS: None},
    "a later line": {"/etc/security/limits.d/zz.conf": "trader - memlock 64G\n"},
    "a later line without an end": {"/etc/security/limits.d/zz.conf": "# x\ntrader soft nofile 1024"},
    "a line that ends all": {"/etc/security/limits.d/zz.conf": "# x\ntrader -\n"},
    "two lines that end all": {LIMITS_D: "trader -\ntrader -\n" + FILES[LIMITS_D]},
    "no pam_limits": {"/etc/pam.d/login": "session required pam_unix.so\n"},
    "pam_limits behind a line that ends the stack": {
        "/etc/pam.d/login": "session sufficient pam_permit.so\nsession required pam_limits.so\n"
    },
    "pam_limits behind a line that may jump": {
        "/etc/pam.d/login": "session [success=1 default=ignore] pam_x.so\nsession required pam_limits.so\n"
        "session required pam_unix.so\n"
    },
    "sshd without PAM": {"/etc/ssh/sshd_config": "Port 22\nUsePAM no\n", "/etc/pam.d/sshd": "@include login\n"},
    "another file for logins": {
        "/etc/pam.d/login": "session required pam_limits.so conf=/etc/security/x.conf\n",
        "/etc/security/x.conf": "@trader - memlock 1",
    },
    "a default that is lowered": {"/etc/systemd/system.conf.d/zzz.conf": "[Manager]\nDefaultLimitRTPRIO=1\n"},
    "a default that is not understood": {DEFAULTS: "[Manager]\nDefaultLimitRTPRIO=95K\n"},
    "a unit": {UNIT: "[Service]\nUser=trader\nLimitMEMLOCK=64K\nLimitNICE=0\n"},
    "a drop-in of all services": {
        UNIT: "[Service]\nUser=trader\n" + ALL_SET,
        f"{ETC}/service.d/zzz.conf": "[Service]\nLimitMEMLOCK=64K\nLimitRTPRIO=1\n",
    },
    "an instance": {
        f"{ETC}/agent@.service": "[Service]\nUser=trader\nLimitRTPRIO=1\n",
        f"{ETC}/multi-user.target.wants/agent@ldn.service": "",
    },
    "a drop-in in /run": {
        UNIT: "[Service]\nUser=trader\n" + ALL_SET,
        "/run/systemd/system/agent.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n",
    },
    "open files above the kernel's bound": {"/proc/sys/fs/nr_open": "1024\n"},
    "a hard limit above the kernel's bound": {LIMITS_D: FILES[LIMITS_D] + "trader hard nofile 2097152\n"},
}
MEMLOCK = Section(users={"trader": UserLimits(memlock=(8 << 30) + 1)})


def check(tree: Path, wanted: Section = WANTED) -> dict[str, Any]:
    root = Tree(str(tree))
    return {one.id: one for one in rt_limits.check(wanted, rt_limits.facts(root, wanted), None)}


def write(tree: Path, changes: dict[str, str | None]) -> None:
    files: dict[str, str | None] = {
        **FILES,
        "/etc/security/limits.conf": "",
        "/proc/sys/fs/nr_open": "1048576\n",
        "/etc/sysctl.d/x.conf": "",
        "/etc/pam.d/login": "session required pam_limits.so\n",
        f"{ETC}/x.target": "",
        "/usr/lib/systemd/system/x.target": "",
        **changes,
    }
    for path, text in files.items():
        if text is not None:
            place = tree / path.lstrip("/")
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)


def apply(fix: str, tree: Path, tools: Path) -> None:
    """Run a fix with the tree's files in place of the host's. The two tools act on a running host."""
    tools.mkdir(exist_ok=True)
    key = 'key=${2%%=*}; echo "${2#*=}" >TREE/proc/sys/$(echo "$key" | tr . /)'
    for name, text in {"systemctl": "exit 0", "sysctl": key}.items():
        (tools / name).write_text(f"#!/bin/sh\n{text.replace('TREE', str(tree))}\n")
        (tools / name).chmod(0o755)
    script = re.sub(r"(?<![\w./])/(?=(etc|run|proc|sys)/)", f"{tree}/", fix)
    done = subprocess.run(
        ["sh", "-e", "-c", script], env={"PATH": f"{tools}:/usr/bin:/bin"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (script, done.stderr)


@pytest.mark.parametrize("name", BROKEN)
def test_every_fix_turns_its_finding(name: str, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    write(tree, BROKEN[name])
    before = check(tree)
    failing = [id for id, one in before.items() if one.status != "pass"]
    assert failing
    for id in failing:
        apply(before[id].fix, tree, tmp_path / "tools")
        assert check(tree)[id].status == "pass", (before[id].fix, check(tree)[id])
    assert {one.status for one in check(tree).values()} == {"pass"}


def test_whole_kibibytes_suffice(tmp_path: Path) -> None:
    write(tmp_path / "tree", {LIMITS_D: None})
    found = check(tmp_path / "tree", MEMLOCK)["rt_limits.trader.memlock"]
    apply(found.fix, tmp_path / "tree", tmp_path / "tools")
    assert check(tmp_path / "tree", MEMLOCK)["rt_limits.trader.memlock"].status == "pass"


def test_a_correct_host_needs_no_fix(tmp_path: Path) -> None:
    write(tmp_path, {})
    assert {one.status for one in check(tmp_path).values()} == {"pass"}
