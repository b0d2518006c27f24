"""No run leaves a descriptor or memory behind, however it ends."""

import contextlib
import gc
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.exchange import _simulator
from agent.exchange import simulator as exchange
from agent.exchange.feed import generated
from agent.exchange.plan import PreparedPlan
from benchmarks.agent.drive import free_port

from .. import soup_client as soup
from .messages import prepare

REPEATS = 60
#: Pages that a process may take in that many runs without having lost any: far less than one log (256 pages) a run.
SPARE_BYTES = 4 << 20
LOG = 1 << 20


def open_descriptors() -> list[str]:
    """Without that of the listing itself."""
    return [n for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")]


def memory() -> tuple[int, int]:
    """Address space and resident memory of this process, in bytes."""
    size, resident = Path("/proc/self/statm").read_text().split()[:2]
    page = os.sysconf("SC_PAGE_SIZE")
    return int(size) * page, int(resident) * page


def repeat(run: Callable[[], None], times: int = REPEATS) -> None:
    """Run it often; no descriptor stays open, and neither address space nor resident memory grows. A leak grows each
    time: one growth alone is an arena (64 MiB) that malloc(3) makes for a thread."""
    for _ in range(3):
        run()
    gc.collect()  # what earlier tests left
    open_before, growths = len(open_descriptors()), []
    for _ in range(3):
        before = memory()
        for _ in range(times):
            run()
        gc.collect()
        assert len(open_descriptors()) == open_before
        growths.append(max(now - then for now, then in zip(memory(), before, strict=True)))
        if growths[-1] < SPARE_BYTES:
            return
    raise AssertionError(f"grew by {growths} bytes")


def changed(**changes: Any) -> PreparedPlan:
    return prepare([b"x", b"y"], changes={"log_capacity": LOG} | changes)


def with_packets(**changes: Any) -> PreparedPlan:
    plan = changed()
    plan.packets = msgspec.structs.replace(plan.packets, **changes)
    return plan


def with_samples(**changes: Any) -> PreparedPlan:
    plan = changed()
    plan.samples = msgspec.structs.replace(plan.samples, **changes)
    return plan


def with_options(**options: Any) -> PreparedPlan:
    return prepare([b"x", b"y"], changes={"log_capacity": LOG}, **options)


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        (changed(session=b"short"), "session: found b'short', expected 10 bytes"),
        (changed(feed_session=None), "feed_session: found None, expected 10 bytes"),
        (changed(session="SESSION001"), "bytes"),
        (changed(login=(b"user", b"pass      ")), "login: user: found b'user', expected 6 bytes"),
        (changed(login=(b"user  ", b"pass")), "login: password: found b'pass', expected 10 bytes"),
        (changed(login=()), "index out of range"),
        (changed(fates=(b"\0", None)), "fates: found 1 values, expected 2"),
        (changed(fates=(None, b"\0\0\0")), "fates: found 3 values, expected 2"),
        (changed(fates=("x", None)), "bytes-like object"),
        (changed(fates=()), "index out of range"),
        (changed(lines=(-1,)), "index out of range"),
        (changed(lines=(2**40, -1)), "value too large"),
        (changed(server="x"), "expected int|integer"),
        (changed(due=array("q")), "packets: found none"),
        (changed(due=array("q", [1])), r"packets\.starts: found 3 values, expected 2"),
        (changed(due=array("i", [1, 2])), "Buffer dtype mismatch"),
        (changed(watched=memoryview(array("Q"))), "watched: found 0 values, expected 1"),
        (changed(midnight="x"), "int"),
        (changed(log_capacity=-1), "negative"),
        (with_packets(firsts=array("q", [0, 1])), r"packets\.firsts: found 2 values, expected 3"),
        (with_packets(firsts=array("q", [0, 1, 3])), r"packets\.firsts: messages: found 3"),
        (with_packets(starts=array("q", [0, 1, 3])), r"packets\.starts: bytes: found 3"),
        (with_packets(blocks=array("q")), "packets: found none"),
        (with_samples(sent=array("q")), r"samples\.sent: found 0 values, expected 2"),
        (with_samples(intended=array("q")), r"samples\.intended: found 0 values, expected 2"),
        (with_samples(message=array("q")), r"samples\.message: found no values"),
        (with_samples(at=array("q")), r"samples\.at: found 0 values"),
        (with_samples(user_ref_num=array("I")), r"samples\.user_ref_num: found 0 values"),
        (with_samples(at=bytes(8)), "not writable"),
        (with_options(reject=-1), "negative"),
        (with_options(disconnect_after="x"), "int"),
        (with_options(linger="x"), "float|real number"),
    ],
)
def test_a_plan_that_does_not_fit_together_is_an_error_and_leaves_nothing(plan: PreparedPlan, error: str) -> None:
    def run() -> None:
        with pytest.raises((ValueError, TypeError, OverflowError, IndexError, BufferError), match=error):
            _simulator.run(plan)

    repeat(run)


def test_what_is_no_plan_is_an_error_and_leaves_nothing() -> None:
    def run() -> None:
        with pytest.raises(AttributeError):
            _simulator.run(None)  # type: ignore[arg-type]

    repeat(run)


@pytest.mark.parametrize("capacity", [1 << 62, 2**64 - 1])
def test_a_log_that_memory_does_not_hold_is_an_error_and_leaves_nothing(capacity: int) -> None:
    plan = changed(log_capacity=capacity)

    def run() -> None:
        with pytest.raises(MemoryError):
            _simulator.run(plan)

    repeat(run)


