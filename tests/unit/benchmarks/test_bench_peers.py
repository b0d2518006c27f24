"""The peers: what they parse and send, and that each trades every tick of a feed of the simulator."""

import os
import socket
import subprocess
from pathlib import Path

import pytest

from agent.exchange import feed
from agent.exchange import simulator as exchange
from agent.protocols import itch_layouts as itch
from benchmarks import find_command
from benchmarks.agent import machine
from benchmarks.agent.peers import _wire

from ..agent.conftest import mold

ADD_BID = itch.encode(
    "A", stock_locate=1, order_reference_number=7, buy_sell_indicator="B", shares=100, stock="ZVZZT", price=10_000
)
ADD_ASK = itch.encode(
    "A", stock_locate=1, order_reference_number=8, buy_sell_indicator="S", shares=100, stock="ZVZZT", price=10_100
)


def replace(old: int, new: int, price: int) -> bytes:
    return itch.encode("U", stock_locate=1, original_order_reference_number=old, new_order_reference_number=new,
                       shares=100, price=price)  # fmt: skip


def test_quotes_are_of_orders_that_are_entered_and_replaced() -> None:
    quotes = _wire.Quotes()
    assert quotes.tick(mold(1, itch.encode("R", stock="ZVZZT"))) == 0
    assert quotes.tick(mold(2, ADD_BID)) == 2 and (quotes.bid, quotes.ask) == (10_000, 0)
    assert quotes.tick(mold(3, ADD_ASK)) == 3 and (quotes.bid, quotes.ask) == (10_000, 10_100)
    assert quotes.tick(mold(4, replace(8, 9, 10_200))) == 4 and (quotes.bid, quotes.ask) == (10_000, 10_200)
    assert quotes.tick(mold(5, replace(7, 10, 9_900))) == 5 and (quotes.bid, quotes.ask) == (9_900, 10_200)
    assert quotes.tick(mold(2**40, replace(9, 11, 10_000))) == 2**40 and (quotes.bid, quotes.ask) == (9_900, 10_000)
    assert quotes.tick(mold(7, itch.encode("D", order_reference_number=11))) == 0
    assert quotes.tick(mold(8)) == 0


def test_orders_are_those_of_the_forwarder() -> None:
    assert _wire.enter_order(5, b"BTCUSDT ", 123) == (
        b"\x00\x30UO" + b"\0\0\0\5" + b"B" + b"\0\0\0\1" + b"BTCUSDT " + b"\0\0\0\0\0\0\x27\x10" + b"0YPNN"
        + b"00000000000123" + b"\0\0"
    )  # fmt: skip
    assert len(_wire.LOGIN) == 49 and _wire.LOGIN[2:9] == b"Ltrader"


def test_acceptances_come_in_pieces() -> None:
    message = (
        b"SA" + bytes(8) + b"\0\0\0\5" + b"B\0\0\0\1BTCUSDT " + bytes(8) + b"0Y" + b"\0\0\0\0\0\0\1\0"
        + b"PNNL" + b"0" * 14 + b"\0\0"
    )  # fmt: skip
    stream = b"\0\1H" + len(message).to_bytes(2, "big") + message + b"\0\3SQ?"
    for cut in range(len(stream) + 1):
        held = bytearray(stream[:cut])
        found = _wire.accepted(held)
        held += stream[cut:]
        assert found + _wire.accepted(held) == [(5, 256)] and not held


def test_arguments() -> None:
    assert _wire.arguments(["agent", "1", "2", "3"]) == (1, 2, 3, "BTCUSDT")
    assert _wire.arguments(["agent", "1", "2", "3", "ZVZZT"]) == (1, 2, 3, "ZVZZT")
    with pytest.raises(SystemExit, match="usage: agent FEED_PORT"):
        _wire.arguments(["agent", "1"])


def ticks(count: int) -> feed.Feed:
    """A symbol's directory entry, two orders, and `count` replacements."""
    messages = [itch.encode("R", stock_locate=1, stock="ZVZZT"), ADD_BID, ADD_ASK]
    messages += [replace(7 + i, 9 + i, 10_000 + 100 * (i % 2)) for i in range(count)]
    return feed.build_feed("ticks", "itch", [(i, m) for i, m in enumerate(messages)], {})


def free(kind: socket.SocketKind) -> int:
    with socket.socket(socket.AF_INET, kind) as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.parametrize(("package", "module"), [("uvloop", "uvloop_agent"), ("nautilus_trader", "nautilus_agent")])
def test_an_order_for_each_tick(package: str, module: str, tmp_path: Path) -> None:
    pytest.importorskip(package, reason=f"needs {package} (tools/setup bench)")
    own, other = machine.two_cpus() if len(os.sched_getaffinity(0)) > 1 else (0, 0)
    if own == other:
        pytest.skip("one CPU: the simulator spins")
    flow = ticks(100)
    ports = free(socket.SOCK_DGRAM), free(socket.SOCK_STREAM)
    command = find_command(f"benchmarks.agent.peers.{module}", *ports, other, "ZVZZT")
    with (tmp_path / "errors").open("w") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            report = exchange.run(
                exchange.Plan(feed=flow, due=exchange.schedule(flow, 200.0, None), pacing="",
                              feed_to=("127.0.0.1", ports[0]), listen=("127.0.0.1", ports[1]), linger=0.5,
                              login=40.0, timeout=60.0, match=False)
            )  # fmt: skip
            assert child.wait(timeout=20) == 0
            assert child.stdout and child.stdout.read() == "ready\n"
        finally:
            child.kill()
            child.communicate()
    assert (tmp_path / "errors").read_text() == ""
    assert report["ended"] == "complete" and report["problems"] == []
    assert report["orders"]["matched"] == report["orders"]["acknowledged"] == 102
