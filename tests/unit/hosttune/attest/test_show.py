"""An attestation for people and for programs."""

from __future__ import annotations

import json

from hosttune.attest.read import Memory
from hosttune.attest.show import Attestation
from hosttune.findings import Finding, summarise_findings
from hosttune.host.process import Thread
from hosttune.report import formats
from hosttune.report.document import Page

from ..launch.promises import make_record

RECORD = make_record(cpus="3", leases=[])
FINDINGS = [
    Finding(id="attest.exec", status="pass", wanted="the program runs", found="it does"),
    Finding(id="attest.nice", status="fail", wanted=0, found="5 in log (8)", why="because", fix="launch it again"),
]
RESULT = Attestation(
    record=RECORD,
    executable="/opt/agent",
    threads=[Thread(7, "agent", "fifo", 80, 0, frozenset({3})), Thread(8, "log", "other", 0, 5, frozenset({0, 1}))],
    memory=Memory(9000, 9004, []),
    report=summarise_findings({"pid": 7}, FINDINGS),
)


def test_text() -> None:
    assert formats.write("text", RESULT, Page()).splitlines() == [
        "process 7: /opt/agent",
        "       TID POLICY   PRIO NICE  CPUS        NAME",
        "         7 fifo       80    0  3           agent",
        "         8 other       0    5  0-1         log",
        "  pass    attest.exec: it does",
        "  fail    attest.nice: 5 in log (8)",
        "          wanted: 0",
        "          why: because",
        "          fix: launch it again",
        "attest: does not hold",
    ]


def test_json() -> None:
    document = json.loads(formats.write("json", RESULT, Page()))
    assert list(document) == ["host", "verdict", "summary", "findings", "executable", "threads", "memory", "record"]
    thread = {"tid": 8, "name": "log", "policy": "other", "priority": 0, "nice": 5, "cpus": "0-1"}
    assert document["threads"][1] == thread and list(document["threads"][1]) == list(thread)
    assert document["memory"] == {"locked": 9000, "resident": 9004, "unlocked": [], "unclear": []}
    assert document["record"]["rlimits"] == {"memlock": [-1, -1]}
    assert document["verdict"] == "not ready"
