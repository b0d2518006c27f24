"""What a measurement found, as lines for people."""

from __future__ import annotations

from typing import Any

from hosttune.measure.causes import EXPLAIN, Cause

_SHOWN = 10


def as_text(document: dict[str, Any]) -> str:
    """Totals, the longest gaps with their causes, and what each cause means."""
    seconds = document["spun_ns"] / 1e9
    policy = document["policy"] + (f" {document['priority']}" if document["priority"] else "")
    longest = document["longest_ns"] / 1000
    lines = [
        f"CPU {document['cpu']}, {policy}, {seconds:.2f} s: longest gap {longest:.1f} µs, "
        f"{document['count']} over {document['threshold_us']:g} µs, {document['lost_ns'] / 1e6:.2f} ms "
        f"({document['lost_ns'] / document['spun_ns'] * 100:.2f} %) lost"
    ]
    gaps = sorted(document["gaps"], key=lambda gap: -gap["length_ns"])[:_SHOWN]
    if gaps:
        lines.append(f"  {'AT ms':>10}{'LENGTH µs':>12}  CAUSE")
    for gap in sorted(gaps, key=lambda gap: gap["start_ns"]):
        lines.append(f"  {gap['start_ns'] / 1e6:>10.2f}{gap['length_ns'] / 1000:>12.1f}  {gap['cause']}")
    causes: list[Cause] = sorted({gap["cause"] for gap in gaps})
    lines += [f"  {cause}: {EXPLAIN[cause]}" for cause in causes]
    most = list(document["interrupts"].items())[:5]
    if most:
        lines.append("  interrupts: " + ", ".join(f"{name} {count}" for name, count in most))
    return "\n".join(lines)
