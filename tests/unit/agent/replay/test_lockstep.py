"""`agent replay --config` gives the orders that `agent run` gives on the simulator in lockstep, byte for byte: for
every strategy of docs/strategies.md, out of its own text, and for strategies that trade on their fills."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent import strategy
from agent.exchange import feed, generator

from ..stage import Stage

DOC = (Path(__file__).parents[4] / "docs" / "strategies.md").read_text()
#: What each kind of source needs to become a strategy.
TOOLS = {"c": shutil.which("cc"), "rs": shutil.which("rustc"), "py": "python",
         "pyx": shutil.which("cc") and importlib.util.find_spec("Cython")}  # fmt: skip
MESSAGES = 150
SYMBOLS = ["AAPL", "MSFT"]

#: Trades on its fills: what rests is replaced once, then cancelled; a fill is answered with an order of the other side.
ON_FILL = """
from agent.strategy import (ACCEPTED, BOOK, BUY, CANCEL, ENTER, EXECUTED, REPLACE, REPLACED, SCALE, SELL, Strategy)

def on_event(state, event, orders):
    if event.kind & BOOK == 0 or event.bid == 0 or event.ask == 0:
        return 0
    state.seen += 1
    state.bid, state.ask = event.bid, event.ask
    for i in range(2):
        order = orders[i]
        order.action, order.id, order.tag, order.symbol, order.size = ENTER, 0, state.seen, event.symbol, 3 + i
        order.side = BUY if state.seen % 3 else SELL
        price = event.bid if order.side == BUY else event.ask
        if state.seen % 2:
            price = event.ask if order.side == BUY else event.bid
        order.price = price * SCALE
    return 2

def on_fill(state, fill, orders):
    order = orders[0]
    order.symbol, order.tag = fill.symbol, fill.tag
    if fill.kind == ACCEPTED and fill.leaves and fill.id % 2:
        order.action, order.id, order.size, order.side = REPLACE, fill.id, 2, fill.side
        order.price = (state.ask if fill.side == BUY else state.bid) * SCALE
        return 1
    if fill.kind == REPLACED and fill.leaves and fill.id % 3 == 0:
        order.action, order.id, order.size = CANCEL, fill.id, 0
        return 1
    if fill.kind == EXECUTED and fill.leaves == 0 and fill.id % 5 == 0:
        order.action, order.id, order.size, order.side = ENTER, 0, fill.size, -fill.side
        order.price = fill.price
        return 1
    return 0

STRATEGY = Strategy(on_event, [("seen", "i8"), ("bid", "i8"), ("ask", "i8")], on_fill=on_fill)
"""

ON_TIMER = """
from agent.strategy import ENTER, BUY, SCALE, Strategy

def on_event(state, event, orders):
    state.ask, state.symbol = event.ask, event.symbol
    return 0

def on_timer(state, now_ns, orders):
    order = orders[0]
    order.action, order.id, order.tag, order.symbol, order.size, order.side = ENTER, 0, now_ns, state.symbol, 1, BUY
    order.price = state.ask * SCALE
    return 1 if state.ask else 0

STRATEGY = Strategy(on_event, [("ask", "i8"), ("symbol", "u4")], on_timer=on_timer)
"""


def documented_sources() -> dict[str, str]:
    """Of each block of code in the documentation before which a file is named: the file, and its text."""
    found, end = {}, 0
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", DOC, re.M | re.S):
        names = re.findall(r"`(\w+\.(?:pyx|py|c|rs))`", DOC[end : block.start()])
        end = block.end()
        if names and block[1] != "sh":
            found[names[-1]] = block[2]
    return found


def documented_names() -> list[str]:
    """Names of the strategies of the documentation: built in, and of its sources."""
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (?:built in|the same)", DOC, re.M)
    return [name for row in rows for name in re.findall(r"\w+", row)] + list(documented_sources())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the documentation's sources, and what its command lines make of them."""
    folder = tmp_path_factory.mktemp("documented")
    for name, text in documented_sources().items():
        (folder / name).write_text(text)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for script in re.findall(r"^```sh\n(.*?)^```$", DOC, re.M | re.S):
        made = re.search(r"-o (\w+)\.so", script)
        if made and ("rustc" not in script or TOOLS["rs"]) and ("cython" not in script or TOOLS["pyx"]) and TOOLS["c"]:
            subprocess.run(["sh", "-e", "-c", script], cwd=folder, env=os.environ | {"PATH": path}, check=True,
                           timeout=180)  # fmt: skip
    return folder


