"""Round trips of 64 bytes between two Python processes on two CPUs, by iceoryx2's Python binding: publish and
subscribe, samples loaned from its shared memory, both sides poll.

    python -m benchmarks.agent.peers.iceoryx2_ping CPU CPU       reads lines: COUNT, prints for each: NANOSECONDS

That is the median of batches of 100; the first WARM are not counted. Each side writes 64 bytes into the sample that it
loans, and makes bytes of the sample that it receives. Between two slices the other process sleeps.
"""

import ctypes
import importlib
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

# Not in every environment: who starts this has looked.
iceoryx2: Any = importlib.import_module("iceoryx2")

BATCH, WARM = 100, 200
LOOKS = 20_000_000


class Record(ctypes.Structure):
    """64 bytes."""

    _fields_ = [("bytes", ctypes.c_uint8 * 64)]


def ends(first: bool) -> tuple[Any, Callable[[], None], Callable[[], None]]:
    """One process's: what has to stay, send a record, and wait for one. Two services, there and back."""
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    pid = os.getpid() if first else os.getppid()
    there, back = (
        node.service_builder(iceoryx2.ServiceName.new(f"hosttune-bench-{pid}-{name}"))
        .publish_subscribe(Record)
        .open_or_create()
        for name in ("there", "back")
    )
    publisher = (there if first else back).publisher_builder().create()
    subscriber = (back if first else there).subscriber_builder().create()
    record, loan, receive = bytes(64), publisher.loan_uninit, subscriber.receive
    write, read = ctypes.memmove, ctypes.string_at

    def send() -> None:
        sample = loan()
        write(sample.payload_ptr, record, 64)  # faster than write_payload() and send_copy()
        sample.assume_init().send()

    def wait() -> None:
        for _ in range(LOOKS):
            sample = receive()
            if sample is not None:
                read(sample.payload_ptr, 64)
                return
        raise TimeoutError("iceoryx2: nothing came")

    return (node, there, back, publisher, subscriber), send, wait


def main(cpu: int, other: int) -> None:
    """The two processes: the other one is told by a pipe how many records come."""
    commands, tell = os.pipe()
    ready, done = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)
        os.sched_setaffinity(0, {other})
        kept, send, wait = ends(False)
        os.write(done, b"1")
        while command := os.read(commands, 8):
            for _ in range(int.from_bytes(command, "little")):
                wait()
                send()
        # Not _exit(): iceoryx2 removes its files when its objects go.
        return
    os.close(done)
    os.sched_setaffinity(0, {cpu})
    kept, send, wait = ends(True)
    if os.read(ready, 1) != b"1":
        raise RuntimeError("iceoryx2: the other process has ended")
    for line in sys.stdin:
        count = int(line) // BATCH
        os.write(tell, (WARM + count * BATCH).to_bytes(8, "little"))
        for _ in range(WARM):
            send()
            wait()
        times = []
        for _ in range(count):
            begun = time.perf_counter_ns()
            for _ in range(BATCH):
                send()
                wait()
            times.append((time.perf_counter_ns() - begun) / BATCH)
        print(statistics.median(times), flush=True)
    os.close(tell)
    os.waitpid(child, 0)
    del kept


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
