"""What the gap detector makes of the loop's notes, and the loop itself on this CPU."""

from __future__ import annotations

import os

import pytest

from hosttune.measure.causes import Gap, count_interrupts
from hosttune.measure.gaps import spin


@pytest.mark.parametrize(
    ("gap", "cause"),
    [
        (Gap(0, 50_000_000, 1, 5, 0), "throttled"),
        (Gap(0, 50_000_000, 1, 4, 0), "throttled"),
        (Gap(0, 50_000_000, 1, 1, 0), "other task"),
        (Gap(0, 50_000_000, 0, 0, 4), "stolen"),
        (Gap(0, 50_000_000, 0, 0, 0), "interrupt or stall"),
        (Gap(0, 200_000, 1, -1, -1), "other task"),
        (Gap(0, 200_000, 0, -1, -1), "interrupt or stall"),
    ],
)
def test_cause(gap: Gap, cause: str) -> None:
    assert gap.cause == cause


BEFORE = """\
            CPU0       CPU1
  30:          1          5  PCI-MSIX-0000:00:01.0   0-edge      virtio0
 LOC:        100        200   Local timer interrupts
 ERR:          0
"""


def test_interrupts_of_one_cpu_only() -> None:
    after = BEFORE.replace("200 ", "950 ").replace("          1          5", "          9          8")
    assert count_interrupts(BEFORE, after, 1) == {
        "LOC Local timer interrupts": 750,
        "30 PCI-MSIX-0000:00:01.0 0-edge virtio0": 3,
    }


def test_the_loop_accounts_for_its_time() -> None:
    cpu = min(os.sched_getaffinity(0))
    result = spin(cpu, 20_000_000, 5_000, 10_000_000, 3)
    assert result["spun_ns"] >= 20_000_000
    assert result["loops"] > 1000
    assert len(result["gaps"]) == min(result["count"], 3)
    assert result["lost_ns"] >= sum(length for _, length, *_ in result["gaps"])
    assert all(5_000 < length <= result["longest_ns"] for _, length, *_ in result["gaps"])
