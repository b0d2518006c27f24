"""`agent exchange`: the exchange simulator. Sends a feed, takes and acknowledges orders, and is the
one that measures: it stamps each tick right before its send and each order when its bytes were read.
"""

import contextlib
import mmap
import os
import platform
import random
import select
import socket
import time
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.errors import AgentError
from agent.exchange import _simulator as _exchange
from agent.exchange.feed import Feed, packets
from agent.shm import segment as shm
from agent.shm.histogram import QUANTILES

_SPARE_ORDERS = 1024
#: Bytes of the log of Sequenced Data that a run can fill (an acknowledged order takes 67).
LOG = 1 << 28
_ORDERS_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
_MAGIC = b"HTEXCH1\n"
_KEYS = ("acknowledged", "executions", "canceled", "replaced", "replaces_ignored", "refused_orders", "invalid",
         "unmatched", "duplicates", "out_of_order")  # fmt: skip


class ExchangeError(AgentError):
    """The simulator cannot run; the message says what is in the way."""


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What to run. feed_to, feed_b, listen, request: (host, port). due: by message, ns after the start, or lockstep.

    linger: seconds without an order after the last tick until the session ends. login: seconds to
    wait for the agent; reconnect: for another login after a disconnect, 0: a disconnect ends the run; timeout:
    for the run. drop, duplicate, reorder: shares of the packets of each line, by `seed`. match: execute orders
    that cross the feed's best bid and offer. reject: each so many-th order is rejected. disconnect_after: so many
    orders, once. state: a file that makes the order session survive the simulator. samples: a file for each
    order's stamps, as a NumPy array.
    """

    feed: Feed
    due: array  # type: ignore[type-arg]
    pacing: str
    feed_to: tuple[str, int]
    listen: tuple[str, int]
    feed_b: tuple[str, int] | None = None
    request: tuple[str, int] | None = None
    interface: str = ""
    per_datagram: int = 1
    lockstep: bool = False
    spin: bool = True
    linger: float = 1.0
    login: float = 60.0
    reconnect: float = 0.0
    timeout: float = 600.0
    agent_shm: Path | None = None
    username: str = ""
    password: str = ""
    match: bool = True
    reject: int = 0
    disconnect_after: int = 0
    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = 1
    state: Path | None = None
    samples: Path | None = None


def schedule(feed: Feed, rate: float | None, speed: float | None, burst: int = 1) -> array:  # type: ignore[type-arg]
    """When each message is due, ns after the start: at `rate` a second, `burst` of them at once, or as recorded,
    `speed` times as fast."""
    if rate is not None:
        return array("q", (int(i // burst * burst * 1e9 / rate) for i in range(len(feed))))
    scale = 1.0 / (speed or 1.0)
    return array("q", (int(at * scale) for at in feed.at))


def percentiles(samples: list[int]) -> dict[str, Any]:
    """Exact nearest-rank percentiles of samples in ns, as microseconds; {"count": 0} if none."""
    if not samples:
        return {"count": 0}
    ordered = sorted(samples)
    out: dict[str, Any] = {"count": len(ordered), "min": ordered[0] / 1e3}
    for name, q in QUANTILES:
        out[name] = ordered[min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))] / 1e3
    out["max"] = ordered[-1] / 1e3
    return out


def session_name() -> str:
    """A session of its own for every run, as sequence numbers start again: 10 digits of the clock."""
    return f"{time.time_ns() // 1_000_000 % 10**10:010d}"


def _watch(path: Path | None) -> tuple[memoryview, shm.Segment | None]:
    """The agent's counter of messages, mapped read-only, and its segment as it is now."""
    if path is None:
        return memoryview(array("Q")), None
    try:
        place = shm.counter_offset(path, "messages")
        before = shm.read(path)
        with path.open("rb") as file:
            view = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
    except shm.SegmentError as error:
        raise ExchangeError(f"--agent-shm: {error}") from None
    return memoryview(view)[place : place + 8].cast("Q"), before


def _fates(plan: Plan, count: int, line: int) -> bytes | None:
    """What happens to each packet on a line; None: nothing does."""
    if not (plan.drop or plan.duplicate or plan.reorder):
        return None
    rng = random.Random(f"{plan.seed} {line}")
    edges = (plan.drop, plan.drop + plan.duplicate, plan.drop + plan.duplicate + plan.reorder)
    return bytes((bisect_right(edges, rng.random()) + 1) % 4 for _ in range(count))


