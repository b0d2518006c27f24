"""Another user of the host against the agent: real processes of that user, before and while root's commands run.

The stranger makes everything that it can at every name that a command may look at. The agent's own user, whom root need
not trust either, does the same in the agent's directory. Nothing of it changes what a command of root's does, and none
takes a second longer.
"""

import contextlib
import fcntl
import importlib.util
import itertools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import agent
from agent.journal import _record, record
from benchmarks.agent.drive import free_port, write_password

from ..unit.agent.shm.ring_memory import memory

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
]

STRANGER, TRADER = 12345, 54321
#: Seconds that a command may take longer than without an attack, and that nothing may take.
LONGER, BOUND = 1.0, 60.0
QUIET = {"yield_every_ms": 1, "yield_us": 50_000}
NAME = f"attack-{os.getpid()}"
#: Runs a command with Python where every user can read it: that of the tests may be in a home that is closed.
IN_SIGHT = ["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", sys.base_prefix]
SECRET = b"root's own\n" + bytes(1 << 20)


@pytest.fixture(scope="module")
def code() -> Iterator[Path]:
    """The agent, where every user can read it."""
    folder = Path(tempfile.mkdtemp(prefix="hosttune-live-"))
    folder.chmod(0o755)
    try:
        (folder / "python").mkdir()
        for name in ("agent", "hosttune", "msgspec", "typing_extensions"):
            found = importlib.util.find_spec(name)
            assert found is not None and found.origin is not None
            if found.submodule_search_locations:
                shutil.copytree(Path(found.origin).parent, folder / name)
            else:
                shutil.copy(found.origin, folder)
        yield folder
    finally:
        shutil.rmtree(folder)


class Desk:
    """An agent of a user's with its own directories, an exchange that takes connections and says nothing, and commands
    that are run by root or by that user."""

    def __init__(self, folder: Path, code: Path, user: int) -> None:
        self.user, self.folder, self.code = user, folder, code
        self.runtime, self.state = folder / "runtime", folder / "state"
        for path in (self.runtime, self.state):
            path.mkdir(mode=0o700)
            os.chown(path, user, user)
        self.exchange = socket.create_server(("127.0.0.1", 0))
        self.config = folder / "agent.toml"
        example = (Path(agent.__file__).parent / "example.toml").read_text()
        text = example.replace("26400", str(free_port(socket.SOCK_DGRAM))).replace('"ema_cross"', '"every_tick_cython"')
        text = text.replace("26401", str(self.exchange.getsockname()[1])).replace('name = "main"', f'name = "{NAME}"')
        password = write_password(self.state)
        os.chown(password, user, user)
        text = text.replace('# password_file = "/etc/trading_agent/exchange_password"', f'password_file = "{password}"')
        # The loop sleeps nearly always: the seconds that commands take are theirs.
        text = re.sub("# (yield_every_ms|yield_us) = [0-9]+", lambda key: f"{key[1]} = {QUIET[key[1]]}", text)
        self.config.write_text(text)
        self.running: list[subprocess.Popen[str]] = []

    @property
    def own(self) -> Path:
        """Where its segment is."""
        return self.runtime / "trading_agent"

    @property
    def segment(self) -> Path:
        return self.own / f"{NAME}.segment"

    def start(self, *words: str, user: int = 0, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        python = [self.code / "python" / "bin" / Path(sys._base_executable).name, "-P", "-m", "agent"]
        started = subprocess.Popen(
            [*IN_SIGHT, self.code / "python", *become, *python, *words],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(self.code), "XDG_RUNTIME_DIR": str(self.runtime),
                 "STATE_DIRECTORY": str(self.state), "XDG_CACHE_HOME": str(self.state), **(environment or {})},
        )  # fmt: skip
        self.running.append(started)
        return started

    def run(self, *words: str, within: float = BOUND, **options: Any) -> tuple[int, str]:
        """Returns a command's exit code and all that it printed. Asserts that it takes fewer seconds, once out of three
        times: other processes of the host take their share."""
        for _ in range(3):
            status, text, seconds = self._run_once(*words, **options)
            if seconds < within:
                return status, text
        raise AssertionError(f"{words} took {seconds:.1f} s, allowed: {within:.1f}; {text}")

    def take(self, *words: str) -> float:
        """Returns the seconds that a command takes."""
        status, text, seconds = self._run_once(*words)
        assert status == 0, text
        return seconds

    def _run_once(self, *words: str, **options: Any) -> tuple[int, str, float]:
        begun = time.monotonic()
        out, errors = self.start(*words, **options).communicate(timeout=BOUND)
        seconds = time.monotonic() - begun
        child = self.running.pop()
        assert "Traceback" not in errors, errors
        return child.returncode, out + errors, seconds

    @contextlib.contextmanager
    def trading(self) -> Iterator[float]:
        """An engine, run by the desk's user. Gives the seconds that it took to be ready."""
        begun = time.monotonic()
        engine = self.start("run", str(self.config), user=self.user)
        assert engine.stdout is not None
        line = engine.stdout.readline()
        assert line.startswith("ready: "), line + engine.communicate(timeout=BOUND)[1]
        yield time.monotonic() - begun
        engine.send_signal(signal.SIGTERM)
        _, errors = engine.communicate(timeout=BOUND)
        self.running.remove(engine)
        assert engine.returncode == 0, errors

    def close(self) -> None:
        for child in self.running:
            child.kill()
            child.communicate(timeout=BOUND)
        self.exchange.close()


