"""`agent kill`, `resume` and `limits --set`: 0 only when the loop has confirmed, else what is the matter."""

import mmap
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent import cli
from agent.monitor import control
from agent.shm import _segment, identity, place
from agent.shm import segment as shm
from agent.shm.ring import Ring

from ..conftest import Hand


class Live:
    """A segment in a file, whose loop looks at the limits until it is told to hang."""

    def __init__(self, path: Path, pid: int | None = None) -> None:
        self.path, self.hand = path, Hand()
        if pid is None:
            self.owner = identity.own()
        else:
            self.owner = pid, identity.read_start_time(pid) or 0
        self.hand.engine.identify(*self.owner, 0, identity.read_boot_id().encode(), 0)
        self.path.write_bytes(self.hand.segment)
        self.hangs = threading.Event()
        with self.path.open("r+b") as file:
            self.file = mmap.mmap(file.fileno(), 0)
        self.ring = Ring.create(place.ring_of(path), 4096, record=64)

    def loop(self) -> None:
        """What the loop does, on the file: the engine has its segment in memory of its own."""
        while not self.hangs.wait(0.002):
            at = {name: word.offset for name, word in _segment.request_fields().items()}
            first = _segment.limits()["kill"].offset
            self.hand.segment[first : first + 8] = self.file[first : first + 8]
            for name in ("uid", "login", "begun", "complete"):
                self.hand.segment[at[name] : at[name] + 8] = self.file[at[name] : at[name] + 8]
            self.hand.engine.do_housekeeping()
            for word in (at["answered"], at["journaled"]):
                self.file[word : word + 8] = self.hand.segment[word : word + 8]

    def state(self, number: int) -> None:
        self.file[12:16] = number.to_bytes(4, "little")

    def beat(self, age_ns: int = 0) -> None:
        at = 48  # heartbeat_ns
        self.file[at : at + 8] = (shm.now_ns() - age_ns).to_bytes(8, "little")


@contextmanager
def running(live: Live) -> Iterator[None]:
    live.state(2)
    live.beat()
    thread = threading.Thread(target=live.loop)
    thread.start()
    try:
        yield
    finally:
        live.hangs.set()
        thread.join(30)


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(control, "ANSWERS", 0.3)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    tmp_path.chmod(0o700)


def test_heartbeat_is_where_it_is_looked_for(tmp_path: Path) -> None:
    live = Live(tmp_path / "main.segment")
    live.beat()
    assert abs(shm.now_ns() - shm.read(live.path).heartbeat_ns) < 10**9