def _open(stack: contextlib.ExitStack, option: str, address: tuple[str, int], kind: socket.SocketKind,
          connect: bool, interface: str = "") -> socket.socket:  # fmt: skip
    sock = stack.enter_context(socket.socket(socket.AF_INET, kind))
    try:
        if interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        if connect:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            sock.connect(address)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if kind == socket.SOCK_STREAM:
                # Inherited by the link: orders are taken while the simulator itself is kept from running.
                try:
                    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ORDERS_BUFFER)
                except PermissionError:  # needs CAP_NET_ADMIN; else up to net.core.rmem_max
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ORDERS_BUFFER)
            sock.bind(address)
            sock.setblocking(False)
            if kind == socket.SOCK_STREAM:
                sock.listen(4)
    except OSError as error:
        raise ExchangeError(f"{option} {address[0]}:{address[1]}: {error.strerror}") from None
    return sock


def _state(path: Path, stack: contextlib.ExitStack) -> tuple[int, bytes, bytes]:
    """(descriptor, session, packets so far) of a state file, made if it is not there. A packet that was not wholly
    written is cut off: nobody has read it."""
    try:
        data = path.read_bytes() if path.exists() else b""
        if data and (data[:8] != _MAGIC or len(data) < 18):
            raise ExchangeError(f"--state {path}: not a state file of the simulator (no {_MAGIC!r} at its start)")
        if not data:
            data = _MAGIC + session_name().encode()
            path.write_bytes(data)
        place = 18
        while place + 2 <= len(data) and place + 2 + int.from_bytes(data[place : place + 2], "big") <= len(data):
            place += 2 + int.from_bytes(data[place : place + 2], "big")
        os.truncate(path, place)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError as error:
        raise ExchangeError(f"--state {path}: {error.strerror}") from None
    stack.callback(os.close, descriptor)
    return descriptor, data[8:18], data[18:place]


def _settled(path: Path, before: shm.Segment, counts: dict[str, Any]) -> shm.Segment:
    """The agent's segment when it has read all that was sent, or after 2 s: it may share its CPU."""
    limit = time.monotonic() + 2.0
    while True:
        after = shm.read(path)
        new = {k: after.counters[k] - before.counters[k] for k in ("messages", "accepted")}
        done = new["messages"] >= counts["ticks_sent"] and new["accepted"] >= counts["acknowledged"]
        if done or time.monotonic() > limit or after.pid != before.pid:
            return after
        time.sleep(0.01)


def run(plan: Plan) -> dict[str, Any]:
    """Wait for the agent, run the plan, return the report. Raises ExchangeError."""
    feed = plan.feed
    login = (plan.username.encode().ljust(6), plan.password.encode().ljust(10)) if plan.username else None
    if login and (len(login[0]) > 6 or len(login[1]) > 10):
        raise ExchangeError(f"--login: found {plan.username!r}, allowed: at most 6 characters, and 10 of the password")
    with contextlib.ExitStack() as stack:
        server = _open(stack, "--listen", plan.listen, socket.SOCK_STREAM, connect=False)
        lines = [_open(stack, "--feed-to", plan.feed_to, socket.SOCK_DGRAM, connect=True, interface=plan.interface)]
        if plan.feed_b:
            lines.append(_open(stack, "--feed-b", plan.feed_b, socket.SOCK_DGRAM, connect=True))
        request = _open(stack, "--request-listen", plan.request, socket.SOCK_DGRAM, False) if plan.request else None
        feed_session = session_name().encode()
        descriptor, session, recovered = _state(plan.state, stack) if plan.state else (-1, feed_session, b"")
        sent = packets(feed, feed_session, plan.per_datagram)
        n = len(sent)
        stamps = [array("q", bytes(8 * n)) for _ in range(2)]
        room = 8 * len(feed) + _SPARE_ORDERS
        order_tick, order_at = array("q", bytes(8 * room)), array("q", bytes(8 * room))
        order_id = array("I", bytes(4 * room))
        midnight = time.monotonic_ns() - time.time_ns() % (86_400 * 1_000_000_000)
        # An agent that knocks has its segment made.
        if not select.select([server], [], [], plan.login)[0]:
            raise ExchangeError(f"no agent logged in within {plan.login:g} s")
        watched, before = _watch(plan.agent_shm)
        counts = _exchange.run(
            feed=[line.fileno() for line in lines] + [-1] * (2 - len(lines)), server=server.fileno(),
            request=request.fileno() if request else -1, state=descriptor, session=session,
            feed_session=feed_session, login=login, recovered=recovered, packets=sent.data, starts=sent.starts,
            firsts=sent.firsts, blocks=sent.blocks, due=array("q", (plan.due[i] for i in sent.firsts[:-1])),
            fates=[_fates(plan, n, line) for line in range(2)],
            names=array("Q", (int.from_bytes(s.encode().ljust(8)[:8], "little") for s in feed.symbols)),
            mark_symbol=feed.mark_symbol, marks=feed.marks,
            watched=watched if plan.lockstep else memoryview(array("Q")), intended=stamps[0], sent=stamps[1],
            order_tick=order_tick, order_at=order_at, order_id=order_id, match=plan.match, reject_every=plan.reject,
            disconnect_after=plan.disconnect_after, lockstep=plan.lockstep, spin=plan.spin, linger=plan.linger,
            wait=plan.login, reconnect=plan.reconnect, timeout=plan.timeout, first=1, midnight=midnight, log_room=LOG,
        )  # fmt: skip
        after = _settled(plan.agent_shm, before, counts) if plan.agent_shm and before else None
    if counts["ended"] == "no login":
        raise ExchangeError(f"no agent logged in within {plan.login:g} s")
    if counts["ended"] == "login refused":
        found = counts["login"][3:9].decode("ascii", "replace").rstrip()
        raise ExchangeError(
            f"an agent logged in as {found!r}, not with the name and password that were given here; refused"
        )
    counts["duplicates"] = counts["orders"] - len(set(order_id[: counts["orders"]]))
    packet_of = array("q", _packet_of(sent.firsts))
    orders = [
        (
            order_tick[i],
            stamps[0][packet_of[order_tick[i]]],
            stamps[1][packet_of[order_tick[i]]],
            order_at[i],
            order_id[i],
        )
        for i in range(counts["orders"])
        if order_tick[i] >= 0
    ]
    if plan.samples:
        _write_samples(plan.samples, orders)
    lateness = [stamps[1][i] - stamps[0][i] for i in range(counts["packets_sent"])]
    return report(plan, counts, orders, lateness, before, after)


