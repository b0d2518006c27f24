"""`agent exchange`: run a plan. The simulator is the one that measures: it stamps each packet right before its send,
and each order when its bytes were read.
"""

import contextlib
import mmap
import os
import platform
import select
import socket
import time
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.exchange import _simulator
from agent.exchange.errors import ExchangeError
from agent.exchange.packets import draw_fates, make_packets
from agent.exchange.plan import Plan, PreparedPlan, schedule
from agent.exchange.report import Machine, Outcome, as_data, as_text
from agent.exchange.samples import make_samples, write_samples
from agent.exchange.state_file import StateFile, open_state_file
from agent.shm import segment as shm
from hosttune.host.sched import POLICY_NAMES

__all__ = ["ExchangeError", "Plan", "as_text", "run", "schedule"]

_SEND_BUFFER = _ORDERS_BUFFER = 4 << 20
_SO_RCVBUFFORCE = 33
#: The agent's counters that say, in lockstep, that it has done with a message: looks at the feed that brought nothing,
#: answers that were read, and what was sent.
SETTLING = ("empty_polls", "exchange_sequence", "orders_sent", "replaces_sent", "cancels_sent")
_DAY_NS = 86_400 * 1_000_000_000
#: Seconds that an agent has to read the last of what was sent.
_SETTLE = 2.0


class _Sockets(msgspec.Struct):
    """What a plan listens to and sends from."""

    server: socket.socket
    lines: list[socket.socket]
    request: socket.socket | None


def run(plan: Plan) -> dict[str, Any]:
    """Wait for the agent, run the plan, and close all that was opened. Returns the report (report.as_data). Raises
    ExchangeError."""
    login = _make_login(plan)
    with contextlib.ExitStack() as stack:
        sockets = _open_sockets(plan, stack)
        prepared = _prepare(plan, sockets, login, stack)
        # An agent that connects has its segment made.
        if not _wait_for_connection(sockets.server, plan.login):
            raise ExchangeError(f"no agent logged in within {plan.login:g} s")
        before = None
        if plan.agent_shm:
            watched, before = _watch_agent(plan.agent_shm, stack)
            if plan.lockstep:
                prepared.watched, *prepared.settling = watched
        counts = _simulator.run(prepared)
        after = _read_settled(plan.agent_shm, before, counts) if plan.agent_shm and before else None
    if counts["ended"] == "no login":
        raise ExchangeError(f"no agent logged in within {plan.login:g} s")
    if counts["ended"] == "login refused":
        found = counts["login"][3:9].decode("ascii", "replace").rstrip()
        raise ExchangeError(
            f"an agent logged in as {found!r}, not with the name and password that were given here; refused"
        )
    samples = prepared.samples
    counts["duplicates"] = counts["orders"] - len(set(samples.user_ref_num[: counts["orders"]]))
    orders = samples.match_orders(prepared.packets, counts["orders"])
    if plan.samples:
        write_samples(plan.samples, orders)
    lateness = [samples.sent[i] - samples.intended[i] for i in range(counts["packets_sent"])]
    return as_data(plan, Outcome(counts, orders, lateness, before, after), _read_machine())


def _make_login(plan: Plan) -> tuple[bytes, bytes] | None:
    """Returns the user and the password of a Login Request, padded; None: anybody may log in."""
    if not plan.username:
        return None
    try:
        login = (plan.username.encode("ascii").ljust(6), plan.password.encode("ascii").ljust(10))
    except UnicodeEncodeError:
        raise ExchangeError(
            f"--login: found {plan.username!r}, allowed: ASCII characters, and in the password"
        ) from None
    if len(login[0]) > 6 or len(login[1]) > 10:
        raise ExchangeError(f"--login: found {plan.username!r}, allowed: at most 6 characters, and 10 of the password")
    return login


def _make_session_name() -> bytes:
    """Returns a name of its own for every run, as sequence numbers start again: 10 digits of the clock."""
    return f"{time.time_ns() // 1_000_000 % 10**10:010d}".encode()


def _open_sockets(plan: Plan, stack: contextlib.ExitStack) -> _Sockets:
    """Open what the plan names; the stack closes it. Raises ExchangeError."""
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    with _naming("--listen", plan.listen):
        _enlarge_receive_buffer(server)
        _bind(server, plan.listen)
        server.listen(4)
    lines = []
    for option, address, interface in (("--feed-to", plan.feed_to, plan.interface), ("--feed-b", plan.feed_b, "")):
        if address is not None:
            line = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            with _naming(option, address):
                if interface:
                    line.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
                line.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
                line.connect(address)
            lines.append(line)
    request = None
    if plan.request:
        request = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with _naming("--request-listen", plan.request):
            _bind(request, plan.request)
    return _Sockets(server, lines, request)


