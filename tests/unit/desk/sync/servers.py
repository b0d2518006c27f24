"""A real Redis, and `desk sync` beside a real engine."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import msgspec
import redis

from agent import limits
from agent.shm import segment as shm
from benchmarks.desk import fair_clock
from desk import counters

from ...agent.stage import Stage
from ...waiting import wait
from ..programs import find_program

LIMIT = 30.0


class Server:
    """A redis-server on a Unix socket of its own, and on what its options say."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.program = find_program("redis-server")
        self.socket, self.folder, self.options = folder / "redis.socket", folder, options
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, answers: bool = True) -> Self:
        self.child = subprocess.Popen(
            [self.program.path, "--port", "0", "--unixsocket", str(self.socket), "--save", "", "--appendonly", "no",
             "--dir", str(self.folder), *self.options],
            env=self.program.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        wait(self.answers if answers else self.socket.exists, "redis-server does not answer")
        return self

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError, OSError):
            return bool(self.client().ping())
        return False

    def client(self) -> Any:
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=2, retry=None)

    def signal(self, number: int) -> None:
        assert self.child is not None
        self.child.send_signal(number)

    def end(self) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(signal.SIGCONT)
            self.child.kill()
            self.child.wait(10)
            self.child = None
        self.socket.unlink(missing_ok=True)


class Desk:
    """`desk sync` as a process, for the engine of a stage; a busy machine does not count as a longer step."""

    def __init__(self, stage: Stage, server: Server, more: str = "", redis_more: str = "") -> None:
        self.stage, self.server = stage, server
        self.home = stage.folder / "run" / "trading_agent"
        self.config = stage.folder / "desk.toml"
        self.config.write_text(
            f'[redis]\nsocket = "{server.socket}"\n{redis_more}\n[sync]\nengines = ["{stage.segment}"]\n'
            f'audit = "{stage.folder}/audit"\n{more}\n'
        )
        self.child: subprocess.Popen[str] | None = None

    def start(self) -> Self:
        self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
        environment["RUNTIME_DIRECTORY"] = str(self.home)
        self.child = subprocess.Popen(
            [sys.executable, "-P", fair_clock.__file__, str(self.config)], env=environment, cwd=self.stage.folder,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip
        self.stage.children.append(self.child)  # which ends it, whatever becomes of the test
        wait(lambda: self.numbers() is not None or self.ended(), "desk sync is silent")
        return self

    def ended(self) -> bool:
        return self.child is None or self.child.poll() is not None

    def snapshot(self) -> counters.Snapshot | None:
        for one in counters.list_all(self.home):
            if isinstance(one, counters.Snapshot) and self.child and one.pid == self.child.pid:
                return one
        return None

    def numbers(self) -> dict[str, int | float] | None:
        found = self.snapshot()
        return found.numbers if found else None

    def number(self, name: str) -> float:
        return (self.numbers() or {}).get(name, -1)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Returns the exit status and what was said."""
        assert self.child is not None
        if self.child.poll() is None:
            self.child.send_signal(number)
        _, said = self.child.communicate(timeout=LIMIT)
        return self.child.returncode, said

    def audit(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in (self.stage.folder / "audit").read_bytes().splitlines()]


def limit(stage: Stage, name: str) -> int | float:
    """Returns a limit that is in force, in the user's units."""
    return limits.from_words(shm.read(stage.segment).limits)[name]
