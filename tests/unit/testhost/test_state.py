"""Records of hosts, and which processes they may end."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testhost.cache import Cache, locked, read_json, write_json
from testhost.cli import main
from testhost.errors import TesthostError, tail
from testhost.host import Host
from testhost.process import Process, boot_id, start_time
from testhost.qmp import Qmp


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    monkeypatch.setenv("HOSTTUNE_CACHE", str(tmp_path / "cache"))
    cache = Cache()
    cache.make()
    return cache


def record(cache: Cache, name: str, supervisor: Process | None, qemu: Process | None, phase: str = "running") -> Host:
    host = Host(cache, name)
    host.directory.mkdir()
    processes = {"supervisor": supervisor, "qemu": qemu}
    state = {"phase": phase, "reason": "", "launch": 1, "kind": "cold", "serial_from": 0}
    write_json(host.directory / "state.json", {**state, **{k: v and v.to_json() for k, v in processes.items()}})
    return host


def test_a_process_is_known_by_pid_and_start_time(sleeper: subprocess.Popen[bytes]) -> None:
    process = Process.of(sleeper.pid)
    assert process is not None and process.alive()
    assert process == Process.from_json(process.to_json())
    sleeper.kill()
    sleeper.wait()
    assert not process.alive() and process.end(signal.SIGTERM, 1)


def test_a_reused_pid_is_never_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    now = start_time(sleeper.pid)
    assert now is not None
    for stale in (Process(sleeper.pid, now - 1, boot_id()), Process(sleeper.pid, now, "another boot")):
        assert not stale.alive()
        assert stale.end(signal.SIGKILL, 1)
        assert sleeper.poll() is None


def test_stop_removes_a_dead_host_and_leaves_strangers_alone(cache: Cache, sleeper: subprocess.Popen[bytes]) -> None:
    stranger = Process(sleeper.pid, 1, boot_id())
    host = record(cache, "stale", stranger, stranger)
    (host.directory / "serial.log").write_text("last words\n")
    assert host.state()["phase"] == "dead"
    assert host.stop()
    assert sleeper.poll() is None and not host.directory.exists()
    assert (cache.logs / "stale-serial.log").read_text() == "last words\n"
    assert not host.stop()


def test_stop_ends_what_is_ours(cache: Cache, sleeper: subprocess.Popen[bytes]) -> None:
    host = record(cache, "live", Process.of(sleeper.pid), None)
    assert host.state()["phase"] == "running"
    assert host.stop()
    assert sleeper.wait(5) == -signal.SIGTERM


@pytest.mark.parametrize("value", [None, {}, {"pid": "x", "started": 1, "boot": ""}, [1, 2], "7"])
def test_a_broken_record_names_no_process(value: object) -> None:
    assert Process.from_json(value) is None


def test_a_process_name_with_parentheses_is_read(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    fields = ["S"] + [str(i) for i in range(4, 53)]
    (tmp_path / "7" / "stat").write_text(f"7 (a) b (c)) {' '.join(fields)}\n")
    assert start_time(7, tmp_path) == 22
    (tmp_path / "7" / "stat").write_text(f"7 (z) Z {' '.join(fields[1:])}\n")
    assert start_time(7, tmp_path) is None and start_time(8, tmp_path) is None


def test_the_cache_is_private_and_moves_with_the_variable(cache: Cache, tmp_path: Path) -> None:
    assert cache.root == tmp_path / "cache"
    assert all(d.stat().st_mode & 0o777 == 0o700 for d in (cache.root, cache.images, cache.hosts))


def test_json_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]
    path.write_text("{")
    assert read_json(path) is None and read_json(tmp_path / "none") is None


def test_a_held_lock_is_waited_for_with_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TesthostError, match=r"waiting for the other"), locked(path, 0.3, "the other"):
            pass


def test_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "l"
    log.write_text("".join(f"line {i}\r\n" for i in range(100)))
    assert "line 99" in tail(log) and "line 10\n" not in tail(log)
    assert "No such file" in tail(tmp_path / "none")


def test_qmp_keeps_events_and_reports_errors() -> None:
    import json
    import socket
    import threading

    ours, theirs = socket.socketpair()

    def serve() -> None:
        with theirs, theirs.makefile("rw") as stream:
            stream.write('{"QMP": {}}\n')
            stream.flush()
            for line in stream:
                name = json.loads(line)["execute"]
                answer = {"error": {"desc": "no such thing"}} if name == "wrong" else {"return": {"of": name}}
                stream.write('{"event": "RESET"}\n' + json.dumps(answer) + "\n")
                stream.flush()
                if name == "last":
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    with Qmp(ours) as qmp:
        qmp.negotiate(5)
        with pytest.raises(TesthostError, match="refuses wrong: no such thing"):
            qmp.command("wrong", 5)
        assert qmp.command("last", 5) == {"of": "last"}
        assert [qmp.event(1) for _ in range(3)] == [{"event": "RESET"}] * 3
        assert qmp.event(1) is None and qmp.closed
    thread.join()


@pytest.mark.parametrize(
    ("argv", "status", "says"),
    [
        (["ssh", "none", "true"], 1, "there is no host 'none'"),
        (["wait", "none"], 1, "there is no host 'none'"),
        (["serial", "none"], 1, "there is no host 'none'"),
        (["stop", "none"], 1, "no such host: none"),
        (["stop"], 2, "name hosts, or say --all"),
        (["start", "UPPER"], 2, "host name 'UPPER'"),
        (["start", "a", "--cpus", "3"], 2, "divide evenly"),
    ],
)
def test_refusals_say_why(
    cache: Cache, capsys: pytest.CaptureFixture[str], argv: list[str], status: int, says: str
) -> None:
    assert main(argv) == status
    assert says in capsys.readouterr().err
    assert list(cache.hosts.iterdir()) == [entry for entry in cache.hosts.iterdir() if entry.name.startswith(".")]


def test_list_of_nothing_has_only_a_heading(cache: Cache, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    assert capsys.readouterr().out.startswith("NAME") and not list(cache.hosts.iterdir())


def test_missing_programs_stop_a_start_before_anything(cache: Cache, tmp_path: Path) -> None:
    checkout = str(Path(__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from testhost import requirements; requirements.SEARCH = '/nonexistent'; "
         "from testhost.cli import main; sys.exit(main(['start', 'a']))"],
        env={**os.environ, "PYTHONPATH": checkout}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2 and "qemu-system-x86_64  (Debian package qemu-system-x86)" in done.stderr
    assert list(cache.hosts.iterdir()) == []