def test_each_allocation_may_fail_and_leaves_nothing() -> None:
    """In a process whose address space is bounded: logs from a small one up to one that never fits, so that it is now
    this allocation that fails and now another. One that was lost would leave no room for the small log in the end."""
    script = """
        import resource, sys
        sys.path.append(sys.argv[1])
        from pathlib import Path
        from agent.exchange import _simulator
        from tests.unit.agent.exchange.messages import prepare

        def space():
            return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()

        plan = prepare([b"x"], login=0.0)
        assert _simulator.run(plan)["ended"] == "no login"
        limit = space() + (64 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        ended = {"no login": 0, "no memory": 0}
        before = None
        for turn in range(8):
            for megabytes in range(1, 80):
                plan.log_capacity = megabytes << 20
                try:
                    ended[_simulator.run(plan)["ended"]] += 1
                except MemoryError:
                    ended["no memory"] += 1
            before = before or space()
        assert min(ended.values()) > 80, ended
        assert space() - before < 4 << 20, space() - before
        plan.log_capacity = 1 << 20
        assert _simulator.run(plan)["ended"] == "no login"
    """
    root = str(Path(__file__).parents[4])
    done = subprocess.run([sys.executable, "-P", "-c", textwrap.dedent(script), root], capture_output=True, text=True,
                          timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_descriptors_that_are_closed_end_in_a_result_and_leave_nothing() -> None:
    with socket.socket() as closed:
        number = closed.fileno()

    def run() -> None:
        changes = {"server": number, "lines": (number, number), "request_socket": number}
        plan = prepare([b"x"], changes=changes, login=0.01, spin=False)
        assert _simulator.run(plan)["ended"] == "no login"

    repeat(run, 10)


# ---------------------------------------------------------------------------------- the whole simulator

FEED = generated(2, 1)


def plan_for(port: int, **options: Any) -> exchange.Plan:
    return exchange.Plan(**{
        "feed": FEED, "due": exchange.schedule(FEED, 1000, None), "pacing": "", "feed_to": ("127.0.0.1", 9),
        "listen": ("127.0.0.1", port), "login": 0.01, "linger": 0.01, "timeout": 2.0, "spin": False,
    } | options)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "no agent logged in"),
        ({"feed_to": ("127.0.0.256", 9)}, "--feed-to|not known"),
        ({"feed_b": ("127.0.0.1", 9), "interface": "no-such"}, "--feed-to"),
        ({"request": ("192.0.2.1", 9)}, "--request-listen 192.0.2.1:9"),
        ({"listen": ("192.0.2.1", 9)}, "--listen 192.0.2.1:9"),
        ({"state": Path("/proc/self/status")}, "--state"),
        ({"state": Path("/nowhere/state")}, "--state"),
        ({"username": "longer than six"}, "--login"),
        ({"username": "x", "password": "longer than ten"}, "--login"),
        ({"username": "\u00e9"}, "--login"),
    ],
)
def test_a_plan_that_cannot_be_opened_leaves_nothing(options: dict[str, Any], error: str) -> None:
    port = free_port(socket.SOCK_STREAM)

    def run() -> None:
        with pytest.raises(exchange.ExchangeError, match=error):
            exchange.run(plan_for(port, **options))

    repeat(run, 10)


def played(agent: Callable[[socket.socket], None], **options: Any) -> Any:
    """The report of a run, or the error, with an agent that connects and does this."""
    port = free_port(socket.SOCK_STREAM)

    def play() -> None:
        limit = time.monotonic() + 5
        while time.monotonic() < limit:
            with contextlib.suppress(ConnectionRefusedError):
                # The simulator may close at once what it sees connect.
                with (
                    contextlib.suppress(ConnectionResetError),
                    socket.create_connection(("127.0.0.1", port), timeout=5) as link,
                ):
                    agent(link)
                return
            time.sleep(0.005)

    thread = threading.Thread(target=play)
    thread.start()
    try:
        return exchange.run(plan_for(port, **({"login": 5.0} | options)))["ended"]
    except exchange.ExchangeError as error:
        return str(error)
    finally:
        thread.join()


def log_in(link: socket.socket) -> None:
    link.sendall(soup.login_request("user", "pass"))
    link.recv(33)


def log_in_and_wait(link: socket.socket) -> None:
    log_in(link)
    while link.recv(100):
        pass


def log_in_and_send_garbage(link: socket.socket) -> None:
    log_in(link)
    link.sendall(b"\0\0")
    while link.recv(100):
        pass


@pytest.mark.parametrize(
    ("agent", "options", "end"),
    [
        (log_in_and_wait, {"username": "other"}, "an agent logged in as 'user'"),
        (log_in, {}, "disconnected"),
        (log_in_and_send_garbage, {}, "protocol"),
        (log_in_and_wait, {"timeout": 0.1}, "timeout"),
        (log_in_and_wait, {"agent_shm": Path("/nowhere/segment")}, "--agent-shm"),
        (log_in_and_wait, {"samples": Path("/nowhere/samples")}, "--samples"),
    ],
)
def test_an_end_with_connections_leaves_nothing(
    agent: Callable[[socket.socket], None], options: dict[str, Any], end: str
) -> None:
    def run() -> None:
        assert end in played(agent, **options)

    repeat(run, 3)


def test_a_segment_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(bytes(100_000))

    def run() -> None:
        assert "--agent-shm" in played(log_in_and_wait, agent_shm=path)

    repeat(run, 3)
