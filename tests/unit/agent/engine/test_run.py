"""What `agent run` does around the loop, apart from the loop."""

import gc
import mmap
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import agent
from agent import config
from agent.config import Exchange, Series
from agent.engine.errors import RunError
from agent.engine.restore import restore_limits
from agent.engine.run import Shard, quiet_collector, wait_for_go
from agent.engine.shared_memory import create_segment, create_series
from agent.engine.systemd import notify
from agent.journal.rebuild import rebuild
from agent.shm import _segment
from agent.shm.request import set_limits

from ..conftest import Hand

EXAMPLE = (Path(agent.__file__).parent / "example.toml").read_text()


@pytest.mark.parametrize(
    ("shard", "name", "traded"),
    [
        (Shard(), "main", [True, True, True]),
        (Shard(0, 2), "main.0", [True, False, True]),
        (Shard(1, 2), "main.1", [False, True, False]),
    ],
)
def test_a_shard_has_its_name_and_its_symbols(shard: Shard, name: str, traded: list[bool]) -> None:
    assert shard.name("main") == name
    assert shard.traded(["A", "B", "C"]) == traded


def test_a_shard_without_symbols_is_refused() -> None:
    with pytest.raises(RunError, match=r"^--shard: found 2/3 with 2 symbols: none would be left$"):
        Shard(2, 3).traded(["A", "B"])


def test_the_shards_user() -> None:
    def exchange(username: str) -> Exchange:
        return Exchange(address="127.0.0.1", port=1, username=username)

    assert Shard(3, 4).username(exchange("USER{shard}")) == "USER3"
    assert Shard().username(exchange("TRADER")) == "TRADER"
    assert Shard(9, 11).username(exchange("USERS{shard}")) == "USERS9"
    with pytest.raises(RunError, match=r"^exchange\.username: found 'USERS10', allowed: at most 6 characters$"):
        Shard(10, 11).username(exchange("USERS{shard}"))


def test_a_name_of_the_user_is_no_two_shards() -> None:
    for count in (2, 256):
        with pytest.raises(RunError, match=r"^exchange\.username: found 'TRADER' for \d+ shards, allowed: "):
            Shard(1, count).username(Exchange(address="127.0.0.1", port=1, username="TRADER"))


def test_the_shards_files() -> None:
    text = EXAMPLE.replace("[engine]\n", '[engine]\nshm = "/run/x/a.b.segment"\n')
    given = config.parse(text.replace("[series]\n", '[series]\npath = "/run/x/ticks"\n'), "agent.toml")
    assert Shard().place_files(given) == given
    placed = Shard(1, 2).place_files(given)
    assert (placed.engine.shm, placed.series.path) == ("/run/x/a.b.1.segment", "/run/x/ticks.1")
    plain = config.parse(EXAMPLE, "agent.toml")
    assert Shard(1, 2).place_files(plain) == plain


def test_the_collector_rests_and_comes_back() -> None:
    gc.enable()  # `agent run`, which other tests call in this process, turns it off
    with pytest.raises(ZeroDivisionError), quiet_collector():
        assert not gc.isenabled() and gc.get_freeze_count() > 0
        raise ZeroDivisionError
    assert gc.isenabled() and gc.get_freeze_count() == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_it_begins_with_the_signal_and_not_before(number: signal.Signals) -> None:
    """The signal comes while it announces, or after."""
    said = []
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    old = signal.getsignal(signal.SIGUSR1)
    timer = threading.Timer(0.1, os.kill, (os.getpid(), number))
    # Where Python has more threads, another of them may get the signal: block it in the timer's too.
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})
    timer.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        if number == signal.SIGUSR1:
            wait_for_go(lambda: said.append("ready"))
            os.kill(os.getpid(), signal.SIGUSR1)  # a second one does nothing
        else:
            with pytest.raises(RunError, match=rf"^asked to end \({number.name}\) before SIGUSR1"):
                wait_for_go(lambda: said.append("ready"))
        assert said == ["ready"]
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool) -> None:
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1) if abstract else name)
        manager.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert manager.recv(64) == b"READY=1"


@pytest.mark.parametrize("address", [None, "", "/nowhere/notify"])
def test_a_service_manager_that_is_not_there_is_no_error(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)
    notify("READY=1")


def test_a_new_segment_replaces_what_is_no_segment(tmp_path: Path) -> None:
    path = tmp_path / "segment"
    path.write_bytes(b"something else")
    with create_segment(path, 3 * mmap.PAGESIZE) as new, new.memory as segment:
        assert segment[:] == bytes(3 * mmap.PAGESIZE) and path.read_bytes() == b"something else"
        assert new.put_in_place() == (None, False)
        segment[:4] = b"mine"
        assert path.read_bytes()[:4] == b"mine" and path.stat().st_size == 3 * mmap.PAGESIZE


def test_a_start_that_fails_leaves_the_segment_that_was_there(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    path = tmp_path / "segment"
    segment = hand(limits={"kill": 1}).segment
    segment[12:16] = (3).to_bytes(4, "little")
    path.write_bytes(segment)
    with pytest.raises(RunError, match="no ring"), create_segment(path, _segment.size(1)):
        raise RunError("there is no ring of the feed")
    assert path.read_bytes() == segment and list(tmp_path.iterdir()) == [path]
    # A kill that comes while the next one starts is in the new one before the old one is gone.
    segment[_segment.limits()["kill"].offset] = 0
    path.write_bytes(segment)
    with create_segment(path, _segment.size(1)) as new, new.memory as memory:
        set_limits(path, {"kill": 1})
        left, unread = new.put_in_place()
        assert left and left.limits["kill"] == 1 and not unread
        assert memory[_segment.limits()["kill"].offset] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_segment_of_another_version_counts_as_killed(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    path = tmp_path / "segment"
    segment = hand().segment
    segment[8:12] = b"\xff" * 4
    path.write_bytes(segment)
    with create_segment(path, _segment.size(1)) as new, new.memory as memory:
        left, unread = new.put_in_place()
        assert left is None and unread and memory[_segment.limits()["kill"].offset] == 1
    (line,) = restore_limits(hand().engine, rebuild([b""], 1), left, {}, "main", unread=unread)
    assert line.startswith("killed since this agent cannot read the segment of the engine that was here before")
    assert line.endswith("no order passes until `agent resume main`")


def test_a_segment_that_cannot_be_made(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "segment"
    with pytest.raises(RunError, match=rf"^engine\.shm: {path.parent}: No such file or directory$"):
        create_segment(path, 4096).__enter__()


def test_a_series_where_it_is_asked_for(tmp_path: Path) -> None:
    segment = tmp_path / "segment"
    assert create_series(Series(), segment, ["A"]) is None
    assert create_series(Series(capacity=512), segment, ["A"]).address
    assert [path.name for path in tmp_path.iterdir()] == ["segment.series"]
    with pytest.raises(RunError, match=r"^series\.path: .*No such file or directory$"):
        create_series(Series(capacity=512, path=str(tmp_path / "missing" / "series")), segment, ["A"])
