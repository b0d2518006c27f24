"""The rounds of `desk report`: both sides by turns, on the same two CPUs."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec

from agent.errors import AgentError
from desk.errors import DeskError
from desk.report.before import Before, Plan
from desk.report.engine import EngineError, Run, Wish, make_feed, run_engine
from desk.report.round import Round
from desk.report.table import Machine, Report, make_report
from desk.report.ticks import make_ticks
from hosttune.host import load
from hosttune.output import escape

#: Ticks of a round: of the design before, of the engine's latency and stages, of its orders, of its feed.
BEFORE, PACED, ORDERS, FLOOD = 3_000, 5_000, 40_000, 200_000
#: Ticks a second that are offered for the rates, from the highest down until nothing is lost; kept for the next round.
ORDER_RATES = (150_000.0, 100_000.0, 75_000.0, 50_000.0, 25_000.0)
FLOOD_RATES = (1_000_000.0, 500_000.0, 250_000.0, 125_000.0, 60_000.0)
#: Seconds until Redis answers, and until a run of the design before has ended.
_ANSWERS, _RUN = 10.0, 150.0


class Rates:
    """The offered rate that lost nothing, from the highest down."""

    def __init__(self, rates: Sequence[float]) -> None:
        self._rates = list(rates)

    def run(self, attempt: Callable[[float], Run]) -> Run:
        """Returns the first run that lost nothing. Raises EngineError of the last one when none did."""
        while True:
            try:
                return attempt(self._rates[0])
            except EngineError:
                if len(self._rates) == 1:
                    raise
                del self._rates[0]


def find_cpus() -> tuple[int, int]:
    """Returns the CPU of the simulator and of who takes orders, and the one of both sides' loops. Raises DeskError."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise DeskError(f"CPUs: found {len(allowed)}, allowed: at least 2, one for each end of the connection")
    return allowed[0], allowed[1]


def measure(rounds: int, seed: int, say: Callable[[str], None]) -> Report:
    """Returns the report of so many rounds. say: is told which one it is. Raises DeskError."""
    cpus = find_cpus()
    feeds = [make_feed(make_ticks(count, seed)) for count in (PACED, ORDERS, FLOOD)]
    order_rates, flood_rates = Rates(ORDER_RATES), Rates(FLOOD_RATES)
    found = []
    with tempfile.TemporaryDirectory(prefix="desk-report-") as place, start_redis(Path(place), cpus[0]) as server:
        for number in range(1, rounds + 1):
            say(f"round {number} of {rounds}")
            one = Round()
            begun = load.moment()
            redis, no_redis = server
            if no_redis:
                one.why["redis"] = no_redis
            with _noting(one, "before"):
                one.before = run_before(Plan(ticks=BEFORE, seed=seed, redis=redis, cpus=(cpus[1], cpus[0])))
            with _noting(one, "paced"):
                one.paced = run_engine(feeds[0], Wish(), cpus)
            with _noting(one, "stamped"):
                one.stamped = run_engine(feeds[0], Wish(stamps=True), cpus)
            with _noting(one, "orders"):
                one.orders = order_rates.run(
                    lambda rate: run_engine(feeds[1], Wish(rate=rate, counter="accepted"), cpus)
                )
            with _noting(one, "flood"):
                one.flood = flood_rates.run(
                    lambda rate: run_engine(
                        feeds[2], Wish(rate=rate, strategy="ema_cross", counter="messages", orders=False), cpus
                    )
                )
            one.others = load.foreign(begun, load.moment())
            found.append(one)
    return make_report(found, Machine(about=load.describe(), cpus=cpus))


@contextlib.contextmanager
def _noting(one: Round, name: str) -> Iterator[None]:
    try:
        yield
    except (AgentError, DeskError) as error:
        one.why[name] = str(error)
    except OSError as error:  # no space, no memory
        one.why[name] = f"{error.filename or name}: {error.strerror}"


def run_before(plan: Plan) -> Before:
    """Returns one run of the design before, in a process of its own. Raises DeskError."""
    words = [sys.executable, "-P", "-m", "desk.report.before", msgspec.json.encode(plan).decode()]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_RUN)
    except subprocess.TimeoutExpired:
        raise DeskError(f"the design before: no result within {_RUN:g} s") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise DeskError(escape(f"the design before ended with {done.returncode}: {said[-1][:300] if said else ''}"))
    return msgspec.json.decode(done.stdout, type=Before)


@contextlib.contextmanager
def start_redis(place: Path, cpu: int) -> Iterator[tuple[str, str]]:
    """Yields the Unix socket of a redis-server of its own, on one CPU, in a directory that is this user's alone, or
    why there is none: unpickling what another user could have put there would run that user's code."""
    program = shutil.which("redis-server")
    if program is None:
        yield "", "redis-server is not installed (apt-get install redis-server)"
        return
    path = place / "redis.socket"
    words = [program, "--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700", "--save", "", "--appendonly",
             "no", "--dir", str(place), "--daemonize", "no"]  # fmt: skip
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),
        )  # fmt: skip
        try:
            why = _wait_for_redis(path, child)
            if why:
                child.kill()
                said.seek(0)
                lines = said.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
                why = escape(f"{why}: {lines[-1][:300] if lines else 'it said nothing'}")
            yield ("" if why else str(path)), why
        finally:
            child.kill()
            child.wait()


def _wait_for_redis(path: Path, child: "subprocess.Popen[bytes]") -> str:
    """Returns why it does not answer; "": it does."""
    try:
        import redis
    except ModuleNotFoundError:
        return "the package redis is not installed (hosttune[desk])"
    limit = time.monotonic() + _ANSWERS
    while time.monotonic() < limit and child.poll() is None:
        with contextlib.suppress(redis.RedisError, OSError):
            client = redis.Redis(unix_socket_path=str(path), socket_timeout=1, socket_connect_timeout=1, retry=None)
            if client.ping():
                return ""
        time.sleep(0.02)
    return "redis-server ended" if child.poll() is not None else f"redis-server did not answer within {_ANSWERS:g} s"
