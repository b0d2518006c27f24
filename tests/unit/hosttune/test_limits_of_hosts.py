"""The tuned host with one thing about limits broken, or merely written otherwise: the same verdict of the host, of a
snapshot and of a tree, and the right one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Root, Tree
from hosttune.host.snapshot import Snapshot
from tests.unit.hosttune import golden

LIMITS_D = "/etc/security/limits.d"
OWN = f"{LIMITS_D}/99-hosttune-rt_limits.conf"
LINES = golden.FILES[OWN]
ETC = golden.UNITS
DEFAULTS = "/etc/systemd/system.conf.d/hosttune-rt_limits.conf"
ALL_SET = "LimitMEMLOCK=infinity\nLimitRTPRIO=95\nLimitNICE=-20\nLimitNOFILE=65536\n"
AGENT = {f"{ETC}/agent.service": "[Service]\nUser=trader\nExecStart=/opt/agent\n" + ALL_SET}
LATE = f"{LIMITS_D}/zz.conf"
NO_AGENT = {path: None for path in golden.FILES if path.startswith("/proc/900/")}

#: What is changed → what becomes of which limits; those that are not named pass.
HOSTS: dict[str, tuple[dict[str, str | None], dict[str, str]]] = {
    "64G is 64 KiB": ({LATE: "trader - memlock 64G\n"}, {"memlock": "volatile"}),
    "64G where nothing runs": ({LATE: "trader - memlock 64G\n", **NO_AGENT}, {"memlock": "fail"}),
    "in capitals": ({OWN: LINES.replace("rtprio", "RTPRIO").replace("unlimited", "UNLIMITED")}, {}),
    "infinity": ({OWN: LINES.replace("unlimited", "infinity")}, {}),
    "by tabs": ({OWN: LINES.replace(" ", "\t\t")}, {}),
    "by a group": ({OWN: LINES.replace("trader", "@rt")}, {}),
    "by a range": ({OWN: LINES.replace("trader", "1000:1005")}, {}),
    "for all": ({OWN: LINES.replace("trader", "*")}, {}),
    "a group's line after the user's": ({LATE: "@rt - rtprio 1\n* - nice 0\n"}, {}),
    "for another group": (
        {OWN: LINES.replace("trader", "@wheel")},
        dict.fromkeys(("memlock", "rtprio", "nice", "nofile"), "volatile"),
    ),
    "a hidden file": ({f"{LIMITS_D}/.zz.conf": "trader - memlock 1\n"}, {}),
    "no limits for this user": (
        {LATE: "trader -\n"},
        dict.fromkeys(("memlock", "rtprio", "nice", "nofile"), "volatile"),
    ),
    "soft alone": ({LATE: "trader soft nofile 1024\n"}, {"nofile": "volatile"}),
    "a negative number": ({LATE: "trader - rtprio -1\n"}, {}),
    "a comment": ({LATE: "#trader - rtprio 1\ntrader - rtprio 99 # why\n"}, {}),
    "all services": (
        {**AGENT, f"{ETC}/service.d/limits.conf": "[Service]\nLimitMEMLOCK=64K\n"},
        {"memlock": "volatile"},
    ),
    "by prefix": (
        {
            f"{ETC}/agent-a.service": AGENT[f"{ETC}/agent.service"],
            "/usr/local/lib/systemd/system/agent-.service.d/limits.conf": "[Service]\nLimitRTPRIO=1\n",
        },
        {"rtprio": "volatile"},
    ),
    "another prefix": ({**AGENT, f"{ETC}/other-.service.d/limits.conf": "[Service]\nLimitRTPRIO=1\n"}, {}),
    "a vendor's unit": (
        {"/usr/lib/systemd/system/agent.service": "[Service]\nUser=trader\nLimitNICE=0\n"},
        {"nice": "volatile"},
    ),
    "an empty one": ({**AGENT, f"{ETC}/agent.service.d/x.conf": "[Service]\nLimitMEMLOCK=\n"}, {}),
    "not understood": ({**AGENT, f"{ETC}/agent.service.d/x.conf": "[Service]\nLimitMEMLOCK=lots\n"}, {}),
    "in two lines": ({f"{ETC}/agent.service": "[Service]\nUser=trader\nLimitRTPRIO=\\\n# c\n  95\n"}, {}),
    "soft and hard": (
        {**AGENT, f"{ETC}/agent.service.d/x.conf": "[Service]\nLimitNOFILE=1024:65536\n"},
        {"nofile": "volatile"},
    ),
    "in hexadecimal": ({**AGENT, f"{ETC}/agent.service.d/x.conf": "[Service]\nLimitRTPRIO=0x5f\n"}, {}),
    "until the next boot": (
        {DEFAULTS: None, "/run/systemd/system.conf.d/x.conf": golden.FILES[DEFAULTS], **NO_AGENT},
        dict.fromkeys(("memlock", "rtprio", "nice", "nofile"), "volatile"),
    ),
    "wrong until the next boot": (
        {**AGENT, "/run/systemd/system/agent.service.d/x.conf": "[Service]\nLimitRTPRIO=1\n", **NO_AGENT},
        {"rtprio": "fail"},
    ),
    "above fs.nr_open": ({LATE: "trader - nofile 2097152\n"}, {"nofile": "volatile"}),
    "above fs.nr_open for services": ({**AGENT, f"{ETC}/service.d/x.conf": "[Service]\nLimitNOFILE=2097152\n"}, {}),
    "by another file": (
        {
            "/etc/pam.d/sshd": "session required pam_limits.so conf=/etc/security/x.conf\n",
            "/etc/security/x.conf": LINES,
        },
        {},
    ),
    "no pam_limits": (
        {"/etc/pam.d/sshd": "session required pam_unix.so\n"},
        dict.fromkeys(("memlock", "rtprio", "nice", "nofile"), "volatile"),
    ),
}


def judge(root: Root) -> Any:
    return checker.run_checks(profile.load(None, root), root)


def as_json(report: Any) -> bytes:
    return msgspec.json.encode([one for one in report.findings if one.id.startswith("rt_limits.")])


@pytest.mark.parametrize("name", HOSTS)
def test_a_host(name: str, fake_host: type[Any], tmp_path: Path) -> None:
    changes, expected = HOSTS[name]
    host = golden.make_host(fake_host)
    for path, text in changes.items():
        host.files.pop(path, None)
        if text is not None:
            host.files[path] = text
    live = judge(host)
    found = {one.id.removeprefix("rt_limits.trader."): one.status for one in live.findings if "trader" in one.id}
    assert found == {**dict.fromkeys(("memlock", "rtprio", "nice", "nofile"), "pass"), **expected}
    file = tmp_path / "s.json"
    file.write_bytes(snapshot.encode(capture.take_snapshot(host, profile.load(None, host))))
    assert as_json(judge(Snapshot(str(file)))) == as_json(live)
    golden.write_tree(host, tmp_path / "tree")
    assert as_json(judge(Tree(str(tmp_path / "tree")))) == as_json(live)
