"""`agent run` and `agent exchange` as two processes on loopback."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.shm import segment as shm
from benchmarks.agent.drive import free_port

from .. import soup_client as soup
from ..stage import Stage, read_journal

pytest.importorskip("numba")

NONSENSE = """
import numpy as np
from agent.strategy import Strategy

def on_event(state, event, orders):
    state.seen += 1
    for i in range(3):
        order = orders[i]
        order.price, order.size, order.side, order.symbol = 100.0, 1, 1, 0
    orders[0].size = -5
    orders[1].price = np.nan
    orders[2].symbol = 9
    if state.seen % 10 == 0:
        return 1000
    return 3

strategy = Strategy(on_event, [("seen", "i8")])
"""


def test_every_tick_is_read_and_every_order_acknowledged(stage: Stage) -> None:
    stage.strategy("every_tick")
    child = stage.agent("--once", "--format", "json")
    run = stage.exchange("--feed", "generated", "--messages", "4000", "--rate", "2000")
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    books = report["feed"]["types"]["bookTicker"]
    assert report["ok"] and report["orders"]["acknowledged"] == report["orders"]["matched"] == books
    assert report["agent"]["messages"] == 4000 and report["agent"]["lost"] == 0
    out, _ = child.communicate(timeout=40)
    assert child.returncode == 0
    summary = json.loads(out)
    assert summary["ended"] == "the exchange ended the session"
    assert summary["ticks_in"] == 4000
    assert summary["counters"]["orders_sent"] == summary["counters"]["accepted"] == books
    assert summary["latency_ns"]["own_code"]["count"] == books


def test_ema_cross_trades_the_same_on_the_same_feed_and_the_agent_serves_session_after_session(stage: Stage) -> None:
    stage.agent()
    orders = []
    for _ in range(2):
        run = stage.exchange("--feed", "generated", "--messages", "3000", "--rate", "3000", "--seed", "5")
        assert run.returncode == 0, run.stdout + run.stderr
        orders.append(json.loads(run.stdout)["orders"]["orders"])
        time.sleep(1.2)  # the agent connects again once a second
    assert min(orders) > 10
    live = stage.stats()
    assert live["alive"] and live["state"] == "connecting" and live["counters"]["logins"] == 2


def test_a_strategy_that_returns_nonsense_is_stopped_and_counted(stage: Stage) -> None:
    (stage.folder / "nonsense.py").write_text(NONSENSE)
    stage.strategy("nonsense:strategy")
    stage.agent()
    run = stage.exchange("--feed", "generated", "--messages", "100", "--rate", "1000")
    assert run.returncode == 0, run.stdout + run.stderr
    assert json.loads(run.stdout)["orders"]["orders"] == 0
    c = stage.stats()["counters"]
    assert c["events"] == 100
    assert (c["reject_size"], c["reject_price"], c["reject_symbol"], c["reject_count"]) == (90, 90, 90, 10_000)
    assert c["orders_sent"] == 0


def test_lockstep_is_a_closed_loop_without_loss(stage: Stage) -> None:
    stage.strategy("every_tick")
    stage.agent()
    run = stage.exchange("--feed", "generated", "--messages", "500", "--lockstep")
    report = json.loads(run.stdout)
    assert run.returncode == 0 and report["loop"] == "closed", run.stdout + run.stderr


def test_sigterm_ends_it_and_its_numbers_stay(stage: Stage) -> None:
    child = stage.agent()
    limit = time.monotonic() + 30
    while shm.read(stage.segment).state != "connecting" and time.monotonic() < limit:
        time.sleep(0.01)
    second = subprocess.run([sys.executable, "-P", "-m", "agent", "run", str(stage.config)], capture_output=True,
                            text=True, timeout=20, cwd=stage.folder)  # fmt: skip
    assert second.returncode == 2
    assert "Address already in use" in second.stderr or f"pid {child.pid}" in second.stderr
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    assert "stopped (stopped by signal 15)" in out
    assert stage.stats()["state"] == "stopped"


def test_a_caller_that_ignores_sigchld_leaves_no_ring(stage: Stage) -> None:
    stage.set(receive_buffer="65536")  # as much as every user may have
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        child = stage.agent()
    finally:
        signal.signal(signal.SIGCHLD, before)
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=30)
    assert child.returncode == 0 and error == ""
    assert list(stage.folder.glob("*.journal-ring")) == []


def test_sigkill_leaves_readable_numbers(stage: Stage) -> None:
    child = stage.agent()
    child.kill()
    child.communicate(timeout=30)
    assert stage.stats()["state"] == "died"
    stage.agent()  # replaces the dead one's segment
    assert stage.stats()["alive"]


def test_a_lost_connection_is_exit_code_four(stage: Stage) -> None:
    stage.set(reconnect_s="0.3")
    child = stage.agent()
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", stage.orders))
        server.listen(1)
        server.settimeout(10)
        link, _ = server.accept()
        with link:
            link.settimeout(5)
            assert soup.parse_login(link.recv(100)) == ("trader", "secret")
            link.sendall(soup.login_accepted("S", 1))
            time.sleep(0.2)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 4
    assert "the connection to the exchange was lost" in err


def test_a_refused_login_is_exit_code_one(stage: Stage) -> None:
    child = stage.agent()
    run = stage.exchange("--feed", "generated", "--messages", "1", "--login", "other:else")
    assert run.returncode == 2 and "logged in as 'trader'" in run.stderr
    _, err = child.communicate(timeout=30)
    assert child.returncode == 1
    assert "refused the login: A (not authorised)" in err


def itch(stage: Stage, *symbols: str) -> None:
    stage.write(stage.config.read_text().replace('symbol = "BTCUSDT"', f"symbols = {json.dumps(symbols)}"))
    stage.set(format='"itch"', max_size="999999")


def test_two_lines_and_a_request_server_heal_what_the_network_does(stage: Stage) -> None:
    itch(stage, "AAPL", "MSFT")
    stage.strategy("every_tick")
    b, request = free_port(socket.SOCK_DGRAM), free_port(socket.SOCK_DGRAM)
    stage.set(b=f'{{ address = "127.0.0.1", port = {b} }}', request=f'{{ address = "127.0.0.1", port = {request} }}',
              gap_limit_ms="5000")  # fmt: skip
    child = stage.agent("--once", "--format", "json")
    run = stage.exchange(
        "--feed", "generated", "--generate", "itch", "--symbol", "AAPL,MSFT,QQQ", "--messages", "4000",
        "--rate", "4000", "--per-datagram", "5", "--feed-b", f"127.0.0.1:{b}",
        "--request-listen", f"127.0.0.1:{request}", "--drop", "0.2",
        "--duplicate", "0.05", "--reorder", "0.05", "--no-match",
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads(run.stdout)
    c = report["agent"]
    assert c["messages"] == 4000 and c["lost"] == 0 and c["healed"] > 0 and c["requests"] > 0 and c["duplicates"] > 0
    assert report["faults"]["retransmitted"] > 0 and report["faults"]["dropped"] > 100
    assert c["orders_sent"] == report["orders"]["orders"] > 100
    assert (c["books_stale"], c["book_inconsistent"]) == (0, 0)
    out, _ = child.communicate(timeout=40)
    assert child.returncode == 0, out


def test_a_gap_that_nobody_fills_stops_trading_and_says_so(stage: Stage) -> None:
    itch(stage, "AAPL")
    stage.strategy("every_tick")
    stage.agent()
    run = stage.exchange("--feed", "generated", "--generate", "itch", "--symbol", "AAPL", "--messages", "1000",
                         "--rate", "4000", "--drop", "0.02")  # fmt: skip
    assert run.returncode == 1
    problems = " ".join(json.loads(run.stdout)["problems"])
    assert "the agent counted lost" in problems
    c = stage.stats()["counters"]
    assert c["books_stale"] == 1 and c["lost"] > 0
    assert [s.stale for s in shm.read(stage.segment).symbols] == [1]


def test_a_disconnect_cancels_and_the_agent_comes_back_knowing_it(stage: Stage) -> None:
    stage.strategy("every_tick")
    child = stage.agent("--once", "--format", "json")
    run = stage.exchange("--feed", "generated", "--messages", "2000", "--rate", "2000", "--disconnect-after", "500",
                         "--reconnect", "10")  # fmt: skip
    report = json.loads(run.stdout)
    assert report["session"]["disconnects"] == 1 and report["session"]["logins"] == 2, run.stdout + run.stderr
    assert report["ended"] == "complete"
    c, orders = report["agent"], report["orders"]
    # Everything that it ever sent was answered, or the exchange said that it had not seen it.
    assert c["orders_sent"] == orders["acknowledged"] + c["orders_never_reached"]
    assert c["accepted"] == orders["acknowledged"] and orders["duplicates"] == 0
    assert c["executed"] == orders["executions"] and c["canceled"] == orders["canceled"]
    child.communicate(timeout=40)
    assert child.returncode == 0


def test_trades_are_in_the_tick_series(stage: Stage) -> None:
    from agent.shm.series import Series

    stage.set(capacity="2000")
    stage.agent()
    run = stage.exchange("--feed", "generated", "--messages", "3000", "--rate", "6000")
    assert run.returncode == 0, run.stdout + run.stderr
    with Series(stage.segment.with_name("segment.series")) as series:
        assert series.symbols == ["BTCUSDT"] and series.alive
        assert series.count("BTCUSDT") == json.loads(run.stdout)["feed"]["types"]["trade"]
        recent = series.recent("BTCUSDT", 100)
        assert (recent.timestamps[1:] >= recent.timestamps[:-1]).all()
        assert (recent.prices > 10**12).all() and (recent.sizes >= 0).all() and series.intact(recent)


def test_shards_part_the_symbols_between_them(stage: Stage) -> None:
    itch(stage, "AAPL", "MSFT", "QQQ")
    stage.strategy("every_tick")
    stage.set(username='"tra{shard}"')
    orders = {}
    for shard, number in (("0/1", ""), ("0/2", ".0"), ("1/2", ".1")):
        child = stage.agent("--once", "--shard", shard)
        segment = stage.segment.with_name(f"{stage.segment.stem}{number}{stage.segment.suffix}")
        run = stage.exchange("--feed", "generated", "--generate", "itch", "--symbol", "AAPL,MSFT,QQQ", "--messages",
                             "1500", "--rate", "6000", "--no-match", "--agent-shm", str(segment))  # fmt: skip
        assert run.returncode == 0, run.stdout + run.stderr
        orders[shard] = json.loads(run.stdout)["orders"]["orders"]
        child.communicate(timeout=40)
    assert orders["0/1"] == orders["0/2"] + orders["1/2"] and min(orders.values()) > 50
    assert (stage.folder / "state/main.0.journal").exists() and (stage.folder / "state/main.1.journal").exists()
    run = subprocess.run([sys.executable, "-P", "-m", "agent", "run", str(stage.config), "--shard", "3/4"],
                         capture_output=True, text=True, timeout=20, cwd=stage.folder,
                         env=stage.environment)  # fmt: skip
    assert run.returncode == 2 and "--shard: found 3/4 with 3 symbols: none would be left" in run.stderr


def test_an_engine_reads_its_feed_from_a_ring(stage: Stage) -> None:
    from agent.shm.ring import Ring

    path = stage.folder / "ticks"
    text = stage.config.read_text()
    stage.write(
        text.replace('address = "127.0.0.1"       #', "#", 1).replace(f"port = {stage.feed}", f'ring = "{path}"', 1)
    )
    message = b'{"u":%d,"s":"BTCUSDT","b":"100.00000000","B":"1.00000000","a":"100.01000000","A":"2.50000000"}'
    with Ring.create(path, 1 << 16) as ring:
        stage.agent()
        for i in range(1, 1001):
            quote = message % i
            packet = b"SESSION001" + i.to_bytes(8, "big") + b"\0\1" + len(quote).to_bytes(2, "big") + quote
            limit = time.monotonic() + 30
            while not ring.push(packet):
                assert time.monotonic() < limit
        limit = time.monotonic() + 30
        while stage.stats()["counters"]["messages"] < 1000:
            assert time.monotonic() < limit
        c = stage.stats()["counters"]
        assert (c["messages"], c["events"], c["lost"], c["ring_damaged"]) == (1000, 1000, 0, 0)
        assert ring.used == 0


def test_a_killed_agent_is_started_again_with_its_position_and_orders(stage: Stage) -> None:
    stage.strategy("every_tick")
    agent = stage.agent()
    exchange = subprocess.Popen(
        [sys.executable, "-P", "-m", "agent", "exchange", "--feed-to", f"127.0.0.1:{stage.feed}", "--listen",
         f"127.0.0.1:{stage.orders}", "--no-spin", "--linger", "0.3", "--wait", "20", "--timeout", "60", "--format",
         "json", "--feed", "generated", "--messages", "16000", "--rate", "2000", "--reconnect", "25"],
        stdout=subprocess.PIPE, text=True, cwd=stage.folder, env=stage.environment)  # fmt: skip
    stage.children.append(exchange)
    for _ in range(2):
        limit = time.monotonic() + 30
        while stage.stats()["counters"]["orders_sent"] < 300:
            assert time.monotonic() < limit
            time.sleep(0.02)
        agent.kill()
        agent.communicate(timeout=30)
        agent = stage.agent()
    out, _ = exchange.communicate(timeout=100)
    report = json.loads(out)
    assert report["ended"] == "complete" and report["session"]["logins"] == 3
    assert report["orders"]["duplicates"] == 0 and report["orders"]["out_of_order"] == 0
    limit = time.monotonic() + 30
    while True:
        held = read_journal(stage)
        written = sum(r["kind"] == "accepted" for r in held["records"])
        if written == report["orders"]["acknowledged"] or time.monotonic() > limit:
            break
        time.sleep(0.1)
    time.sleep(0.3)
    held = read_journal(stage)
    by = {kind: [r for r in held["records"] if r["kind"] == kind] for kind in
          ("entered", "accepted", "executed", "canceled", "never reached")}  # fmt: skip
    assert len({r["id"] for r in by["entered"]}) == len(by["entered"])
    assert len(by["accepted"]) == report["orders"]["acknowledged"]
    assert len(by["executed"]) == report["orders"]["executions"]
    assert len(by["entered"]) == len(by["accepted"]) + len(by["never reached"])
    bought = sum(r["quantity"] * r["side"] for r in by["executed"])
    assert [s.position for s in shm.read(stage.segment).symbols] == [bought]


def test_ready_is_told_to_systemd(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stage.folder / "notify"))
        manager.settimeout(10)
        stage.environment["NOTIFY_SOCKET"] = str(stage.folder / "notify")
        stage.agent()
        assert manager.recv(4096).startswith(b"READY=1\nSTATUS=ready: feed 127.0.0.1:")


def test_it_holds_back_until_it_is_told_to_begin(stage: Stage) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(stage.folder / "notify"))
        manager.settimeout(10)
        stage.environment["NOTIFY_SOCKET"] = str(stage.folder / "notify")
        agent = stage.agent("--hold")
        assert manager.recv(4096).startswith(b"READY=1")
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(timeout=30) == 2
        assert "asked to end (SIGTERM) before SIGUSR1 let it begin: no order was sent" in agent.communicate()[1]
    with socket.create_server(("127.0.0.1", stage.orders)) as exchange:
        agent = stage.agent("--hold")
        exchange.settimeout(1.5)  # a connection is tried each second
        with pytest.raises(TimeoutError):
            exchange.accept()
        agent.send_signal(signal.SIGUSR1)
        exchange.settimeout(30)
        exchange.accept()[0].close()
        agent.send_signal(signal.SIGUSR1)
        agent.send_signal(signal.SIGTERM)
        assert agent.wait(timeout=30) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('name = "ema_cross"', 'name = "ema"'), "strategy.name: found 'ema', allowed: ema_cross, ema_cross_cython, "),
        (("[feed]\naddress = \"127.0.0.1\"", "[feed]\naddress = \"192.0.2.1\""), "feed.address: found '192.0.2.1', "),
        (("max_size = 10", "max_size = 0"), "risk.max_size: found the number 0; wanted an integer from 1 to 999999"),
    ],
)  # fmt: skip
def test_what_stops_a_start_is_said(stage: Stage, change: tuple[str, str], message: str) -> None:
    assert change[0] in stage.config.read_text()
    stage.write(stage.config.read_text().replace(*change, 1))
    run = subprocess.run([sys.executable, "-P", "-m", "agent", "run", str(stage.config)],
                         capture_output=True, text=True, timeout=20, cwd=stage.folder)  # fmt: skip
    assert run.returncode == 2
    assert message in run.stderr and "Traceback" not in run.stderr


def test_a_book_that_does_not_fit_into_memory_is_said(stage: Stage) -> None:
    stage.set(format='"itch"', orders="268435456")
    command = ["prlimit", f"--as={4 << 30}", sys.executable, "-P", "-m", "agent", "run", str(stage.config)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20, env=stage.environment)
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert "book.orders: 268435456 with 2048 levels take" in run.stderr and "does not give" in run.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["stats", "SEGMENT"]])
def test_light_commands_import_nothing_heavy(stage: Stage, arguments: list[str], hand_segment: bytes) -> None:
    stage.segment.write_bytes(hand_segment)
    code = (
        "import sys; from agent.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = ('numpy', 'numba', 'pyroute2', 'asyncio', 'agent.engine._engine')\n"
        "sys.exit(str([m for m in heavy if m in sys.modules]))"
    )
    arguments = [a.replace("SEGMENT", str(stage.segment)) for a in arguments]
    run = subprocess.run([sys.executable, "-P", "-c", code, *arguments],
                         capture_output=True, text=True, timeout=20, cwd=stage.folder)  # fmt: skip
    assert run.stderr.strip() == "[]"


@pytest.fixture
def hand_segment(hand: Callable[..., Any]) -> bytes:
    return bytes(hand().segment)


@pytest.mark.parametrize(("every_ms", "given_way"), [(10, True), (0, False)])
def test_the_loop_gives_way_when_nothing_is_due(stage: Stage, every_ms: int, given_way: bool) -> None:
    stage.write(stage.config.read_text().replace("# yield_every_ms = 100", f"yield_every_ms = {every_ms}"))
    child = stage.agent()

    def naps() -> int:
        """Voluntary context switches: what the kernel saw of it, not only what the counter says."""
        for line in Path(f"/proc/{child.pid}/status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches:"):
                return int(line.split()[1])
        raise AssertionError("no voluntary_ctxt_switches")

    before, slept = stage.stats()["counters"]["yields"], naps()
    time.sleep(1)
    counted, slept = stage.stats()["counters"]["yields"] - before, naps() - slept
    assert (counted > 10) is given_way
    assert (slept > 10) is given_way
    # One a period at most, however slow this test is.
    assert counted <= 1000


def test_a_symbol_with_a_long_name_is_traded_under_its_own(stage: Stage) -> None:
    stage.strategy("every_tick")
    stage.write(stage.config.read_text().replace('symbol = "BTCUSDT"', 'symbol = "1000PEPEUSDT"').replace(
        "# symbols = {", "symbols = {"))  # fmt: skip
    child = stage.agent()
    feed = ("--feed", "generated", "--symbol", "1000PEPEUSDT", "--messages", "400", "--rate", "2000")
    run = stage.exchange(*feed, "--exchange-symbols", "1000PEPEUSDT=1000PEPE")
    assert run.returncode == 0, run.stdout + run.stderr
    orders = json.loads(run.stdout)["orders"]
    assert orders["acknowledged"] > 200
    child.terminate()
    child.communicate(timeout=40)
    found = stage.stats()
    assert found["counters"]["accepted"] == orders["acknowledged"] and found["counters"]["executed"] > 0
    [(name, row)] = found["symbols"].items()
    assert name == "1000PEPEUSDT" and row["bid"]
    assert "1000PEPEUSDT" in stage.run("top", str(stage.segment), "--count", "1")
    assert 'symbol="1000PEPEUSDT"' in stage.run("stats", str(stage.segment), "--format", "prometheus")
    assert "1000PEPEUSDT" in json.dumps(read_journal(stage))
    # Another engine goes on where this one was.
    child = stage.agent()
    assert stage.stats()["symbols"]["1000PEPEUSDT"]["position"] == row["position"]