@pytest.fixture(params=[0, TRADER], ids=["root's agent", "another user's agent"])
def desk(request: pytest.FixtureRequest, code: Path) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="hosttune-live-") as name:
        Path(name).chmod(0o755)
        found = Desk(Path(name), code, request.param)
        yield found
        found.close()


@pytest.fixture
def traders(code: Path) -> Iterator[Desk]:
    with tempfile.TemporaryDirectory(prefix="hosttune-live-") as name:
        Path(name).chmod(0o755)
        found = Desk(Path(name), code, TRADER)
        yield found
        found.close()


def become(user: int, act: Callable[[], object]) -> Any:
    """Returns what `act` returns in a process of that user's, as JSON."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            os.write(send, json.dumps(act()).encode())
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(send)
    with open(receive, "rb") as answer:
        text = answer.read()
    assert os.waitpid(child, 0)[1] == 0
    return json.loads(text)


def forged_ring() -> bytes:
    """A ring of this boot, with an execution of a million units."""
    ring = memory(1 << 16, record.SIZE)
    fields = {"number": 1, "kind": record.EXECUTED, "id": 1, "quantity": 1_000_000, "side": 1}
    entry = _record.pack(dict.fromkeys(record.Record.__struct_fields__, 0) | fields)
    ring[384 : 384 + len(entry)] = entry
    ring[128:136] = len(entry).to_bytes(8, "little")
    ring[32:72] = Path("/proc/sys/kernel/random/boot_id").read_bytes().strip().ljust(40, b"\0")
    return bytes(ring)


def offer(path: Path, kind: str, ring: bytes) -> bool:
    """Make something at a path. Returns whether this user can."""
    try:
        if kind == "FIFO":
            os.mkfifo(path, 0o666)
        elif kind == "link":
            path.symlink_to("/etc/passwd")
        elif kind == "directory":
            path.mkdir(mode=0o777)
        elif kind == "socket":
            with socket.socket(socket.AF_UNIX) as made:
                made.bind(str(path))
        else:
            path.write_bytes(ring if kind == "forged ring" else b"a plain file")
            path.chmod(0o666)
    except OSError:
        return False
    return True


def names(desk: Desk) -> list[Path]:
    """Every name that a command may look at, today's and those of older versions, and what is around them."""
    suffixes = ("", ".segment", ".journal", ".journal-ring", ".series", ".segment.damaged")
    found = [
        directory / f"{NAME}{suffix}"
        for suffix in suffixes
        for directory in (desk.own, desk.runtime, Path("/run/trading_agent"), Path("/run"), desk.state)
    ]
    found += [Path(f"/dev/shm/hosttune-agent-{NAME}{suffix}") for suffix in ("", ".journal", ".series")]
    return [*found, desk.own, desk.state / "trading_agent", desk.folder / "runtime.new"]


KINDS = ["FIFO", "link", "directory", "socket", "plain file", "forged ring"]


_normal: dict[int, dict[str, float]] = {}


@pytest.fixture
def normal(desk: Desk) -> dict[str, float]:
    """Seconds that each command takes when nobody attacks: measured once for each user of an agent."""
    if desk.user not in _normal:
        with desk.trading() as ready:
            found = {words[0]: desk.take(words[0], str(desk.segment), *words[1:]) for words in COMMANDS}
        _normal[desk.user] = found | {"run": ready}
        shutil.rmtree(desk.own)
        for path in desk.state.glob("*.journal"):
            path.unlink()
    return _normal[desk.user]


