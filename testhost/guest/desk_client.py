"""A program for the guest, under the desk's own Python: something happens at Redis or Kafka, and an engine is watched.

desk_client.py limit ENGINE LIMIT VALUE PASSWORD     set it in Redis; {"ms": until the segment had it}
desk_client.py records TOPIC COUNT                   send so many quotes; {"records": those that the broker has}
desk_client.py engine ENGINE COUNT                   wait until it has read so many messages; its counters
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.shm import segment as shm

LIMIT_S = 120.0


def wait(done: Callable[[], bool]) -> float:
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > LIMIT_S:
            sys.exit(f"not within {LIMIT_S:g} s")
        time.sleep(0.001)
    return time.monotonic() - begun


def find_engine(name: str) -> Path:
    """Returns the path of the engine's segment, once it is there."""
    found: list[Path] = []

    def look() -> bool:
        try:
            found.append(shm.find(name))
        except shm.SegmentError:
            time.sleep(0.2)
        return bool(found)

    wait(look)
    return found[0]


def set_limit(engine: str, limit: str, value: str, password: str) -> dict[str, Any]:
    import redis

    path = find_engine(engine)
    client = redis.Redis(password=password, socket_timeout=5)
    before = shm.read(path).limits[limit]
    client.set(f"desk:limits:{engine}:{limit}", value)
    took = wait(lambda: shm.read(path).limits[limit] == int(value))
    return {"before": before, "after": int(value), "ms": round(1e3 * took, 1)}


def send_records(topic: str, count: str) -> dict[str, Any]:
    import confluent_kafka

    from agent.exchange import feed

    made = feed.generated(int(count), seed=1)
    failed: list[str] = []

    def note(error: Any, _: Any) -> None:
        if error is not None:
            failed.append(error.str())

    # A topic that is not there is made, with more partitions than one.
    producer = confluent_kafka.Producer({"bootstrap.servers": "127.0.0.1:9092", "linger.ms": 5})
    for i in range(len(made)):
        while True:
            try:
                producer.produce(topic, made.text[made.offsets[i] : made.offsets[i + 1]], partition=0, on_delivery=note)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(LIMIT_S)
    if left or failed:
        sys.exit(f"{left + len(failed)} records were not taken: {failed[:1]}")
    return {"records": len(made)}


def watch_engine(engine: str, count: str) -> dict[str, Any]:
    path = find_engine(engine)
    took = wait(lambda: shm.read(path).counters["messages"] >= int(count))
    found = shm.read(path)
    return {"seconds": round(took, 2), "state": found.condition} | {
        name: found.counters[name] for name in ("messages", "events", "lost", "gaps", "duplicates")
    }


TASKS: dict[str, Callable[..., dict[str, Any]]] = {"limit": set_limit, "records": send_records, "engine": watch_engine}
print(json.dumps(TASKS[sys.argv[1]](*sys.argv[2:])))
