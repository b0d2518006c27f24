"""The design that the engine is compared with, run literally and in a process of its own: `python -m desk.report.before
PLAN`. Each tick goes through JSON, a loop over a NumPy array, a position that lies in Redis as pickle within zlib, an
order made of text, and a TCP connection; one after the other, with Python's garbage collector as it is by default.

Prints one JSON document: microseconds of each stage, the rate, memory, and the collector's pauses.
"""

import json
import os
import pickle
import signal
import socket
import sys
import time
import zlib
from typing import Any

import msgspec

from desk import pauses
from desk.report.ticks import SYMBOL, make_ticks
from hosttune.output import write_out

STAGES = ("parse", "signal", "risk", "order", "send")
#: Prices that the signal looks at, as long as one of its averages.
WINDOW = 200
_FAST, _SLOW = 2 / (12 + 1), 2 / (WINDOW + 1)
KEY = f"position:{SYMBOL}"
#: Seconds after which the kernel ends a run.
_MOST_SECONDS = 120


class Plan(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What is run. redis: the server's Unix socket; "": there is none, and `risk` is left out. cpus: of the loop, and
    of who takes the orders."""

    ticks: int
    seed: int
    redis: str
    cpus: tuple[int, int]


class Before(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What was measured. stages: p50 of each, in microseconds, and of all of them together as `pipeline`; rate: ticks,
    each with its order, a second; rss_bytes: the most that the process held; pauses in microseconds."""

    stages: dict[str, float]
    rate: float
    seconds: float
    rss_bytes: int
    pauses: int
    longest_pause_us: float


def parse(data: bytes) -> tuple[str, float]:
    """Returns symbol and middle price."""
    tick = json.loads(data)["data"]
    return tick["s"], (float(tick["b"]) + float(tick["a"])) / 2


def find_signal(prices: Any, price: float) -> int:
    """Returns 1 to buy, -1 to sell: two averages, each computed anew over the window."""
    prices[:-1] = prices[1:]
    prices[-1] = price
    fast = slow = prices[0]
    for i in range(len(prices)):
        fast = _FAST * prices[i] + (1 - _FAST) * fast
        slow = _SLOW * prices[i] + (1 - _SLOW) * slow
    return 1 if fast >= slow else -1


def check_risk(client: Any, side: int) -> bool:
    """Returns whether an order passes; the position is read from Redis and written back."""
    position = pickle.loads(zlib.decompress(client.get(KEY)))
    if abs(position["size"] + side) > position["limit"]:
        return False
    position["size"] += side
    position["updated"] = time.time()
    client.set(KEY, zlib.compress(pickle.dumps(position)))
    return True


def make_order(number: int, symbol: str, side: int, price: float) -> bytes:
    """Returns an order of fields with names, and a checksum."""
    name = "BUY" if side > 0 else "SELL"
    text = "|".join(
        [
            "type=NEW",
            f"id={number}",
            f"symbol={symbol}",
            f"side={name}",
            "size=1",
            f"price={price:.2f}",
            f"time={time.time():.6f}",
        ]
    )
    return f"{text}|checksum={sum(text.encode()) % 256:03d}\n".encode()


def read_peak() -> int:
    """Returns the most memory that this process held, in bytes. Source: proc_pid_status(5), VmHWM, which begins anew
    with the program, unlike ru_maxrss."""
    with open("/proc/self/status") as file:
        return int(file.read().partition("VmHWM:")[2].split()[0]) * 1024


def _take_orders(server: socket.socket, cpu: int) -> int:
    """Fork a process that reads all orders until the connection ends. Returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.alarm(_MOST_SECONDS)  # fork() has ended the parent's, who may be killed before it connects
        os.sched_setaffinity(0, {cpu})
        link, _ = server.accept()
        while link.recv(65536):
            pass
    finally:
        os._exit(0)


def run(plan: Plan) -> Before:
    """Returns what the loop measured. The first tenth of the ticks warms up."""
    import numpy as np

    client = None
    if plan.redis:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        client = redis.Redis(
            unix_socket_path=plan.redis, socket_timeout=5, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)
        )
        first = {"symbol": SYMBOL, "size": 0, "limit": 1_000_000_000, "updated": 0.0,
                 "fills": [{"price": 60_000.0 + i, "size": 1} for i in range(10)]}  # fmt: skip
        client.set(KEY, zlib.compress(pickle.dumps(first)))
    ticks = make_ticks(plan.ticks, plan.seed)
    prices = np.full(WINDOW, 60_000.0)
    lengths: list[int] = []
    server = socket.create_server(("127.0.0.1", 0))
    taker = _take_orders(server, plan.cpus[1])
    os.sched_setaffinity(0, {plan.cpus[0]})
    clock = time.perf_counter_ns
    stamps: list[tuple[int, ...]] = []
    with socket.create_connection(server.getsockname(), timeout=10) as link:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        warm = plan.ticks // 10
        for number, data in enumerate(ticks):
            if number == warm:
                stamps.clear()
                end = pauses.watch(lambda begun, length, generation: lengths.append(length))
                start = clock()
            a = clock()
            symbol, price = parse(data)
            b = clock()
            side = find_signal(prices, price)
            c = clock()
            passed = client is None or check_risk(client, side)
            d = clock()
            if not passed:
                raise SystemExit("the position's limit was reached")
            order = make_order(number, symbol, side, price)
            e = clock()
            link.sendall(order)
            stamps.append((a, b, c, d, e, clock()))
        ended = clock()
        end()
    os.waitpid(taker, 0)
    columns = np.diff(np.array(stamps), axis=1) / 1e3
    stages = {name: float(np.median(column)) for name, column in zip(STAGES, columns.T, strict=True)}
    stages["pipeline"] = float(np.median(columns.sum(axis=1)))
    seconds = (ended - start) / 1e9
    return Before(
        stages=stages, rate=(plan.ticks - warm) / seconds, seconds=seconds,
        rss_bytes=read_peak(), pauses=len(lengths),
        longest_pause_us=max(lengths, default=0) / 1e3,
    )  # fmt: skip


if __name__ == "__main__":
    signal.alarm(_MOST_SECONDS)
    write_out(msgspec.json.encode(run(msgspec.json.decode(sys.argv[1], type=Plan))).decode())