COMMANDS = [("stats",), ("limits",), ("kill",), ("resume",), ("top", "--count", "1", "--interval", "0.05")]
ENDED = {"kill": 1, "resume": 1}  # no loop confirms them


def is_stopped(stats: str) -> bool:
    return re.search(r"pid \d+, (connecting|running)", stats) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_who_was_there_first_changes_nothing(desk: Desk, kind: str, normal: dict[str, float]) -> None:
    ring = forged_ring()
    made = become(STRANGER, lambda: [str(path) for path in names(desk) if offer(path, kind, ring)])
    try:
        assert all(path.startswith("/dev/shm/") for path in made), made
        with desk.trading() as ready:
            assert ready < normal["run"] + 3 * LONGER  # the host's own load; what waits for a stranger waits for ever
            for words in COMMANDS:
                for wanted in (str(desk.segment), *([NAME] if desk.user == 0 else [])):
                    status, text = desk.run(words[0], wanted, *words[1:], within=normal[words[0]] + LONGER)
                    assert status == 0, text
            _, text = desk.run("stats", str(desk.segment))
            assert not is_stopped(text)
        status, text = desk.run("journal", str(desk.state / f"{NAME}.journal"))
        assert status == 0 and all(" kill: " in line or "last order was 0" in line for line in text.splitlines()), text
    finally:
        for path in map(Path, made):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


def take_hold(desk: Desk) -> list[str]:
    """What a stranger gets hold of: of files a descriptor and a lock, of processes the right to stop them."""
    held = []
    for path in names(desk):
        for flags in (os.O_RDONLY, os.O_WRONLY, os.O_PATH):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, flags | os.O_NONBLOCK)
                held.append(f"{path} by {flags}")
                if flags != os.O_PATH:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    held.append(f"lock of {path}")
    for child in desk.running:
        for number in (signal.SIGTERM, signal.SIGSTOP, signal.SIGUSR1):
            with contextlib.suppress(PermissionError):
                os.kill(child.pid, number)
                held.append(f"signal {number} to {child.pid}")
    return held


def test_a_stranger_gets_hold_of_nothing_while_it_trades(desk: Desk, normal: dict[str, float]) -> None:
    with desk.trading():
        held = become(STRANGER, lambda: take_hold(desk))
        # That the directory is there, and no more.
        assert set(held) <= {f"{desk.own} by {os.O_PATH}"}, held
        for words in COMMANDS:
            status, text = desk.run(words[0], str(desk.segment), *words[1:], within=normal[words[0]] + LONGER)
            assert status == 0, text


def test_a_stranger_who_made_the_directory_is_refused_at_once(desk: Desk, normal: dict[str, float]) -> None:
    """$XDG_RUNTIME_DIR is one that others can write to."""
    desk.runtime.chmod(0o1777)
    assert become(STRANGER, lambda: offer(desk.own, "directory", b""))
    status, text = desk.run("run", str(desk.config), user=desk.user, within=normal["run"] + LONGER)
    assert status == 2 and "found a file of user 12345, allowed: " in text and text.count("\n") == 1, text
    status, text = desk.run("stats", NAME, user=desk.user)
    assert status == 2 and "found a file of user 12345, allowed: " in text and text.count("\n") == 1, text


# ---------------------------------------------------------------------------- the agent's own user against root


def swap(path: Path, make: Callable[[Path], object]) -> None:
    draft = path.with_name("draft")
    make(draft)
    draft.rename(path)


SWAPS: dict[str, Callable[[Path], object]] = {
    "FIFO": lambda path: os.mkfifo(path),
    "link to root's file": lambda path: path.symlink_to(path.parent.parent.parent / "secret"),
    "link to /dev/zero": lambda path: path.symlink_to("/dev/zero"),
    "directory": lambda path: path.mkdir(),
    "60 GB": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR, 0o600), 60 << 30),
    "noise": lambda path: path.write_bytes(os.urandom(400_000)),
    "nothing": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("kind", SWAPS)
def test_what_the_agents_user_puts_at_its_segments_name_leaves_root_alone(traders: Desk, kind: str) -> None:
    secret = traders.folder / "secret"
    secret.write_bytes(SECRET)
    secret.chmod(0o600)
    with traders.trading():
        seconds = {words[0]: traders.take(words[0], str(traders.segment), *words[1:]) for words in COMMANDS}
    assert become(TRADER, lambda: os.unlink(traders.segment) if kind == "directory" else None) is None
    assert become(TRADER, lambda: swap(traders.segment, SWAPS[kind])) is None
    for words in COMMANDS:
        status, text = traders.run(words[0], str(traders.segment), *words[1:], within=seconds[words[0]] + LONGER)
        assert status == 2 and text.count("\n") == 1 and text.startswith(f"agent: {traders.segment}: "), text
    assert secret.read_bytes() == SECRET


