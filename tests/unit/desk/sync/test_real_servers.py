"""A real redis-server that gives few rights, is flooded, is a replica, or has keys that nothing reads."""

import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from benchmarks.agent.drive import free_port
from desk.settings.redis import Redis

from ...agent.stage import Stage
from ...waiting import wait
from ..programs import find_program
from .driving import MOST, drive, open_loop
from .servers import Desk, Server, limit
from .test_sync import key

#: The rights that docs/desk_sync.md asks for.
RIGHTS = ["%R~desk:limits:*", "%W~desk:engine:*", "%W~desk:symbol:*", "-@all", "+hello", "+auth", "+select", "+ping",
          "+client|setname", "+client|tracking", "+mget", "+getrange", "+scan", "+set"]  # fmt: skip


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "redis-password"
    path.write_text("s3cret-of-mine")
    path.chmod(0o600)
    return path


def give(server: Server, *rights: str) -> None:
    server.client().execute_command("ACL", "SETUSER", "desk", "reset", "on", ">s3cret-of-mine", *rights)


def test_the_documented_rights_are_enough(tmp_path: Path, server: Server, secret: Path) -> None:
    assert " ".join(RIGHTS) in (Path(__file__).parents[4] / "docs" / "desk_sync.md").read_text()
    give(server, *RIGHTS)
    server.client().set("desk:limits:nobody:max_sise", 5)
    settings = Redis(socket=str(server.socket), username="desk", password_file=str(secret))
    with open_loop(tmp_path, settings) as loop:
        drive(loop, lambda: loop.count()["values_written"] > 0 and loop.count()["unknown_keys"] == 1)
        server.client().set("desk:limits:nobody:max_size", "x")
        drive(loop, lambda: loop.count()["bad_keys"] == 1)
        assert loop.losses == 0 and loop.count()["values_refused"] == 0


@pytest.mark.parametrize(
    ("without", "problem"),
    [
        ("+mget", "'mget'"),
        ("+getrange", "'getrange'"),
        ("+ping", "'ping'"),
        ("%R~desk:limits:*", "no permissions to access one of the keys"),
        ("+client|tracking", "CLIENT TRACKING"),
        ("+client|setname", "'client|setname'"),
    ],
)
def test_a_right_that_is_missing_is_named(
    tmp_path: Path, server: Server, secret: Path, without: str, problem: str
) -> None:
    give(server, *(right for right in RIGHTS if right != without))
    settings = Redis(socket=str(server.socket), username="desk", password_file=str(secret))
    with open_loop(tmp_path, settings, redis_lost_s=0.6) as loop:
        drive(loop, lambda: loop.losses >= 2)
        assert problem in loop.problem and "s3cret" not in loop.problem