def test_a_loop_confirms(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(tmp_path / "main.segment")
    with running(live):
        assert cli.main(["kill", "main"]) == 0
        assert capsys.readouterr() == (
            f"{live.path}: killed, confirmed by its loop; no order is open at the exchange\n", "")  # fmt: skip
        assert cli.main(["resume"]) == 0
        assert capsys.readouterr() == (f"{live.path}: orders pass again, confirmed by its loop\n", "")
        assert cli.main(["resume", "main"]) == 0
        assert "; it was not killed" in capsys.readouterr().out
        assert cli.main(["limits", "main", "--set", "max_size=50", "--set", "max_position=7"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("max_size: 100 -> 50 whole units, confirmed by the loop\n"
                              "max_position: 0 -> 7 whole units, confirmed by the loop\n")  # fmt: skip
        assert cli.main(["limits", "main", "--reset", "max_size"]) == 0
        assert capsys.readouterr().out.startswith("max_size: 50 -> 100 whole units, confirmed by the loop\n")
        assert cli.main(["limits", "main", "--reset", "max_size"]) == 0
        assert capsys.readouterr().out.startswith("no limit has changed, confirmed by the loop\n")
        assert cli.main(["limits", "--reset", "max_sise"]) == 2
        assert "--reset: unknown limit max_sise; did you mean max_size?" in capsys.readouterr().err
        assert cli.main(["limits", "--reset", "kill", "--set", "kill=1"]) == 2


@pytest.mark.parametrize("words", [["kill"], ["resume"], ["limits", "--set", "max_size=50"], ["stats"]])
def test_an_empty_name_is_no_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """As of a shell's variable that is not set: neither the only engine is meant, nor all."""
    live = Live(tmp_path / "main.segment")
    with running(live):
        before = shm.read(live.path).limits
        with pytest.raises(SystemExit) as ended:
            cli.main([*words[:1], "", *words[1:]])
        assert ended.value.code == 2
        assert "found '', allowed: the name of an engine" in capsys.readouterr().err
        assert shm.read(live.path).limits == before


def test_a_loop_that_hangs_confirms_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(tmp_path / "main.segment")
    live.state(2)
    live.beat(5 * 10**9)
    assert cli.main(["kill"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"agent: {live.path}: not confirmed: the loop of process {os.getpid()} hangs, "
                                        "its heartbeat is 5.")  # fmt: skip
    assert err.endswith("the switch is on, and no order passes the gate; when last seen: no order is open at the "
                        "exchange\n") and shm.read(live.path).limits["kill"] == 1  # fmt: skip
    assert cli.main(["resume"]) == 1 and "hangs" in capsys.readouterr().err
    assert cli.main(["limits", "--set", "max_size=5"]) == 1
    assert "not confirmed: the loop" in capsys.readouterr().err


def test_an_engine_that_has_ended_is_said_and_its_next_start_is_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    child = subprocess.Popen(["sleep", "60"])
    live = Live(tmp_path / "main.segment", child.pid)
    live.state(2)
    child.kill()
    child.wait()
    assert cli.main(["kill", "main"]) == 1
    assert capsys.readouterr().err == (
        f"agent: {live.path}: nothing runs: the engine has ended (its process is gone); at its end: no order is "
        "open at the exchange; its next start begins killed, until `agent resume`, unless the host is booted before\n"
    )
    assert shm.read(live.path).limits["kill"] == 1
    for words in (["resume", "main"], ["limits", "main", "--set", "max_size=7"]):
        assert cli.main(words) == 1
        assert (
            "nothing runs: the engine has ended (its process is gone); nothing was changed" in capsys.readouterr().err
        )
    now = shm.read(live.path).limits
    assert (now["kill"], now["max_size"]) == (1, 100)
    live.state(3)
    assert cli.main(["kill", "main"]) == 1 and "nothing runs: the engine has ended" in capsys.readouterr().err


def test_a_process_that_is_stopped_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    child = subprocess.Popen(["sleep", "60"])
    try:
        live = Live(tmp_path / "main.segment", child.pid)
        live.state(2)
        child.send_signal(signal.SIGSTOP)
        limit = time.monotonic() + 10
        while not control._is_frozen(child.pid):
            assert time.monotonic() < limit
        assert cli.main(["kill", "main"]) == 1
        assert f"not confirmed: process {child.pid} is stopped (SIGSTOP, or a debugger); the switch is on" in (
            capsys.readouterr().err)  # fmt: skip
    finally:
        child.kill()
        child.wait()


def test_an_engine_that_starts_takes_a_kill_and_no_limit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(tmp_path / "main.segment")
    live.state(0)
    assert cli.main(["limits", "--set", "max_size=7"]) == 1
    assert "the engine is starting, or waits to be let go" in (err := capsys.readouterr().err)
    assert "; nothing was changed" in err and shm.read(live.path).limits["max_size"] == 100
    assert cli.main(["kill"]) == 1 and "the switch is on" in capsys.readouterr().err


def test_all_is_every_engine_that_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead = Live(tmp_path / "old.segment")
    dead.state(3)
    shards = [Live(tmp_path / f"main.{n}.segment") for n in (0, 1)]
    with running(shards[0]), running(shards[1]):
        for words in (["--all"], ["main"]):
            assert cli.main(["kill", *words]) == 0
            out = capsys.readouterr().out
            assert out.count("killed, confirmed by its loop") == 2 and "old" not in out
        assert cli.main(["kill", "main.1"]) == 0 and capsys.readouterr().out.count("\n") == 1
        assert cli.main(["kill"]) == 2
        assert "2 agents run here, name one: " in capsys.readouterr().err
        assert cli.main(["kill", "--all", "main"]) == 2
        assert "--all: found with main, allowed: alone" in capsys.readouterr().err
        assert cli.main(["resume", "main"]) == 0
    assert shm.read(dead.path).limits["kill"] == 0
    for live in shards:
        live.state(3)
    assert cli.main(["kill", "--all"]) == 2 and "no agent runs here" in capsys.readouterr().err


def test_a_name_is_the_engine_that_runs_wherever_it_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An engine of the user's that has ended does not stand for the service's that trades."""
    service = tmp_path / "service"
    service.mkdir(mode=0o700)
    monkeypatch.setattr("agent.shm.place.SYSTEM", service)
    dead, live = Live(tmp_path / "main.segment"), Live(service / "main.segment")
    dead.state(3)
    with running(live):
        for words in (["kill", "main"], ["resume", "main"], ["limits", "main", "--set", "kill=1"], ["limits", "main"]):
            assert cli.main(words) == 0, words
            out = capsys.readouterr().out
            assert str(dead.path) not in out and (f"{live.path}: " in out or "max_size  " in out)
    assert (shm.read(live.path).limits["kill"], shm.read(dead.path).limits["kill"]) == (1, 0)


def test_a_shard_between_two_starts_is_killed_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dead, live = Live(tmp_path / "main.0.segment"), Live(tmp_path / "main.1.segment")
    dead.state(3)
    with running(live):
        assert cli.main(["kill", "main"]) == 1
        out, err = capsys.readouterr()
        assert out.startswith(f"{live.path}: killed, confirmed") and err.startswith(
            f"agent: {dead.path}: nothing runs: "
        )
        assert "its next start begins killed" in err
        assert shm.read(dead.path).limits["kill"] == shm.read(live.path).limits["kill"] == 1
        assert cli.main(["resume", "main"]) == 1
        assert (
            f"agent: {dead.path}: nothing runs: " in capsys.readouterr().err and not shm.read(live.path).limits["kill"]
        )
        assert cli.main(["limits", "main", "--set", "max_size=50"]) == 1
        out, err = capsys.readouterr()
        assert out.startswith(f"{live.path}:\nmax_size: 100 -> 50 ") or f"\n{live.path}:\nmax_size: 100 -> 50 " in out
        assert f"{dead.path}:\n" in out and f"agent: {dead.path}: nothing runs: " in err
        dead.path.write_bytes(b"x" * 4096)
        assert cli.main(["limits", "main"]) == 1
        out, err = capsys.readouterr()
        assert f"{live.path}:\n" in out and err.startswith(f"agent: {dead.path}: not an agent's segment")


def test_one_of_several_that_fails_fails_and_the_others_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, hung = Live(tmp_path / "good.segment"), Live(tmp_path / "hung.segment")
    hung.state(2)
    (tmp_path / "bad.segment").write_bytes(b"x" * 4096)
    with running(good):
        assert cli.main(["kill", "--all"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{good.path}: killed") and err.count("\n") == 2
    assert "bad.segment: not an agent's segment" in err and "hung.segment: not confirmed: " in err
    assert shm.read(hung.path).limits["kill"] == 1


def test_a_kill_does_not_wait_for_another_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agent.shm import request

    live = Live(tmp_path / "main.segment")
    live.state(2)
    monkeypatch.setattr(request, "_PATIENCE", 0.2)
    asker = request.Asker(0)
    holder = f"import fcntl, sys; f = open({str(live.path)!r}); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout and other.stdout.readline()
        with pytest.raises(shm.SegmentError, match="another command holds it"):
            request.set_limits(live.path, {"max_size": 5})
        with request.ask_limits(live.path, {"kill": 1, "max_size": 5}, asker) as asked:
            assert asked.number is None and asked.read() == (False, False)
            assert shm.read(live.path).limits["kill"] == 1
            os.truncate(live.path, 0)
            assert asked.read() == (False, False)  # nor is a word that is not there an answer to a request of no number
        other.communicate()


def test_what_is_open_is_not_known_before_the_login(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    live = Live(tmp_path / "main.segment")
    with running(live):
        live.state(1)
        assert cli.main(["kill"]) == 0
    assert capsys.readouterr().out == (
        f"{live.path}: killed, confirmed by its loop; what is open at the exchange is not known: the engine is not "
        "logged in with all answers read, and cancels after its next login what is left; it knows of no order\n"
    )
    at = _segment.counters()["orders_open"].offset
    live.file[at : at + 8] = (2).to_bytes(8, "little")
    live.state(3)
    assert cli.main(["kill"]) == 1
    assert (
        "; at its end: what is open at the exchange is not known: the engine is not logged in with all answers read; "
        "as far as it knows, 2 orders are open at the exchange; its next start begins killed"
    ) in capsys.readouterr().err


@pytest.mark.parametrize("tripped", [b"max_loss: found 3, allowed: 2", b""])
def test_a_limit_that_the_engine_changes_back_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tripped: bytes
) -> None:
    live = Live(tmp_path / "main.segment")
    live.state(2)
    live.beat()
    at, words = _segment.limits()["kill"].offset, live.path.read_bytes()
    tripped_at = words.index(_segment.read_header(words[: _segment.HEADER_SIZE])["boot_id"].rstrip(b"\0")) + 40 + 128

    def kill_again(asked: object) -> tuple[bool, bool]:
        live.file[at : at + 8] = (1).to_bytes(8, "little")
        live.file[tripped_at : tripped_at + len(tripped)] = tripped
        return True, True

    monkeypatch.setattr(control.Asked, "read", kill_again)
    why = "killed again at once, beyond its limit: max_loss: found 3" if tripped else "not in force: kill changed again"
    for words_of_command in (["limits", "main", "--set", "kill=0"], ["resume", "main"]):
        assert cli.main(words_of_command) == 1
        out, err = capsys.readouterr()
        assert err.startswith(f"agent: {live.path}: {why}") and "confirmed" not in out


def test_what_the_journals_writer_has_not_taken_is_not_confirmed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    live = Live(tmp_path / "main.segment")
    why = "in force, and not in the journal's file, whose writer {} (64 bytes wait in the ring): a power failure"
    with running(live):
        assert live.ring.push(bytes(64))
        for words in (["kill"], ["resume"], ["limits", "--set", "max_size=7"]):
            assert cli.main(words) == 1
            assert capsys.readouterr().err.startswith(f"agent: {live.path}: {why.format('does not run')}")
        assert cli.main(["stats"]) == 0
        assert "  journal 64 bytes wait for its writer, which does not run\n" in capsys.readouterr().out
        with Ring.attach(live.ring.path, "reader") as reader:
            assert cli.main(["limits", "--set", "max_size=8"]) == 1
            assert why.format("is behind") in capsys.readouterr().err
            reader.peek_block()
            reader.commit(1)
            assert cli.main(["limits", "--set", "max_size=9"]) == 0
            assert cli.main(["stats"]) == 0
            assert "  journal 0 bytes wait for its writer\n" in capsys.readouterr().out
        live.ring.path.unlink()
        assert cli.main(["kill"]) == 1
        assert "in force, and whether the journal's file has it is not known: " in capsys.readouterr().err


def test_a_start_that_comes_between_gets_the_kill_too(tmp_path: Path) -> None:
    """The segment that the command opened is not the one that the engine has now."""
    path = tmp_path / "main.segment"
    old = Live(path)
    old.state(2)
    fresh = Live(tmp_path / "new")
    fresh.state(2)

    def replace() -> None:
        time.sleep(0.1)
        (tmp_path / "new").rename(path)

    with running(fresh):
        thread = threading.Thread(target=replace)
        thread.start()
        (outcome,) = control.decide([path], lambda _: {"kill": 1}, ended=True, seconds=10)
        thread.join(10)
    assert outcome.why == "" and shm.read(path).limits["kill"] == 1