def find_name(name: str, folder: Path) -> str:
    """strategy.name for a documented strategy."""
    stem, _, kind = name.partition(".")
    if not kind:
        if name not in strategy.built_in():
            pytest.skip("built without a Rust compiler")
        return name
    if not TOOLS[kind]:
        pytest.skip(f"no compiler for {name}")
    if kind in ("py", "pyx"):
        return f"{stem}:STRATEGY"
    return str(folder / f"{stem}_{'rust' if kind == 'rs' else kind}.so")


class Tap:
    """Stands between an engine and the exchange, and keeps what the engine sends."""

    def __init__(self, port: int) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._there = port
        self._bytes = b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._there))
            except OSError:
                near.close()
                continue
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=self._pass_on, args=(far, near, False), daemon=True)
            back.start()
            self._pass_on(near, far, True)
            back.join(10)

    def _pass_on(self, source: socket.socket, sink: socket.socket, kept: bool) -> None:
        try:
            while data := source.recv(65536):
                if kept:
                    self._bytes += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            sink.close()

    def messages(self) -> list[bytes]:
        """The OUCH messages that were sent, but for Account Queries."""
        self._server.close()
        found, rest = [], self._bytes
        while len(rest) > 2:
            size = int.from_bytes(rest[:2], "big")
            if rest[2:3] == b"U" and rest[3:4] != b"Q":
                found.append(rest[3 : 2 + size])
            rest = rest[2 + size :]
        return found


@pytest.fixture
def stage(stage: Stage) -> Stage:
    stage.set(max_size="1000", max_orders_per_second="10000000", fast="3", slow="9")
    stage.write(stage.config.read_text().replace("# values = []", "values = [1.3]"))
    return stage


def trade(stage: Stage, recording: Path) -> list[bytes]:
    """Returns what the stage's engine sends on a recording in lockstep."""
    tap = Tap(stage.orders)
    before = stage.config.read_text()
    stage.write(before.replace(f"port = {stage.orders}", f"port = {tap.port}"))
    agent = stage.agent("--once")
    report = stage.exchange("--feed", str(recording), "--lockstep")
    assert report.returncode == 0, report.stderr + report.stdout
    assert agent.wait(30) == 0
    stage.write(before)
    return tap.messages()


def replayed(
    stage: Stage, recording: Path, *options: str
) -> tuple[list[bytes], dict[str, object], list[dict[str, object]]]:
    """Returns what `agent replay --config` sends, its report, and the lines of its orders."""
    orders = stage.folder / "orders.jsonl"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent", "replay", str(recording), "--config", str(stage.config), "--orders",
         str(orders), "--format", "json", *options],
        capture_output=True, text=True, timeout=60, cwd=stage.folder, env=stage.environment)  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    lines = [json.loads(line) for line in orders.read_text().splitlines()]
    return [bytes.fromhex(line["ouch"]) for line in lines], json.loads(done.stdout), lines


def write_lines(folder: Path, count: int = MESSAGES) -> Path:
    """A recording of Binance's lines, with the snapshot and the empty line that are no messages."""
    path, f = folder / "lines", feed.generated(count, seed=11)
    lines = [b"%d %s\n" % (10**18 + f.at[i], f.text[f.offsets[i] : f.offsets[i + 1]]) for i in range(len(f))]
    path.write_bytes(b"".join([b'%d {"lastUpdateId":7,"bids":[]}\n' % 10**18, b"\n", *lines]))
    return path


def write_csv(folder: Path) -> Path:
    path, f = folder / "ticks.csv", feed.generated(MESSAGES, 12, SYMBOLS, "csv")
    lines = [f.text[f.offsets[i] : f.offsets[i + 1]] + b"\n" for i in range(len(f))]
    path.write_bytes(b"timestamp_ns,symbol,bid,bid_size,ask,ask_size,price,size\n\n" + b"".join(lines))
    return path