@pytest.mark.parametrize(("without", "said"), [("+scan", "told only once they change"), ("+set", "")])
def test_rights_that_one_may_do_without(
    tmp_path: Path, server: Server, secret: Path, without: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    give(server, *(right for right in RIGHTS if right != without))
    settings = Redis(socket=str(server.socket), username="desk", password_file=str(secret))
    with open_loop(tmp_path, settings) as loop:
        drive(loop, lambda: loop.count()["values_written" if without == "+scan" else "values_refused"] > 0)
        server.client().set("desk:limits:nobody:max_size", "x")
        drive(loop, lambda: loop.count()["bad_keys"] == 1)
        assert loop.losses == 0
        if without == "+set":
            drive(loop, lambda: "'set'" in loop.describe()["problem"] or loop.count()["bad_keys"] == 1)
    assert said in capsys.readouterr().err


def test_a_read_only_replica_gives_limits_and_takes_no_values(tmp_path: Path, stage: Stage) -> None:
    port = free_port(socket.SOCK_STREAM)
    (tmp_path / "main").mkdir()
    (tmp_path / "replica").mkdir()
    main = Server(tmp_path / "main", "--port", str(port)).start()
    replica = Server(tmp_path / "replica", "--replicaof", f"127.0.0.1 {port}").start()
    try:
        stage.agent()
        desk = Desk(stage, replica).start()
        main.client().set(key(stage, "max_size"), 60)
        wait(lambda: limit(stage, "max_size") == 60, "a limit does not come through the replica")
        wait(lambda: desk.number("values_refused") > 0, "nothing was refused")
        found = desk.snapshot()
        assert found and "read only replica" in found.texts["problem"] and desk.number("losses") == 0
        desk.end()
    finally:
        main.end()
        replica.end()


def test_keys_that_were_there_before_the_start_are_told(
    tmp_path: Path, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    client = server.client()
    client.mset({f"other:{number}": 1 for number in range(3000)})
    client.mset({
        "desk:limits:nobody:max_sise": 5, "desk:limits:mian:max_size": 5, "desk:limits:": 1,
        b"desk:limits:nobody:\x1b]0;x\x07\r\nagent: all is well\xff\x00": 1, b"desk:limits:" + b"x" * 100_000: 1,
    })  # fmt: skip
    with open_loop(tmp_path, Redis(socket=str(server.socket))) as loop:
        drive(loop, lambda: loop.count()["unknown_keys"] == 5)
        drive(loop, lambda: loop.count()["reads"] > 0)
    said = capsys.readouterr().err
    assert "did you mean max_size" in said and "unknown engine mian" in said
    assert said.count("\n") == 5 and "\x1b" not in said and "\x07" not in said and "\r" not in said
    assert max(map(len, said.splitlines())) < 800


def test_thousands_of_keys_and_a_lasting_flood_do_not_hide_a_limit(stage: Stage, server: Server) -> None:
    client = server.client()
    client.mset({f"desk:limits:x{number}:max_size": 1 for number in range(20_000)})
    stage.agent()
    desk = Desk(stage, server, "refresh_s = 1").start()
    benchmark = find_program("redis-benchmark")
    flood = subprocess.Popen(
        [benchmark.path, "-s", str(server.socket), "-r", "1000000", "-n", "100000000", "-P", "200", "-c", "4", "-q",
         "SET", "desk:limits:flood:__rand_int__", "1"],
        env=benchmark.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    stage.children.append(flood)  # type: ignore[arg-type]
    try:
        commands = int(client.info("stats")["total_commands_processed"])
        begun = time.monotonic()
        for size in range(11, 16):
            client.set(key(stage, "max_size"), size)
            wait(lambda size=size: limit(stage, "max_size") == size, "the flood hides a limit")
            time.sleep(0.2)
        rate = (int(client.info("stats")["total_commands_processed"]) - commands) / (time.monotonic() - begun)
    finally:
        flood.kill()
        flood.wait(10)
    assert rate > 20_000, f"only {rate:,.0f} changes a second"
    wait(lambda: desk.number("unknown_keys") == 10_000, "they are not counted")
    assert desk.number("redis_lost") == 0 and desk.number("longest_step_seconds") <= MOST
    code, said = desk.end()
    assert code == 0 and said.count("\n") < 120 and "counted, and not told" in said


def test_a_clock_that_is_set_changes_nothing_but_stamps(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    with open_loop(tmp_path, Redis(socket=str(server.socket)), policy="kill", redis_lost_s=0.6, refresh_s=1.0) as loop:
        drive(loop, lambda: loop.count()["values_written"] > 0)
        for days in (1000, -1000):
            jump = days * 86_400 * 10**9
            monkeypatch.setattr(time, "time_ns", lambda jump=jump: real() + jump)
            reads, written = loop.count()["reads"], loop.count()["values_written"]
            end = time.monotonic() + 1.5
            drive(loop, lambda end=end: time.monotonic() > end)
            count = loop.count()
            assert count["reads"] in (reads + 1, reads + 2) and count["values_written"] > written
            assert not loop.lost and loop.losses == 0 and 0 <= count["redis_age_seconds"] < 1
            stamp = msgspec.msgpack.decode(server.client().get("desk:engine:nobody"))["stamp_ns"]
            assert abs(stamp - real() - jump) < 60e9
    assert not (tmp_path / "audit").read_bytes()


def test_a_process_that_was_stopped_for_long_takes_redis_for_well(stage: Stage, server: Server) -> None:
    import signal

    stage.agent()
    # Longer than a busy machine keeps Redis and the desk from each other; the stop is longer still.
    desk = Desk(stage, server, 'redis_lost_s = 1.0\npolicy = "kill"').start()
    wait(lambda: desk.number("connected") == 1, "not connected")
    assert desk.child
    for _ in range(3):
        desk.child.send_signal(signal.SIGSTOP)
        time.sleep(2.4)
        desk.child.send_signal(signal.SIGCONT)
        time.sleep(0.5)
    assert limit(stage, "kill") == 0 and desk.number("redis_lost") == 0
    desk.end()


def test_an_audit_on_a_full_disk_is_told_and_limits_come_in(stage: Stage, server: Server) -> None:
    stage.agent()
    audit = stage.folder / "audit"
    audit.write_bytes(bytes(1 << 20))
    audit.chmod(0o600)
    desk = Desk(stage, server)
    desk.start()
    # No file grows beyond what this one has.
    assert desk.child
    resource.prlimit(desk.child.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    server.client().set(key(stage, "max_size"), 60)
    wait(lambda: limit(stage, "max_size") == 60, "a full disk keeps a limit out")
    wait(lambda: desk.number("audit_lost") >= 2, "lines that are lost are not counted")
    found = desk.snapshot()
    assert found and found.texts["problem"] == f"audit {audit}: File too large"
    assert desk.end()[0] == 0


def test_two_processes_for_one_engine(stage: Stage, server: Server, tmp_path: Path) -> None:
    """Of one user and one directory the second is refused. With different values from different servers, neither writes
    without an end."""
    stage.agent()
    first = Desk(stage, server).start()
    again = subprocess.run(
        [sys.executable, "-P", "-m", "desk", "sync", str(first.config)], capture_output=True, text=True, timeout=30,
        env={**stage.environment, "RUNTIME_DIRECTORY": str(first.home)}, cwd=stage.folder, check=False)  # fmt: skip
    assert again.returncode == 2 and "another process has this name" in again.stderr
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other").start()
    try:
        second = Desk(stage, other)
        second.home = stage.folder / "run2" / "trading_agent"
        second.start()
        server.client().set(key(stage, "max_size"), 60)
        wait(lambda: limit(stage, "max_size") == 60, "the first one's value")
        other.client().set(key(stage, "max_size"), 70)
        wait(lambda: any("another desk sync" in (found.texts["engine[segment]"] if found else "")
                         for found in (first.snapshot(), second.snapshot())), "it is not told")  # fmt: skip
        before = first.number("confirmed[segment]") + second.number("confirmed[segment]")
        time.sleep(4)
        after = first.number("confirmed[segment]") + second.number("confirmed[segment]")
        assert 2 <= after - before <= 14, "each once a second"
        other.client().set(key(stage, "kill"), 1)
        wait(lambda: limit(stage, "kill") == 1, "kill waits")
        first.end()
        second.end()
    finally:
        other.end()
