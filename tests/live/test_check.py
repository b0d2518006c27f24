"""`hosttune check` on this machine: it reads, and changes nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

import hosttune
from hosttune import cli
from hosttune.host import netlink
from hosttune.host.root import Live

SCHEMA = json.loads(Path(hosttune.__file__).with_name("report").joinpath("schema.json").read_text())
EXIT = {"ready": 0, "not ready": 1, "unknown": 3}
CHECK = [sys.executable, "-P", "-m", "hosttune", "check", "--profile", "trading"]


def run(capsys, *arguments):
    code = cli.main([*map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.err == "" or arguments[0] == "snapshot"
    return code, captured.out


@pytest.mark.parametrize("observe", [[], ["--observe", "0.3"]])
def test_the_built_in_profile_on_this_machine(capsys, observe):
    code, out = run(capsys, "check", "--profile", "trading", "--format", "json", *observe)
    report = json.loads(out)
    jsonschema.validate(report, SCHEMA)
    assert EXIT[report["verdict"]] == code
    sections = {finding["id"].partition(".")[0] for finding in report["findings"]}
    assert sections == {"net_buffers", "tcp_bbr", "hugepages", "irq_affinity", "cpu_isolation", "rt_limits"}
    # A section's name alone is what a check that raised leaves behind.
    assert not [finding for finding in report["findings"] if "." not in finding["id"]]
    for finding in report["findings"]:
        if finding["status"] not in ("pass", "na"):
            assert finding["why"] and finding["fix"], finding["id"]


def test_a_snapshot_of_this_machine_gives_the_same_verdict(capsys, tmp_path):
    file = tmp_path / "s.json.gz"
    assert run(capsys, "snapshot", "-o", file)[0] == 0
    live = run(capsys, "check", "--profile", "trading", "--format", "json")
    again = run(capsys, "check", "--profile", "trading", "--snapshot", file, "--format", "json")
    assert live[0] == again[0]
    statuses = [{f["id"]: f["status"] for f in json.loads(out)["findings"]} for _, out in (live, again)]
    # Threads come and go between the two.
    for each in statuses:
        each.pop("cpu_isolation.threads", None)
    assert statuses[0] == statuses[1]


def test_qdiscs_are_those_of_the_interfaces_of_this_machine():
    table = Live().netlink("qdisc").value
    assert {row["interface"] for row in table} <= set(os.listdir("/sys/class/net"))
    assert {row["kind"] for row in table if row["interface"] == "lo"} == {"noqueue"}


def test_a_request_that_the_kernel_refuses_is_an_oserror():
    with pytest.raises(OSError):
        netlink._exchange(0xFFF)  # no such message: EOPNOTSUPP


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace (tools/setup vm)")
def test_the_kernel_sees_no_other_process(tmp_path):
    trace = tmp_path / "trace"
    calls = "execve,execveat,fork,vfork,clone,clone3"
    subprocess.run(
        ["strace", "-f", "-qq", "-e", f"trace={calls}", "-o", trace, *CHECK], stdout=subprocess.DEVNULL, timeout=60
    )
    lines = trace.read_text().splitlines()
    assert len(lines) == 1 and "execve(" in lines[0], lines


def test_nothing_is_opened_for_writing(tmp_path):
    """Also by an audit hook, since a read-only check is what people trust on a production host."""
    code = (
        "import os, sys; opened = [];"
        "sys.addaudithook(lambda event, a: opened.append(a[0])"
        " if event == 'open' and (a[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) else None);"
        "from hosttune import cli; cli.main(['check', '--profile', 'trading']); print(opened, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-P", "-B", "-c", code], timeout=60, text=True, capture_output=True)
    assert done.stderr == "[]\n"
