"""A minute of ITCH at half of what the sender can do, with the receive buffer that is the default: nothing is lost.
SOAK_SECONDS is for how long (60)."""

import os
import time
from pathlib import Path

import pytest

from benchmarks.agent import machine, receive

pytestmark = pytest.mark.long
SECONDS = float(os.environ.get("SOAK_SECONDS", "60"))
DEFAULT = 8 << 20


def test_a_minute_at_half_the_senders_rate_loses_nothing(tmp_path: Path) -> None:
    own, other = machine.two_cpus()
    sender, counts = machine.build("sender", tmp_path), machine.build("receiver", tmp_path)
    everywhere = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {own})
    try:
        with receive.receiver(counts, tmp_path, sender, own, other) as floor:
            half = max(floor.offered(receive.PACKETS)[1] for _ in range(3)) / 2
        packets = int(half * SECONDS)
        with receive.engine(tmp_path, other, DEFAULT) as (running, port):
            ours = receive.Side(running.child.pid, port, running.messages, sender, own)
            handled, sent = ours.offered(packets, 1, half)
            ours.go()
            time.sleep(0.02)
            receive.nothing_lost(running.counters(), packets, packets)
    finally:
        os.sched_setaffinity(0, everywhere)
    assert handled > 0.99 * half, f"{handled:.0f} messages/s handled, {sent:.0f} sent, {half:.0f} wanted"
