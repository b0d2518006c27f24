"""From the start of the launcher to the first tick handled: `hosttune launch ... -- agent run CONFIG`.

The clock starts before `hosttune launch` is spawned, and stops when the engine's counter of messages, which is read
out of its segment twice a millisecond, is no longer 0. Ticks are sent every millisecond all the while, and an exchange
listens, so that nothing is waited for but the program: two interpreters, the whole preflight with the built-in
profile, lease, memory lock, configuration, strategy, sockets, segment, journal. What the preflight has against this
machine is found out beforehand, and accepted with --force, which takes none of the preflight away. The environment is
made as on a host (roles/hosttune): from the distribution's Python where that is of the version that runs this.

Byte code is cached (PYTHONDONTWRITEBYTECODE is removed), and so is what Numba compiles: `agent warm` runs before. The
figure of a round is the median of LAUNCHES. The limits are absolute. The bare interpreter (`python -c pass`), which a
launch starts twice, and one that imports Numba are beside it as references: how much of the limit is not ours, and what
the kept machine code of a Numba strategy saves. The time of the first order at the exchange, which is after the login
and the exchange's answer to it, has no limit.
"""

import contextlib
import mmap
import os
import re
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import agent
from agent.shm import segment as shm
from benchmarks.agent import machine
from benchmarks.agent.drive import free_port, write_password
from benchmarks.agent.sample import BenchError, Sample, limit

#: Strategies by language, and milliseconds that are promised to the first tick.
LIMITS = {"Cython": ("every_tick_cython", 100.0), "Numba, cached": ("every_tick", 400.0)}
LAUNCHES = 3
#: What an interpreter does in the references.
BARE = ("pass", "import numba")
#: What a deployed environment holds: hosttune's dependencies, and not what development brings besides.
PACKAGES = ("agent", "hosttune", "msgspec", "yaml", "_yaml", "pyroute2", "numpy", "numpy.libs", "numba", "llvmlite")
COMMANDS = ("agent", "hosttune")
PYTHON = Path(sys.executable)
#: hosttune_python of roles/hosttune.
HOST_PYTHON = "/usr/bin/python3"
#: Seconds for a launch, at most.
PATIENCE = 30.0
_TICK = b'{"u":%d,"s":"BTCUSDT","b":"100.00000000","B":"1.00000000","a":"100.01000000","A":"2.50000000"}'
_AGAINST = re.compile(r"^  (\S+): (?:fail|pending|volatile|unknown)$", re.MULTILINE)


class Market:
    """A feed that sends a tick every millisecond, and an exchange that takes one login and rejects each order. first:
    when the first order came, time.monotonic_ns()."""

    def __init__(self) -> None:
        self.feed_port = free_port(socket.SOCK_DGRAM)
        self.first = 0
        self._ended = threading.Event()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE)
        self.order_port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._send, self._answer)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._server.close()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _send(self) -> None:
        sequence = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            while not self._ended.wait(0.001):
                sequence += 1
                tick = _TICK % sequence
                packet = struct.pack(">10sQHH", b"LAUNCH0001", sequence, 1, len(tick)) + tick
                with contextlib.suppress(ConnectionError):  # nobody listens yet
                    out.sendto(packet, ("127.0.0.1", self.feed_port))

    def _answer(self) -> None:
        with contextlib.suppress(OSError):  # the agent has gone, or the benchmark has
            peer, _ = self._server.accept()
            peer.settimeout(PATIENCE)
            with peer, peer.makefile("rb") as stream:
                while len(head := stream.read(3)) == 3:
                    body = stream.read(int.from_bytes(head[:2], "big") - 1)
                    if head[2:] == b"U" and body[:1] == b"O" and not self.first:
                        self.first = time.monotonic_ns()
                    peer.sendall(reply(head[2:], body))


def reply(kind: bytes, body: bytes) -> bytes:
    """What the exchange says to a SoupBinTCP packet of this type: a login and a query are answered, orders rejected."""
    if kind == b"L":
        return _packet(b"A", b"%10s%20d" % (b"LAUNCH", 1))
    if kind == b"U" and body[:1] == b"Q":
        return _packet(b"S", b"Q" + bytes(8) + struct.pack(">I", 1))
    if kind == b"U" and body[:1] == b"O":
        return _packet(b"S", b"J" + bytes(8) + body[1:5] + struct.pack(">H", 1) + b" " * 14)
    return b""


def _packet(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">H", 1 + len(payload)) + kind + payload


def _environment(place: Path) -> dict[str, str]:
    left = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")}
    return left | {"STATE_DIRECTORY": str(place)}


def _launcher(place: Path, cpu: int, forced: list[str]) -> list[str]:
    options = [word for name in forced for word in ("--force", name)]
    return [str(PYTHON.with_name("hosttune")), "launch", "--policy", "other", "--cpus", str(cpu),
            "--run-dir", str(place / "run"), "--setenv", "STATE_DIRECTORY", *options, "--"]  # fmt: skip


