"""What a measurement found, as a document."""

from __future__ import annotations

from typing import Any

import msgspec

from hosttune.measure.causes import EXPLAIN, Cause
from hosttune.report.document import Page

_SHOWN = 10
_SHOWN_INTERRUPTS = 5


class GapReport(msgspec.Struct, frozen=True):
    """`measured` is what :func:`hosttune.measure.detect.measure_gaps` returns."""

    measured: dict[str, Any]

    def as_data(self) -> dict[str, Any]:
        """Returns the measurement itself."""
        return self.measured

    def as_text(self, page: Page) -> str:
        """Returns totals, the longest gaps with their causes, and what each cause means."""
        measured = self.measured
        seconds = measured["spun_ns"] / 1e9
        policy = measured["policy"] + (f" {measured['priority']}" if measured["priority"] else "")
        longest = measured["longest_ns"] / 1000
        lines = [
            f"CPU {measured['cpu']}, {policy}, {seconds:.2f} s: longest gap {longest:.1f} µs, "
            f"{measured['count']} over {measured['threshold_us']:g} µs, {measured['lost_ns'] / 1e6:.2f} ms "
            f"({measured['lost_ns'] / measured['spun_ns'] * 100:.2f} %) lost"
        ]
        gaps = sorted(measured["gaps"], key=lambda gap: -gap["length_ns"])[:_SHOWN]
        if gaps:
            lines.append(f"  {'AT ms':>10}{'LENGTH µs':>12}  CAUSE")
        for gap in sorted(gaps, key=lambda gap: gap["start_ns"]):
            lines.append(f"  {gap['start_ns'] / 1e6:>10.2f}{gap['length_ns'] / 1000:>12.1f}  {gap['cause']}")
        causes: list[Cause] = sorted({gap["cause"] for gap in gaps})
        lines += [f"  {cause}: {EXPLAIN[cause]}" for cause in causes]
        most = list(measured["interrupts"].items())[:_SHOWN_INTERRUPTS]
        if most:
            lines.append("  interrupts: " + ", ".join(f"{name} {count}" for name, count in most))
        return "\n".join(lines) + "\n"
