"""What a gap in a spinning thread's time was: the judgement on what the loop noted. Pure."""

from __future__ import annotations

from typing import Literal

import msgspec

from hosttune.host import irq

Cause = Literal["throttled", "other task", "stolen", "interrupt or stall"]
TICK_NS = 10_000_000  # USER_HZ is 100 on every Linux (proc_stat(5))

EXPLAIN: dict[Cause, str] = {
    "throttled": "the thread was runnable and the CPU idle: real-time throttling, or a CPU quota",
    "other task": "another task had the CPU; under SCHED_FIFO, from Linux 6.12, let in by the fair server",
    "stolen": "the hypervisor ran something else on this CPU",
    "interrupt or stall": "the thread was not switched out: an interrupt, firmware (SMI), or the hypervisor",
}


class Gap(msgspec.Struct, frozen=True):
    """A hole in the spinning. Nanoseconds, the start counted from that of the measurement.

    `switches`: involuntary context switches of the thread meanwhile; `idle`, `steal`: ticks of 10 ms that
    the CPU spent so, -1 where not asked for.
    """

    start_ns: int
    length_ns: int
    switches: int
    idle: int
    steal: int

    @property
    def cause(self) -> Cause:
        """The likeliest cause. Half of a gap counts, since ticks are coarse: ±1 on each side."""
        half = self.length_ns / TICK_NS / 2
        if self.idle >= half:
            return "throttled"
        if self.switches:
            return "other task"
        return "stolen" if self.steal >= half else "interrupt or stall"


def count_interrupts(before: str, after: str, cpu: int) -> dict[str, int]:
    """Returns the interrupts that one CPU took between two readings of /proc/interrupts, most first, by row name."""
    old, new = _parse_counts(before, cpu), _parse_counts(after, cpu)
    deltas = {name: count - old.get(name, 0) for name, count in new.items()}
    return dict(sorted(((name, n) for name, n in deltas.items() if n), key=lambda item: -item[1]))


def _parse_counts(text: str, cpu: int) -> dict[str, int]:
    rows = irq.parse_interrupts(text)
    return {
        f"{name} {' '.join(row.description.split())}".strip(): row.counts[cpu]
        for name, row in rows.items()
        if cpu in row.counts
    }