@contextlib.contextmanager
def _naming(option: str, address: tuple[str, int]) -> Iterator[None]:
    """Turn an OSError into an ExchangeError that names the option."""
    try:
        yield
    except OSError as error:
        raise ExchangeError(f"{option} {address[0]}:{address[1]}: {error.strerror}") from None


def _bind(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    sock.setblocking(False)


def _enlarge_receive_buffer(server: socket.socket) -> None:
    """The link inherits it: orders are taken while the simulator itself is kept from running."""
    try:
        server.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ORDERS_BUFFER)
    except PermissionError:  # needs CAP_NET_ADMIN; else up to net.core.rmem_max
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ORDERS_BUFFER)


def _prepare(
    plan: Plan, sockets: _Sockets, login: tuple[bytes, bytes] | None, stack: contextlib.ExitStack
) -> PreparedPlan:
    """Make the packets, their fates, and room for the samples; open the state file. Raises ExchangeError."""
    feed, feed_session = plan.feed, _make_session_name()
    state = open_state_file(plan.state, feed_session, stack) if plan.state else StateFile(-1, feed_session, b"")
    packets = make_packets(feed, feed_session, plan.per_datagram)
    fates = [draw_fates(plan.drop, plan.duplicate, plan.reorder, plan.seed, line, len(packets)) for line in range(2)]
    lines = [line.fileno() for line in sockets.lines]
    return PreparedPlan(
        plan=plan,
        lines=(lines[0], lines[1] if len(lines) > 1 else -1),
        server=sockets.server.fileno(),
        request_socket=sockets.request.fileno() if sockets.request else -1,
        state_file=state.descriptor,
        recovered=state.packets,
        session=state.session,
        feed_session=feed_session,
        login=login,
        packets=packets,
        due=array("q", (plan.due[i] for i in packets.firsts[:-1])),
        fates=(fates[0], fates[1]),
        symbol_names=_name_symbols(feed.symbols, plan.exchange_symbols),
        watched=None,
        samples=make_samples(len(packets), len(feed)),
        midnight=time.monotonic_ns() - time.time_ns() % _DAY_NS,
    )


def _name_symbols(symbols: list[str], given: dict[str, str]) -> "array[int]":
    """Returns PreparedPlan.symbol_names. given: names in orders by names in the feed. Raises ExchangeError."""
    if unknown := sorted(given.keys() - set(symbols)):
        raise ExchangeError(f"--exchange-symbols: found {unknown[0]!r}, allowed: symbols with prices in the feed")
    names = [given.get(symbol, symbol) for symbol in symbols]
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ExchangeError(f"--exchange-symbols: found {twice[0]!r} for two symbols, allowed: each once")
    encoded = (name.encode() for name in names)
    return array("Q", (int.from_bytes(name.ljust(8), "little") if len(name) <= 8 else 0 for name in encoded))


def _wait_for_connection(server: socket.socket, seconds: float) -> bool:
    """Returns whether a client connects in that time."""
    poll = select.poll()
    poll.register(server, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _watch_agent(path: Path, stack: contextlib.ExitStack) -> tuple[list[memoryview], shm.Segment]:
    """Returns the agent's counter of messages and SETTLING, mapped read-only until the stack closes, and its segment as
    it is now. Raises ExchangeError."""
    try:
        places = [shm.counter_offset(path, name) for name in ("messages", *SETTLING)]
        before = shm.read(path)
    except shm.SegmentError as error:
        raise ExchangeError(f"--agent-shm: {error}") from None
    try:
        with path.open("rb") as file:
            mapped = stack.enter_context(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
    except OSError as error:
        raise ExchangeError(f"--agent-shm: {path}: {error.strerror}") from None
    whole = stack.enter_context(memoryview(mapped))
    parts = [stack.enter_context(whole[place : place + 8]) for place in places]
    return [stack.enter_context(part.cast("Q")) for part in parts], before


def _read_settled(path: Path, before: shm.Segment, counts: dict[str, Any]) -> shm.Segment:
    """Returns the agent's segment when it has read all that was sent, or after _SETTLE: it may share its CPU."""
    limit = time.monotonic() + _SETTLE
    while True:
        after = shm.read(path)
        new = {k: after.counters[k] - before.counters[k] for k in ("messages", "accepted")}
        done = new["messages"] >= counts["ticks_sent"] and new["accepted"] >= counts["acknowledged"]
        if done or time.monotonic() > limit or after.pid != before.pid:
            return after
        time.sleep(0.01)


def _read_machine() -> Machine:
    return Machine(
        host=platform.node(),
        kernel=platform.release(),
        cpus=os.cpu_count(),
        cpu=_read_cpu_model(),
        affinity=sorted(os.sched_getaffinity(0)),
        scheduler=POLICY_NAMES.get(os.sched_getscheduler(0), "unknown"),
    )


def _read_cpu_model() -> str:
    """Returns the CPU's name, or the machine's architecture where the kernel does not tell it."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine()
