"""`agent run` under a benchmark: its agent.toml, its process on one CPU, its counters; and an exchange that only
takes its login.
"""

import contextlib
import json
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agent.shm import segment as shm
from benchmarks.agent.sample import BenchError

#: Of agent.toml: tables, keys, values.
Tables = dict[str, dict[str, Any]]
#: Seconds until a program must be ready: a strategy may be compiled first.
STARTS = 60.0
#: Seconds without a change of a count that is waited for, until what is missing is lost.
STALLS = 1.0


def free_port(kind: socket.SocketKind) -> int:
    """A port of 127.0.0.1 that nobody has now."""
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


class Count:
    """A word of a mapped file, which another process counts up."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        with path.open("rb") as file:
            self._view = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ))
        self._word = self._view[offset : offset + 8].cast("Q")

    @property
    def value(self) -> int:
        return self._word[0]

    def reach(self, wanted: int) -> int:
        """Spin until it is `wanted`; CLOCK_MONOTONIC ns then. Raises BenchError when it stands still before that."""
        last, word = -1, self._word
        while True:
            for _ in range(1000):
                if word[0] >= wanted:
                    return time.monotonic_ns()
            at = time.monotonic()
            if word[0] != last:
                last, changed = word[0], at
            elif at - changed > STALLS:
                raise BenchError(f"{wanted - word[0]} of {wanted} were lost")


def ready(child: subprocess.Popen[str]) -> str:
    """The first line that a program prints. Raises BenchError when it ends before, or takes too long."""
    assert child.stdout is not None
    line = child.stdout.readline() if select.select([child.stdout], [], [], STARTS)[0] else ""
    if not line:
        child.kill()
        _, errors = child.communicate()
        raise BenchError(f"{child.args!r} did not start: {' '.join((errors or '').split()[-30:])}")
    return line


@contextlib.contextmanager
def program(command: list[str], environment: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """A program that has said that it is ready; ended by SIGTERM, at the latest by SIGKILL."""
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
    )
    try:
        ready(child)
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.send_signal(signal.SIGCONT)
            child.terminate()
        try:
            child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()


class Engine:
    """A running `agent run`: its process and its segment."""

    def __init__(self, child: subprocess.Popen[str], segment: Path) -> None:
        self.child, self.segment = child, segment
        self.messages = self.count("messages")

    def count(self, name: str) -> Count:
        """One of its counters, live."""
        return Count(self.segment, shm.counter_offset(self.segment, name))

    def counters(self) -> dict[str, int]:
        """All of its counters; those of its feed are at most 5 ms old."""
        return shm.read(self.segment).counters

    def connected(self) -> None:
        """Wait until it may trade. Raises BenchError."""
        limit = time.monotonic() + 10.0
        while shm.read(self.segment).state != "running":
            if self.child.poll() is not None or time.monotonic() > limit:
                raise BenchError("the engine did not log in to the exchange")
            time.sleep(0.01)


def write_password(place: Path) -> Path:
    """The file of a password that any exchange here takes, in a directory, for exchange.password_file."""
    path = place / "password"
    path.touch(mode=0o600)
    path.write_text("secret\n")
    return path


def command(place: Path, cpu: int, tables: Tables, once: bool = False, before: str = "") -> list[str]:
    """`agent run` on one CPU with these tables of agent.toml, its segment and its journal in `place`. before: Python
    statements for its process to begin with."""
    own = {"engine": {"yield_every_ms": 0, **tables.get("engine", {}), "shm": str(place / "segment")}}
    own["journal"] = {**tables.get("journal", {}), "directory": str(place)}
    own["exchange"] = {**tables.get("exchange", {}), "password_file": str(write_password(place))}
    lines = []
    for name, table in (tables | own).items():
        # JSON's strings, numbers, lists and booleans are TOML's.
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    config = place / "agent.toml"
    config.write_text("\n".join(lines) + "\n")
    code = (
        f"import os, sys; os.sched_setaffinity(0, {{int(sys.argv[1])}}); {before}from agent.cli import main; "
        "sys.exit(main(sys.argv[2:]))"
    )
    return [sys.executable, "-P", "-c", code, str(cpu), "run", str(config), *(["--once"] if once else [])]


@contextlib.contextmanager
def engine(place: Path, cpu: int, tables: Tables, once: bool = False) -> Iterator[Engine]:
    """A running command()."""
    with program(command(place, cpu, tables, once)) as child:
        yield Engine(child, place / "segment")


def _packet(kind: bytes, payload: bytes = b"") -> bytes:
    """SoupBinTCP: 2 bytes length of what follows, type, payload."""
    return (1 + len(payload)).to_bytes(2, "big") + kind + payload


def _serve(server: socket.socket, done: threading.Event) -> None:
    server.settimeout(0.1)
    link: socket.socket | None = None
    try:
        while not done.is_set():
            if link is None:
                with contextlib.suppress(TimeoutError):
                    link, _ = server.accept()
                    link.settimeout(0.9)  # the protocol wants a heartbeat each second
                    link.recv(49, socket.MSG_WAITALL)
                    link.sendall(_packet(b"A", b"1".rjust(10) + b"1".rjust(20)))
                continue
            try:
                data = link.recv(4096)
            except TimeoutError:
                link.sendall(_packet(b"H"))
                continue
            if _packet(b"U", b"Q") in data:  # Account Query: the next UserRefNum would be 1
                link.sendall(_packet(b"S", b"Q" + bytes(8) + (1).to_bytes(4, "big")))
            if not data:
                link.close()
                link = None
    except OSError:
        pass  # the engine was killed
    finally:
        if link is not None:
            link.close()


@contextlib.contextmanager
def exchange() -> Iterator[int]:
    """The port of an exchange that takes any login and answers nothing but the Account Query."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_serve, args=(server, done), daemon=True)
        thread.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            done.set()
            thread.join(timeout=5.0)
