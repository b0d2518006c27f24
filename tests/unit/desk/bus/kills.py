"""A run that is killed in the middle, again and again, while a ring is written."""

import itertools
import struct
import time
from pathlib import Path

from agent.shm.ring import Ring

from .conftest import LIMIT, Start

RECORD = struct.Struct("<Q")
#: A module that writes down the number of each record, whole lines at a time.
KEEP = """
import os, struct
out = os.open(os.environ["OUT"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

@on(RingRecord)
def keep(event, bus):
    os.write(out, b"%d\\n" % struct.unpack("<Q", event.data))
"""


def ring_table(directory: Path, more: str = "") -> str:
    """Returns a desk.toml with the ring `in` as a source."""
    return f'[run.mine]\n{more}\nrings = [{{name = "in", file = "{directory}/in"}}]\n'


def write_numbers(ring: Ring, numbers: range, rate: float = 0) -> None:
    """Push the records of these numbers as there is room for them; rate: a second at most, 0: no limit."""
    begin = time.monotonic()
    limit, at = begin + LIMIT + (len(numbers) / rate if rate else 0), 0
    records = [RECORD.pack(n) for n in numbers]
    while at < len(records):
        due = int((time.monotonic() - begin) * rate) if rate else len(records)
        at += ring.push_many(records[at : min(at + 100, due)])
        assert time.monotonic() < limit, "nobody reads"
        if rate:
            time.sleep(0.001)


def kill_often(start: Start, directory: Path, out: Path, times: int, config: str, rate: float = 0) -> None:
    """Kill a run in the middle, again and again: no record is lost, none comes out of order, and those that come twice
    are the ones that were not taken off the ring when it was killed: at most one at each kill."""
    sent = 0
    with Ring.create(directory / "in", 1 << 16, RECORD.size) as ring:
        for _ in range(times):
            run = start(KEEP, config, OUT=str(out))
            write_numbers(ring, range(sent, sent + 3000), rate)
            sent += 3000
            run.process.kill()
            run.process.wait(LIMIT)
            assert run.read().state == "died"
        run = start(KEEP, config, OUT=str(out))
        limit = time.monotonic() + LIMIT
        while ring.used:
            assert time.monotonic() < limit
            time.sleep(0.01)
        run.report()
    seen = [int(word) for word in out.read_text().split()]
    assert sorted(set(seen)) == list(range(sent))
    assert len(seen) - sent <= times
    assert all(before <= after for before, after in itertools.pairwise(seen))
