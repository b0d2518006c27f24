"""`agent exchange`: the exchange simulator. Sends a feed, takes and acknowledges orders, and is the
one that measures: it stamps each tick right before its send and each order when its bytes were read.
"""

import contextlib
import mmap
import os
import platform
import socket
import time
from array import array
from pathlib import Path
from typing import Any

import msgspec

from agent import _exchange, shm, soup
from agent.feed import Feed

_SPARE_ORDERS = 1024


class ExchangeError(Exception):
    """The simulator cannot run; the message says what is in the way."""


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What to run. feed_to, listen: (host, port). due: n times in ns after the start, or lockstep.

    linger: seconds without an order after the last tick until the session ends. login: seconds to
    wait for the agent; timeout: for the run.
    """

    feed: Feed
    due: array  # type: ignore[type-arg]
    pacing: str
    feed_to: tuple[str, int]
    listen: tuple[str, int]
    interface: str = ""
    lockstep: bool = False
    spin: bool = True
    linger: float = 1.0
    login: float = 60.0
    timeout: float = 600.0
    agent_shm: Path | None = None
    username: str = ""
    password: str = ""


def schedule(feed: Feed, rate: float | None, speed: float | None) -> array:  # type: ignore[type-arg]
    """When each message is due, ns after the start: evenly at `rate` a second, or as recorded,
    `speed` times as fast."""
    if rate is not None:
        return array("q", (int(i * 1e9 / rate) for i in range(len(feed))))
    scale = 1.0 / (speed or 1.0)
    return array("q", (int(at * scale) for at in feed.at))


def percentiles(samples: list[int]) -> dict[str, Any]:
    """Exact nearest-rank percentiles of samples in ns, as microseconds; {"count": 0} if none."""
    if not samples:
        return {"count": 0}
    ordered = sorted(samples)
    out: dict[str, Any] = {"count": len(ordered), "min": ordered[0] / 1e3}
    for name, q in shm.QUANTILES:
        out[name] = ordered[min(len(ordered) - 1, max(0, -(-int(q * 1000) * len(ordered) // 1000) - 1))] / 1e3
    out["max"] = ordered[-1] / 1e3
    return out


def session_name() -> str:
    """A session of its own for every run, as sequence numbers start again: 10 digits of the clock."""
    return f"{time.time_ns() // 1_000_000 % 10**10:010d}"


def _await_login(server: socket.socket, plan: Plan, session: str) -> tuple[socket.socket, bytes]:
    """Accept connections until one logs in: (its socket, bytes that came after the login)."""
    limit = time.monotonic() + plan.login
    while True:
        server.settimeout(max(0.01, limit - time.monotonic()))
        try:
            link, peer = server.accept()
        except TimeoutError:
            raise ExchangeError(f"no agent logged in within {plan.login:g} s") from None
        link.settimeout(max(0.01, min(5.0, limit - time.monotonic())))
        data = b""
        with contextlib.suppress(OSError):
            while len(data) < soup.LOGIN_SIZE and (more := link.recv(4096)):
                data += more
        login = soup.parse_login(data)
        if login is None:
            link.close()
        elif plan.username and login != (plan.username, plan.password):
            with contextlib.suppress(OSError):
                link.sendall(soup.login_rejected(b"A"))
            link.close()
            raise ExchangeError(
                f"{peer[0]}:{peer[1]} logged in as {login[0]!r}, not with the name and password "
                "that were given here; refused"
            )
        else:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            link.sendall(soup.login_accepted(session, 1))
            link.setblocking(False)
            return link, data[soup.LOGIN_SIZE :]


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


def run(plan: Plan) -> dict[str, Any]:
    """Wait for the agent, run the plan, return the report. Raises ExchangeError."""
    feed, n, session = plan.feed, len(plan.feed), session_name()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        out = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            server.bind(plan.listen)
            server.listen(4)
        except OSError as error:
            raise ExchangeError(f"--listen {plan.listen[0]}:{plan.listen[1]}: {error.strerror}") from None
        try:
            if plan.interface:
                out.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, plan.interface.encode())
            out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 << 20)
            out.connect(plan.feed_to)
        except OSError as error:
            raise ExchangeError(f"--feed-to {plan.feed_to[0]}:{plan.feed_to[1]}: {error.strerror}") from None
        link, residue = _await_login(server, plan, session)
        stack.enter_context(link)
        watched, before = _watch(plan.agent_shm)
        intended, sent = array("q", bytes(8 * n)), array("q", bytes(8 * n))
        room = 8 * n + _SPARE_ORDERS
        order_tick, order_at = array("q", bytes(8 * room)), array("q", bytes(8 * room))
        midnight = time.monotonic_ns() - time.time_ns() % (86_400 * 1_000_000_000)
        counts = _exchange.run(
            out.fileno(), link.fileno(), session.encode(), feed.text, feed.offsets, plan.due,
            watched if plan.lockstep else memoryview(array("Q")), intended, sent, order_tick, order_at,
            memoryview(residue), lockstep=plan.lockstep, spin=plan.spin, linger=plan.linger,
            timeout=plan.timeout, first=1, midnight=midnight,
        )  # fmt: skip
        after = shm.read(plan.agent_shm) if plan.agent_shm and before else None
    return report(plan, counts, intended, sent, order_tick, order_at, before, after)


def report(plan: Plan, counts: dict[str, Any], intended: Any, sent: Any, order_tick: Any, order_at: Any,
           before: shm.Segment | None, after: shm.Segment | None) -> dict[str, Any]:  # fmt: skip
    """The findings of a run as plain data; latencies in microseconds."""
    orders = [(order_tick[i], order_at[i]) for i in range(counts["orders"]) if order_tick[i] >= 0]
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
    if before is not None and after is not None:
        agent = {name: n - before.counters[name] for name, n in after.counters.items()}
        agent["receive_buffer"] = after.counters["receive_buffer"]
        ticks_in = agent["book_ticker"] + agent["trade"]
        if agent["messages"] != done:
            problems.append(f"the agent read {agent['messages']} of {done} messages")
        if agent["orders_sent"] != counts["orders"]:
            problems.append(f"the agent sent {agent['orders_sent']} orders, {counts['orders']} arrived")
        if agent["accepted"] != counts["acknowledged"]:
            problems.append(f"the agent read {agent['accepted']} of {counts['acknowledged']} acknowledgements")
        for name in ("lost", "kernel_drops", "malformed_datagram", "malformed_truncated", "malformed_json",
                     "malformed_field", "malformed_number"):  # fmt: skip
            if agent[name]:
                problems.append(f"the agent counted {name} {agent[name]}")
        agent["ticks_in"] = ticks_in
    lateness = [sent[i] - intended[i] for i in range(done)]
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
        "orders": {key: counts[key] for key in ("orders", "acknowledged", "duplicates", "out_of_order",
                                                "unmatched", "invalid")} | {"matched": len(orders)},
        "generator_lateness_us": percentiles(lateness),
        "tick_to_order_us": {
            "service": percentiles([at - sent[tick] for tick, at in orders]),
            "response": percentiles([at - intended[tick] for tick, at in orders]),
        },
        "agent": agent,
        "ended": counts["ended"],
    }  # fmt: skip


def _ticks(feed: Feed, done: int) -> int | None:
    """Book tickers and trades among the messages sent; None if only part of the feed was."""
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
    ]  # fmt: skip
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
            + " ".join(f"{q} {row[q]:.1f}" for q, _ in shm.QUANTILES)
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
