"""Servers that are slow, drip, refuse or speak something else: `desk sync` never stalls, never ends, and says why."""

import random
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from desk.settings.redis import Redis

from .driving import MOST, drive, open_loop
from .fake_redis import HELLO, OK, FakeRedis, behave


def settings(server: FakeRedis, **more: Any) -> Redis:
    return Redis(port=server.port, **more)


def test_a_slow_server_is_used_and_stalls_nothing(tmp_path: Path) -> None:
    with FakeRedis(delay=0.17) as server, open_loop(tmp_path, settings(server), redis_lost_s=5.0) as loop:
        drive(loop, lambda: loop.connections == 1 and loop.count()["reads"] >= 1)
        end = time.monotonic() + 2
        while time.monotonic() < end:
            loop.step()
        assert loop.longest <= MOST
        assert loop.losses == 0 and not loop.lost and loop.describe()["problem"] == ""


def test_a_server_too_slow_is_lost_after_one_answer_s_time(tmp_path: Path) -> None:
    def answer(command: list[bytes]) -> bytes:
        if command[0] in (b"GETRANGE", b"MGET"):
            time.sleep(0.5)
        return behave(command)

    with FakeRedis(answer) as server, open_loop(tmp_path, settings(server), redis_lost_s=1.0) as loop:
        drive(loop, lambda: loop.losses >= 2 and loop.lost)
        assert "no answer within 200 ms" in loop.describe()["problem"] and loop.longest <= MOST


def test_an_answer_that_drips_is_no_answer(tmp_path: Path) -> None:
    with FakeRedis() as server, open_loop(tmp_path, settings(server), redis_lost_s=1.0) as loop:
        drive(loop, lambda: loop.count()["reads"] >= 1)
        server.drip = 0.15  # less than read_timeout_ms, each
        drive(loop, lambda: loop.lost)
        assert loop.longest <= MOST and "redis" in loop.describe()["problem"]


def test_a_name_that_is_looked_up_without_an_end_stalls_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = threading.Event()
    asked: list[str] = []

    def look_up(host: str, *_: Any, **__: Any) -> Any:
        asked.append(host)
        free.wait(20)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with open_loop(tmp_path, Redis(host="redis.example"), redis_lost_s=0.5, policy="kill") as loop:
        drive(loop, lambda: "connecting takes longer" in loop.problem)
        assert loop.lost and loop.longest <= MOST and asked == ["redis.example"]
        free.set()
        drive(loop, lambda: "no such name" in loop.problem)
    said = capsys.readouterr().err
    assert said.count("policy kill") == 1


REFUSALS = [
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MOVED 3999 127.0.0.1:6381\r\n",
    b"-CROSSSLOT Keys in request don't hash to the same slot\r\n",
    b"-CLUSTERDOWN Hash slot not served\r\n",
    b"-MASTERDOWN Link with MASTER is down\r\n",
    b"-NOPERM this user has no permissions\r\n",
    b"-BUSY Redis is busy running a script\r\n",
    b"-\x1b[2JERR\x07 with a screen's sequences\r\n",
]


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("what", [b"HELLO", b"CLIENT", b"MGET", b"PING"])
def test_a_refusal_is_a_loss_with_the_server_s_words(tmp_path: Path, refusal: bytes, what: bytes) -> None:
    def answer(command: list[bytes]) -> bytes:
        return refusal if command[0].upper() == what else behave(command)

    with FakeRedis(answer) as server, open_loop(tmp_path, settings(server), redis_lost_s=0.6) as loop:
        drive(loop, lambda: loop.losses >= 2)
        words = loop.problem
        assert "redis" in words and "\x1b" not in words and "\x07" not in words and len(words) < 400
        assert loop.longest <= MOST