def test_a_second_name_of_roots_file_is_not_written_to(traders: Desk) -> None:
    """As the agent's user can make where fs.protected_hardlinks is 0."""
    with traders.trading():
        pass
    copy = traders.folder / "root's segment"
    copy.write_bytes(traders.segment.read_bytes())
    copy.chmod(0o600)
    before = copy.read_bytes()
    traders.segment.unlink()
    os.link(copy, traders.segment)
    for words in COMMANDS:
        status, text = traders.run(words[0], str(traders.segment), *words[1:])
        assert status == 2 and re.search("found (a file of user 0|a file with 2 names), allowed: ", text), text
    assert copy.read_bytes() == before


def cut_and_restore(path: Path, seconds: float) -> int:
    """Cut a file short and fill it again, as often as can be."""
    descriptor = os.open(path, os.O_RDWR)
    data, rounds, limit = os.pread(descriptor, 1 << 22, 0), 0, time.monotonic() + seconds
    while time.monotonic() < limit:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)
        rounds += 1
    return rounds


LOOP = """
import sys
from pathlib import Path
from agent.shm import request, segment
done = failed = 0
while done < 3000:
    done += 1
    try:
        request.set_limits(Path(sys.argv[1]), {"kill": 1, "max_size": 7})
        segment.read(Path(sys.argv[1]))
    except segment.SegmentError:
        failed += 1
print(done, failed)
"""


def test_a_segment_that_is_cut_short_all_the_time_kills_no_command_of_roots(traders: Desk) -> None:
    with traders.trading():
        pass
    root = subprocess.Popen([sys.executable, "-P", "-c", LOOP, str(traders.segment)], stdout=subprocess.PIPE, text=True,
                            env={"PYTHONPATH": str(traders.code)})  # fmt: skip
    assert become(TRADER, lambda: cut_and_restore(traders.segment, 4.0)) > 100
    out, _ = root.communicate(timeout=BOUND)
    assert root.returncode == 0, f"ended by signal {-root.returncode}"
    done, failed = map(int, out.split())
    assert done == 3000 and failed > 0


def test_a_lock_that_the_agents_user_keeps_costs_root_nothing(traders: Desk) -> None:
    with traders.trading():
        seconds = {words[0]: traders.take(words[0], str(traders.segment), *words[1:]) for words in COMMANDS}
    held = [os.open(path, os.O_RDONLY) for path in traders.own.iterdir()]
    for descriptor in held:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for words in COMMANDS:
        status, text = traders.run(words[0], str(traders.segment), *words[1:], within=seconds[words[0]] + LONGER)
        assert status == ENDED.get(words[0], 0), text
    for descriptor in held:
        os.close(descriptor)


def fill(directory: Path) -> None:
    for number in range(20_000):
        os.close(os.open(directory / f"{number:06d}{chr(27) * 240}.segment", os.O_CREAT | os.O_WRONLY, 0o600))


def test_names_by_the_thousand_in_the_services_directory_do_not_keep_root_waiting(traders: Desk) -> None:
    with traders.trading():
        seconds = {words[0]: traders.take(words[0], str(traders.segment), *words[1:]) for words in COMMANDS}
    assert become(TRADER, lambda: fill(traders.own)) is None
    code = f"from agent.shm import place; place.SYSTEM = place.Path({str(traders.own)!r}); import runpy, sys; "
    code += "runpy.run_module('agent', run_name='__main__')"
    for words, (wanted, status) in itertools.product(COMMANDS, [((), 2), ((NAME,), 0)]):
        begun = time.monotonic()
        command = [sys.executable, "-P", "-c", code, words[0], *wanted, *words[1:]]
        found = subprocess.run(command, capture_output=True, text=True, cwd="/", env={"PYTHONPATH": str(traders.code)})
        assert time.monotonic() - begun < seconds[words[0]] + LONGER
        assert found.returncode == (status or ENDED.get(words[0], 0)) and len(found.stderr) < 1000, found.stderr
        assert status == 0 or "found more than 4,096 names, allowed: no more" in found.stderr
