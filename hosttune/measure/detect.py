"""Run the compiled loop on a CPU, in a process of its own, and judge the gaps that it found."""

from __future__ import annotations

import gc
import json
import os
from typing import Any

from hosttune.host.irq import COUNTERS
from hosttune.host.sched import POLICY_NUMBERS
from hosttune.measure.causes import Gap, count_interrupts

_CAPACITY = 100_000
_EXPLAIN_NS = 10_000_000


def measure_gaps(cpu: int, seconds: float, threshold_us: float, policy: str, priority: int) -> dict[str, Any]:
    """Spin on `cpu` in a child process, so that the caller keeps its own placement.

    Returns what :func:`hosttune.measure.gaps.spin` does with the gaps as dicts that have a `cause`, and the
    `interrupts` that the CPU took. Raises OSError if the thread cannot be placed so.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reader)
            try:
                answer: Any = _spin(cpu, seconds, threshold_us, policy, priority)
            except OSError as error:
                answer = error.errno
            with open(writer, "w", encoding="utf-8") as pipe:
                json.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise ChildProcessError(0, "the measuring process ended early")
    answer = json.loads(text)
    if not isinstance(answer, dict):
        raise OSError(answer, os.strerror(answer))
    return answer


def _spin(cpu: int, seconds: float, threshold_us: float, policy: str, priority: int) -> dict[str, Any]:
    from hosttune.measure.gaps import spin

    gc.disable()
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, POLICY_NUMBERS[policy], os.sched_param(priority))
    before = _read_interrupts()
    result = spin(cpu, int(seconds * 1e9), int(threshold_us * 1000), _EXPLAIN_NS, _CAPACITY)
    after = _read_interrupts()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    gaps = [Gap(*row) for row in result["gaps"]]
    fields = Gap.__struct_fields__
    return {
        "cpu": cpu,
        "policy": policy,
        "priority": priority,
        "threshold_us": threshold_us,
        **result,
        "gaps": [{**{name: getattr(gap, name) for name in fields}, "cause": gap.cause} for gap in gaps],
        "interrupts": count_interrupts(before, after, cpu),
    }


def _read_interrupts() -> str:
    with open(COUNTERS, encoding="utf-8", errors="replace") as file:
        return file.read()
