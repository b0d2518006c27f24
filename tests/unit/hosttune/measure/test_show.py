"""A measurement for people and for programs."""

from __future__ import annotations

import json
from typing import Any

from hosttune.measure.show import GapReport
from hosttune.report import formats
from hosttune.report.document import Page

GAP = {"switches": 0, "idle": -1, "steal": -1, "cause": "interrupt or stall"}
MEASURED: dict[str, Any] = {
    "cpu": 3,
    "policy": "fifo",
    "priority": 5,
    "threshold_us": 100.0,
    "started_ns": 1,
    "spun_ns": 2_000_000_000,
    "loops": 9,
    "longest_ns": 250_500,
    "lost_ns": 400_500,
    "count": 2,
    "gaps": [
        {"start_ns": 7_000_000, "length_ns": 250_500, **GAP},
        {"start_ns": 1_500_000, "length_ns": 150_000, **GAP},
    ],
    "interrupts": {"LOC Local timer interrupts": 12},
}


def test_text() -> None:
    assert formats.write("text", GapReport(MEASURED), Page()).splitlines() == [
        "CPU 3, fifo 5, 2.00 s: longest gap 250.5 µs, 2 over 100 µs, 0.40 ms (0.02 %) lost",
        "       AT ms   LENGTH µs  CAUSE",
        "        1.50       150.0  interrupt or stall",
        "        7.00       250.5  interrupt or stall",
        "  interrupt or stall: the thread was not switched out: an interrupt, firmware (SMI), or the hypervisor",
        "  interrupts: LOC Local timer interrupts 12",
    ]


def test_a_quiet_cpu() -> None:
    quiet = {**MEASURED, "priority": 0, "policy": "other", "count": 0, "lost_ns": 0, "gaps": [], "interrupts": {}}
    assert formats.write("text", GapReport(quiet), Page()).splitlines() == [
        "CPU 3, other, 2.00 s: longest gap 250.5 µs, 0 over 100 µs, 0.00 ms (0.00 %) lost"
    ]


def test_json() -> None:
    text = formats.write("json", GapReport(MEASURED), Page())
    assert json.loads(text) == MEASURED
    assert text == json.dumps(MEASURED, indent=2) + "\n"