def _packet_of(firsts: Any) -> Iterator[int]:
    for i in range(len(firsts) - 1):
        for _ in range(firsts[i], firsts[i + 1]):
            yield i


def _write_samples(path: Path, orders: Sequence[tuple[int, ...]]) -> None:
    import numpy as np

    fields = [("message", "i8"), ("intended_ns", "i8"), ("sent_ns", "i8"), ("arrived_ns", "i8"), ("id", "u4")]
    try:
        with path.open("wb") as file:
            np.save(file, np.array(list(orders), dtype=fields))
    except OSError as error:
        raise ExchangeError(f"--samples {path}: {error.strerror}") from None


def report(plan: Plan, counts: dict[str, Any], orders: Sequence[tuple[int, ...]], lateness: list[int],
           before: shm.Segment | None, after: shm.Segment | None) -> dict[str, Any]:  # fmt: skip
    """The findings of a run as plain data; latencies in microseconds. orders: (message, its intended and actual
    send, arrival, UserRefNum), times in ns."""
    done = counts["ticks_sent"]
    problems = []
    if counts["ended"] != "complete":
        problems.append(f"the run ended early: {counts['ended']}")
    if done < len(plan.feed):
        problems.append(f"{len(plan.feed) - done} messages were not sent")
    for key, text in (
        ("duplicates", "orders came twice (same UserRefNum)"), ("out_of_order", "orders out of order"),
        ("unmatched", "orders name no tick of this run"), ("invalid", "orders are invalid and were rejected"),
        ("order_overflow", "orders were not recorded: more than eight a message"),
        ("unsent_answer_bytes", "bytes of answers could not be sent"),
        ("other_messages", "messages of a kind the simulator does not serve"),
    ):  # fmt: skip
        if counts[key]:
            problems.append(f"{counts[key]} {text}")
    agent = None
    if before is not None and after is not None and before.pid == after.pid:
        agent = {name: n - before.counters[name] for name, n in after.counters.items()}
        agent["receive_buffer"] = after.counters["receive_buffer"]
        ticks_in = agent["book_ticker"] + agent["trade"] + agent["itch"]
        if agent["messages"] != done:
            problems.append(f"the agent read {agent['messages']} of {done} messages")
        if agent["orders_sent"] != counts["orders"]:
            problems.append(f"the agent sent {agent['orders_sent']} orders, {counts['orders']} arrived")
        if agent["accepted"] != counts["acknowledged"]:
            problems.append(f"the agent read {agent['accepted']} of {counts['acknowledged']} acknowledgements")
        for name in ("lost", "kernel_drops", "malformed_datagram", "malformed_truncated", "malformed_json",
                     "malformed_field", "malformed_number", "malformed_type", "malformed_oversized"):  # fmt: skip
            if agent[name]:
                problems.append(f"the agent counted {name} {agent[name]}")
        agent["ticks_in"] = ticks_in
    return {
        "ok": not problems,
        "problems": problems,
        "machine": {"host": platform.node(), "kernel": platform.release(), "cpus": os.cpu_count(),
                    "cpu": _cpu(), "affinity": sorted(os.sched_getaffinity(0)),
                    "scheduler": _policy(), "path": _path(plan)},
        "feed": {"name": plan.feed.name, "messages": len(plan.feed), "types": plan.feed.counts,
                 "excluded": plan.feed.excluded},
        "loop": "closed" if plan.lockstep else "open",
        "pacing": plan.pacing,
        "seconds": round(counts["seconds"], 3),
        "ticks": {"sent": done, "book_and_trade": _ticks(plan.feed, done), "send_retries": counts["send_retries"],
                  "refused": counts["feed_refused"]},
        "orders": {key: counts[key] for key in ("orders", *_KEYS)} | {"matched": len(orders)},
        "session": {key: counts[key] for key in ("logins", "logins_refused", "disconnects", "replayed", "queries",
                                                 "sequenced", "last_id")},
        "faults": {key: counts[key] for key in ("dropped", "duplicated", "swapped", "requests", "retransmitted")},
        "generator_lateness_us": percentiles(lateness),
        "tick_to_order_us": {
            "service": percentiles([at - sent for _, _, sent, at, _ in orders]),
            "response": percentiles([at - due for _, due, _, at, _ in orders]),
        },
        "agent": agent,
        "ended": counts["ended"],
    }  # fmt: skip