GARBAGE = [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"\x00" * 4096,
    b"$-5\r\n",
    b"*1\r\n" * 50,
    b":12\r\n",
    b"+OK\r\n" * 1000,
    b"_\r\n",
    b"#t\r\n",
    b"~3\r\n:1\r\n:1\r\n:1\r\n",
    b">0\r\n",
    b">2\r\n$10\r\ninvalidate\r\n:5\r\n",
    b">2\r\n$10\r\ninvalidate\r\n*2\r\n:5\r\n*0\r\n",
    b"$400000000\r\n" + b"x" * 3_000_000,
    b"(123456789012345678901234567890\r\n",
    b",inf\r\n",
    b"!3\r\nabc\r\n",
    b"\xff\xfe$%",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
@pytest.mark.parametrize("what", [b"HELLO", b"MGET", b"SET"])
def test_garbage_ends_nothing(tmp_path: Path, garbage: bytes, what: bytes) -> None:
    def answer(command: list[bytes]) -> bytes:
        return garbage if command[0].upper() == what else behave(command)

    with FakeRedis(answer) as server, open_loop(tmp_path, settings(server), redis_lost_s=0.6) as loop:
        end = time.monotonic() + 0.25
        while time.monotonic() < end:
            loop.step()
        assert loop.longest <= MOST
        server.answer = behave
        drive(loop, lambda: loop.link.connected and not loop.problem)
        reads = loop.count()["reads"]
        loop._next_read = 0.0
        drive(loop, lambda: loop.count()["reads"] > reads)


def test_pushes_without_an_end_let_the_loop_go_on(tmp_path: Path) -> None:
    def answer(command: list[bytes]) -> bytes:
        return behave(command) + (b">2\r\n$10\r\ninvalidate\r\n*1\r\n$4\r\nabcd\r\n" * 200_000 if command[0] == b"PING"
                                  else b"")  # fmt: skip

    with FakeRedis(answer) as server, open_loop(tmp_path, settings(server), redis_lost_s=0.6) as loop:
        end = time.monotonic() + 2
        while time.monotonic() < end:
            loop.step()
        assert loop.longest <= MOST and loop.connections >= 1


def test_the_server_s_words_hold_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("s3cret-of-mine")
    secret.chmod(0o600)
    with (
        FakeRedis(lambda command: b"-ERR you said " + b" ".join(command).replace(b"\r\n", b" ") + b"\r\n") as server,
        open_loop(tmp_path, settings(server, password_file=str(secret))) as loop,
    ):
        drive(loop, lambda: loop.losses >= 1)
        assert "you said" in loop.problem and "s3cret" not in loop.problem
        server.answer = lambda command: (
            HELLO if command[0] == b"HELLO" else b"-ERR s3cret-of-mine\r\n" if command[1:2] == [b"TRACKING"] else OK
        )
        drive(loop, lambda: "CLIENT TRACKING" in loop.problem)
        assert "s3cret" not in loop.problem


def invent(chance: random.Random, depth: int = 0) -> bytes:
    """Returns a random value of RESP3, whole but for some."""
    few = chance.randrange(4)
    some = b"".join(invent(chance, depth + 1) for _ in range(few)) if depth < 4 else b""
    few = few if depth < 4 else 0
    text = chance.choice(
        [b"", b"0", b"OK", b"PONG", b"5", b"1e9", b"\xff\x00\x1b[2J", b"x" * 40, b"desk:limits:nobody:kill"]
    )
    kinds = [
        b"+%s\r\n" % text.replace(b"\x00", b""), b"-%s\r\n" % text, b":%d\r\n" % chance.randrange(-9, 9), b"_\r\n",
        b"$%d\r\n%s\r\n" % (len(text), text), b"#t\r\n", b",1.5\r\n", b"(99999999999999999999\r\n",
        b"*%d\r\n%s" % (few, some), b"~%d\r\n%s" % (few, some), b">%d\r\n%s" % (few, some), b"$-1\r\n", b"*-1\r\n",
        b">2\r\n$10\r\ninvalidate\r\n" + (some[: some.find(b"\r\n") + 2] or b"_\r\n"),
        b"%%%d\r\n%s" % (few // 2, some), bytes(chance.randrange(256) for _ in range(few)),
    ]  # fmt: skip
    return chance.choice(kinds)


@pytest.mark.parametrize("seed", range(6))
def test_random_answers_end_nothing(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)

    def answer(command: list[bytes]) -> bytes:
        return behave(command) if chance.random() < 0.8 else invent(chance)

    with FakeRedis(answer) as server:
        redis = settings(server, retry_min_ms=5, retry_max_ms=5, read_timeout_ms=100)
        with open_loop(tmp_path, redis, redis_lost_s=0.6, period_ms=10, refresh_s=1.0) as loop:
            end = time.monotonic() + 30
            while loop.losses < 12 and time.monotonic() < end:
                loop._next_read = loop._next_ping = 0.0
                loop.step()
            assert loop.losses >= 3 and loop.longest <= MOST
            server.answer = behave
            drive(loop, lambda: loop.link.connected and not loop.problem)


def test_no_thread_is_left_to_connect_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with FakeRedis() as server, open_loop(tmp_path, settings(server)) as loop:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            drive(loop, lambda: loop.losses >= 2)
            assert "can't start new thread" in loop.problem
        drive(loop, lambda: loop.link.connected and not loop.problem)
