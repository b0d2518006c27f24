"""The writer of a journal, with a second reader beside it and without: the time of an append.

The reader is a process that follows the file, as `desk run` does; in every other block of appends it is stopped by a
signal. The median of the blocks with it, against the median of those without. The file is in memory: the flush to a
disk takes a hundred times as long as all else, and moves more than any reader could move it.
"""

import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.journal import file as journal
from agent.journal import record
from agent.journal._record import pack
from benchmarks.agent.sample import BenchError, Sample

#: Blocks of a round, half of them with the reader; appends of a block, and records of an append.
BLOCKS, APPENDS, RECORDS = 100, 50, 16
READER = """
import sys, time
from pathlib import Path
from agent.journal.follow import Follower
with Follower(Path(sys.argv[1]), None) as follower:
    print("ready", flush=True)
    while True:
        if not follower.read(256):
            time.sleep(0.001)
"""


def make_records(first: int) -> bytes:
    """Returns RECORDS orders, numbered from `first`."""
    fields = {"time_ns": 10**18, "exchange_sequence": 0, "price": 1_000_000, "tag": 0, "original": 0, "symbol": 0,
              "kind": record.ENTERED, "quantity": 10, "side": 1}  # fmt: skip
    numbers = range(first, first + RECORDS)
    return b"".join(pack(fields | {"number": number, "id": number % 1_000_000 + 1}) for number in numbers)


def measure(path: Path, reader: subprocess.Popen[bytes]) -> tuple[float, float]:
    """Returns the median time of an append, ns, with the reader and without."""
    times: dict[bool, list[int]] = {True: [], False: []}
    with journal.Appender(path) as appender:
        for block in range(BLOCKS):
            beside = block % 2 == 0
            reader.send_signal(signal.SIGCONT if beside else signal.SIGSTOP)
            time.sleep(0.005)
            for _ in range(APPENDS):
                records = make_records(appender.last + 1)
                begin = time.perf_counter_ns()
                appender.append(records)
                times[beside].append(time.perf_counter_ns() - begin)
    reader.send_signal(signal.SIGCONT)
    return statistics.median(times[True]), statistics.median(times[False])


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round: one journal, to which blocks are appended with the reader and without."""
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="desk-bench-") as folder:
        path = Path(folder) / "bench.journal"
        journal.create(path, ["X"])
        with subprocess.Popen([sys.executable, "-P", "-c", READER, str(path)], stdout=subprocess.PIPE) as reader:
            try:
                assert reader.stdout
                if reader.stdout.readline() != b"ready\n":
                    raise BenchError("follow: the reader has ended")
                while True:
                    beside, alone = measure(path, reader)
                    if reader.poll() is not None:
                        raise BenchError("follow: the reader has ended")
                    yield [
                        Sample(metric="append p50", unit="ns", ours=beside, reference=alone,
                               reference_name="no reader", bar=1.05),
                    ]  # fmt: skip
            finally:
                reader.kill()