def _ticks(feed: Feed, done: int) -> int | None:
    """Book tickers and trades among the messages sent; None if only part of the feed was, or it is no Binance feed."""
    if feed.format != "binance":
        return None
    return feed.counts.get("bookTicker", 0) + feed.counts.get("trade", 0) if done == len(feed) else None


def _cpu() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()


def _policy() -> str:
    names = {os.SCHED_OTHER: "other", os.SCHED_FIFO: "fifo", os.SCHED_RR: "rr", os.SCHED_BATCH: "batch"}
    return names.get(os.sched_getscheduler(0), "unknown")


def _path(plan: Plan) -> str:
    return "loopback" if plan.feed_to[0].startswith("127.") else f"to {plan.feed_to[0]}"


def as_text(data: dict[str, Any]) -> str:
    """The report for people."""
    m, t, o = data["machine"], data["ticks"], data["orders"]
    lines = [
        f"exchange: {data['feed']['name']}, {data['loop']} loop, {data['pacing']}, {data['seconds']:.1f} s, "
        + (data["ended"] if data["ok"] else "NOT OK"),
        f"  machine      {m['host']}, Linux {m['kernel']}, {m['cpus']} x {m['cpu']}, {m['path']}, "
        f"simulator on CPUs {','.join(map(str, m['affinity']))}, SCHED_{m['scheduler'].upper()}",
        "  messages     " + ", ".join(f"{k} {n:,}" for k, n in sorted(data["feed"]["types"].items()))
        + "".join(f"; not sent: {n:,} {k}" for k, n in data["feed"]["excluded"].items()),
        f"  sent         {t['sent']:,} (retried sends {t['send_retries']:,})",
        f"  orders       {o['orders']:,} received, {o['acknowledged']:,} acknowledged, {o['duplicates']:,} doubled, "
        f"{o['unmatched']:,} unmatched, {o['invalid']:,} invalid",
        f"  answers      {o['executions']:,} executions, {o['canceled']:,} cancels, {o['replaced']:,} replaces, "
        f"{o['refused_orders']:,} rejects on purpose; {data['session']['disconnects']:,} disconnects, "
        f"{data['session']['replayed']:,} messages replayed",
    ]  # fmt: skip
    if any(data["faults"].values()):
        lines.append("  faults       " + ", ".join(f"{k} {n:,}" for k, n in data["faults"].items()))
    for label, row in (
        ("service", data["tick_to_order_us"]["service"]),
        ("response", data["tick_to_order_us"]["response"]),
        ("lateness", data["generator_lateness_us"]),
    ):
        if not row["count"]:
            lines.append(f"  {label:<12} no samples")
            continue
        lines.append(
            f"  {label:<12} "
            + " ".join(f"{q} {row[q]:.1f}" for q, _ in QUANTILES)
            + f" max {row['max']:.1f} us ({row['count']:,} samples)"
        )
    lines.append(
        "    service: tick's send to order read; response: from the time the tick was due; "
        "lateness: of the simulator's sends"
    )
    if data["agent"]:
        a = data["agent"]
        lines.append(
            f"  agent        messages {a['messages']:,}, ticks in {a['ticks_in']:,}, lost {a['lost']:,}, "
            f"kernel drops {a['kernel_drops']:,}, orders sent {a['orders_sent']:,}, accepted {a['accepted']:,}"
        )
    lines += [f"  PROBLEM: {p}" for p in data["problems"]]
    return "\n".join(lines) + "\n"