def base_python() -> str:
    """The interpreter that the environment is made from: HOST_PYTHON if compiled packages of this one fit it."""
    ask = [HOST_PYTHON, "-c", "import sys, venv; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=PATIENCE).stdout
    except OSError:
        said = ""
    return HOST_PYTHON if said.split() == [str(n) for n in sys.version_info[:2]] else sys.executable


def deployed(directory: Path) -> Path:
    """The interpreter of an environment as roles/hosttune makes it, of this one's packages by symbolic links, and with
    its commands."""
    subprocess.run(
        [base_python(), "-m", "venv", "--without-pip", "--symlinks", directory], check=True, timeout=PATIENCE
    )
    (target,) = directory.glob("lib/python*/site-packages")
    source = Path(agent.__file__).parents[1]
    for name in PACKAGES:
        if (source / name).exists() and not (target / name).exists():
            (target / name).symlink_to(source / name)
    python = directory / "bin" / "python"
    for command in COMMANDS:
        _, _, text = (Path(sys.prefix) / "bin" / command).read_text().partition("\n")
        script = python.with_name(command)
        script.write_text(f"#!{python} -P\n{text}")
        script.chmod(0o755)
    return python


def against(place: Path, cpu: int) -> list[str]:
    """The findings that keep the launcher from starting anything on this machine. Raises BenchError."""
    command = [*_launcher(place, cpu, []), "/bin/true"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, env=_environment(place))
    found = _AGAINST.findall(run.stderr)
    if run.returncode and not found:
        raise BenchError(f"hosttune launch ended with {run.returncode}: {run.stderr.strip()[-300:]}")
    return found


def first_tick(place: Path, cpu: int, forced: list[str], strategy: str, cache: Path) -> tuple[float, float]:
    """Launch once: milliseconds to the first tick handled, and to the first order at the exchange. BenchError when it
    does not come to that."""
    example = (Path(agent.__file__).parent / "example.toml").read_text()
    segment = place / "segment"
    with Market() as market:
        config = place / "agent.toml"
        config.write_text(
            example.replace("26400", str(market.feed_port)).replace("26401", str(market.order_port))
            .replace('"ema_cross"', f'"{strategy}"')
            .replace('# shm = "/run/trading_agent/other.segment"', f'shm = "{segment}"')
            .replace('# cache_dir = "/var/cache/trading_agent"', f'cache_dir = "{cache}"')
            .replace("# password_file = \"/etc/trading_agent/exchange_password\"",
                     f'password_file = "{write_password(place)}"')
        )  # fmt: skip
        command = [*_launcher(place, cpu, forced), str(PYTHON.with_name("agent")), "run", str(config)]
        environment = _environment(place)
        begun = time.monotonic_ns()
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=environment,
        )  # fmt: skip
        try:
            handled = _counted(segment, child, begun)
            while not market.first and time.monotonic_ns() - begun < PATIENCE * 1e9 and child.poll() is None:
                time.sleep(0.001)
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                _, said = child.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                child.kill()
                _, said = child.communicate()
        if not handled or not market.first or child.returncode:
            raise BenchError(f"launch: no tick or no order, status {child.returncode}: {said.strip()[-300:]}")
        return (handled - begun) / 1e6, (market.first - begun) / 1e6


def _counted(segment: Path, child: subprocess.Popen[str], begun: int) -> int:
    """When the engine had counted a message, time.monotonic_ns(); 0 when it ended or took too long."""
    while child.poll() is None and time.monotonic_ns() - begun < PATIENCE * 1e9:
        time.sleep(0.0005)
        try:
            offset = shm.counter_offset(segment, "messages")
        except shm.SegmentError:
            continue  # not there yet, or being written
        with segment.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            while child.poll() is None and time.monotonic_ns() - begun < PATIENCE * 1e9:
                if any(view[offset : offset + 8]):
                    return time.monotonic_ns()
                time.sleep(0.0005)
    return 0


def interpreter(code: str) -> float:
    """Milliseconds of `python -c CODE`."""
    begun = time.monotonic_ns()
    subprocess.run([str(PYTHON), "-P", "-c", code], check=True, timeout=PATIENCE)
    return (time.monotonic_ns() - begun) / 1e6


def rounds(directory: Path) -> Iterator[list[Sample]]:
    """Each round, LAUNCHES times in turn: the interpreter that does nothing else or imports Numba, then a launch with a
    strategy in each language."""
    global PYTHON
    _, cpu = machine.two_cpus()
    PYTHON = deployed(directory / "deployed")
    cache = directory / "launch-cache"
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="agent-bench-") as shared:
        forced = against(Path(shared), cpu)
        command = [str(PYTHON.with_name("agent")), "warm", "--cache-dir", str(cache)]
        command += [strategy for strategy, _ in LIMITS.values()]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=_environment(Path(shared)))
        if run.returncode:
            raise BenchError(f"agent warm: {run.stderr.strip()[-300:]}")
        while True:
            bare: dict[str, list[float]] = {code: [] for code in BARE}
            times: dict[str, list[tuple[float, float]]] = {language: [] for language in LIMITS}
            for _ in range(LAUNCHES):
                for code in BARE:
                    bare[code].append(interpreter(code))
                for language, (strategy, _) in LIMITS.items():
                    with tempfile.TemporaryDirectory(dir=shared) as place:
                        times[language].append(first_tick(Path(place), cpu, forced, strategy, cache))
            samples = []
            for language, (_, most) in LIMITS.items():
                tick, order = (statistics.median(column) for column in zip(*times[language], strict=True))
                samples.append(limit(f"launch to first tick, {language}", "ms", tick, most))
                for point, took in (("tick", tick), ("order", order)):
                    samples += [
                        Sample(metric=f"launch to first {point}, {language}", unit="ms", ours=took,
                               reference=statistics.median(alone), reference_name=f"python -c '{code}'")
                        for code, alone in bare.items()
                    ]  # fmt: skip
            yield samples