def write_day(folder: Path) -> Path:
    path = folder / "day"
    path.write_bytes(generator.binaryfile(generator.session(13, 800, [*SYMBOLS, "INTC"])))
    return path


def use_symbols(stage: Stage, form: str) -> None:
    stage.write(stage.config.read_text().replace('symbol = "BTCUSDT"', f"symbols = {json.dumps(SYMBOLS)}")
                .replace('format = "binance"', f'format = "{form}"'))  # fmt: skip


@pytest.mark.parametrize("name", documented_names())
def test_documented_strategies(stage: Stage, built: Path, name: str) -> None:
    stage.environment["PYTHONPATH"] = str(built)
    stage.strategy(find_name(name, built))
    recording = write_lines(stage.folder)
    live = trade(stage, recording)
    sent, report, _ = replayed(stage, recording)
    assert sent == live and len(live) > 10
    assert report["ok"] and report["orders"] == sum(m[:1] == b"O" for m in live)


def test_the_documentation_has_strategies_in_four_languages() -> None:
    assert {name.partition(".")[2] for name in documented_sources()} == {"py", "c", "rs", "pyx"}
    assert {"ema_cross", "every_tick", "ema_cross_rust"} <= set(documented_names())


@pytest.mark.parametrize(("form", "write"), [("binance", write_lines), ("csv", write_csv), ("itch", write_day)])
def test_fills_are_answered_alike(stage: Stage, form: str, write: object) -> None:
    (stage.folder / "fills.py").write_text(ON_FILL)
    stage.strategy("fills:STRATEGY")
    if form != "binance":
        use_symbols(stage, form)
    recording = write(stage.folder)  # type: ignore[operator]
    live = trade(stage, recording)
    sent, report, lines = replayed(stage, recording)
    assert sent == live and {m[:1] for m in live} == {b"O", b"U", b"X"}
    answers = report["answers"]
    assert isinstance(answers, dict) and all(answers[kind] for kind in ("accepted", "executed", "canceled", "replaced"))
    assert {line["action"] for line in lines} == {"enter", "replace", "cancel"}
    reading = stage.stats()["counters"]
    assert {name: reading[name] for name in answers} == answers and reading["fills"] == report["fills"]


def test_the_timer_is_called_in_the_recordings_time(stage: Stage) -> None:
    (stage.folder / "timer.py").write_text(ON_TIMER)
    stage.strategy("timer:STRATEGY")
    stage.set(timer_ms="7")
    recording = write_lines(stage.folder)
    sent, report, lines = replayed(stage, recording)
    begin = 10**18
    times = [line["time_ns"] for line in lines]
    assert times == [begin + 7_000_000 * (i + 1) for i in range(len(times))]
    assert report["timers"] == len(sent) == (MESSAGES - 1) // 7
    assert [line["message"] for line in lines] == [7 * (i + 1) for i in range(len(times))]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--strategy", "ema_cross"], "--config: found with --strategy, allowed: one of them"),
        (["--size", "5"], "--config: found with --size, allowed: one of them"),
        (["--orders", "/nonesuch/x"], "--orders /nonesuch/x: No such file or directory"),
    ],
)
def test_options_that_do_not_go_together(stage: Stage, options: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent", "replay", str(write_lines(stage.folder)), "--config", str(stage.config),
         *options], capture_output=True, text=True, timeout=60)  # fmt: skip
    assert (done.returncode, done.stderr) == (2, f"agent: {message}\n")


def test_a_recording_of_another_format_is_refused(stage: Stage) -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "agent", "replay", str(write_day(stage.folder)), "--config", str(stage.config)],
        capture_output=True, text=True, timeout=60)  # fmt: skip
    assert done.returncode == 2
    assert "found a recording of itch, allowed: binance, as feed.format says" in done.stderr


def test_limits_of_the_configuration_hold_in_the_recordings_time(stage: Stage) -> None:
    stage.strategy("every_tick_cython")
    stage.set(max_orders_per_second="100")
    _, report, _ = replayed(stage, write_lines(stage.folder, 300))
    rejects = report["rejects"]
    # 300 ms of ticks, about 240 quotes: a burst of 100, and 100 a second from then on.
    assert isinstance(rejects, dict) and 120 <= report["orders"] <= 130 and rejects["rate"] > 50  # type: ignore[operator]
