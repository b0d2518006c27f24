"""OUCH bytes, the risk gate, and what the engine does when its socket does not take an order."""

import math
import socket
import struct
import time
from collections.abc import Callable

import pytest

from tests.compiled import _sessions

from .. import soup_client as soup
from ..conftest import Hand
from ..ouch_answers import accepted, canceled

GOOD = (100.01, 5, 1, 0)


def read_all(peer: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.recv(65536)
        assert more
        data += more
    return data


def test_enter_order_byte_for_byte() -> None:
    frame = _sessions.ouch_enter(b"BTCUSDT", 0x01020304, b"B", 250, 618_376_400, 41_248)
    assert frame == (
        b"\x00\x30U"  # SoupBinTCP: 48 bytes, unsequenced data
        b"O\x01\x02\x03\x04B\x00\x00\x00\xfaBTCUSDT "
        b"\x00\x00\x00\x00\x24\xdb\xac\xd0"  # 61,837.6400
        b"0YPNN00000000041248\x00\x00"
    )


def test_an_order_reaches_the_exchange_and_its_answer_is_matched(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [GOOD, (99.5, 7, -1, 0)]
    with h.connect() as peer:
        h.tick()
        data = read_all(peer, 100)
        assert data[:50] == _sessions.ouch_enter(b"BTCUSDT", 1, b"B", 5, 1_000_100, 1)
        assert data[50:] == _sessions.ouch_enter(b"BTCUSDT", 2, b"S", 7, 995_000, 1)
        # Split anywhere, the answers are read; one of an unknown and one of a closed order are told apart.
        answers = accepted(1) + soup.packet(b"H") + accepted(2, 7) + canceled(2, 7) + accepted(2, 7) + accepted(77)
        for i in range(0, len(answers), 7):
            peer.sendall(answers[i : i + 7])
            time.sleep(0.001)
            h.engine.step_session()
    c = h.counters
    assert (c["orders_wanted"], c["orders_sent"], c["accepted"], c["answers_unmatched"]) == (2, 2, 2, 2)
    assert c["exchange_heartbeats"] == 1
    assert h.reading.histograms["order_ack"].count == 2
    assert h.reading.histograms["own_code"].count == 2


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ((100.01, -5, 1, 0), "size"),
        ((100.01, 0, 1, 0), "size"),
        ((100.01, 101, 1, 0), "size"),
        ((100.01, -(2**63), 1, 0), "size"),
        ((math.nan, 5, 1, 0), "price"),
        ((math.inf, 5, 1, 0), "price"),
        ((-math.inf, 5, 1, 0), "price"),
        ((-1.0, 5, 1, 0), "price"),
        ((0.0, 5, 1, 0), "price"),
        ((5e-324, 5, 1, 0), "price"),
        ((100.00005, 5, 1, 0), "price"),
        ((200_000.0, 5, 1, 0), "price"),
        ((1e300, 5, 1, 0), "price"),
        ((100.01, 5, 0, 0), "side"),
        ((100.01, 5, 66, 0), "side"),
        ((100.01, 5, 1, 3), "symbol"),
        ((101.0, 10, -1, 0), "notional"),
    ],
)
def test_nonsense_stops_at_the_gate(hand: Callable[..., Hand], order: tuple[float, int, int, int], reason: str) -> None:
    h = hand(limits={"max_notional": 10_000_000})
    h.orders = [order]
    with h.connect() as peer:
        h.tick()
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)
    c = h.counters
    assert c["orders_wanted"] == c[f"reject_{reason}"] == 1
    assert "orders_sent" not in c


def test_prices_at_the_edges_pass(hand: Callable[..., Hand]) -> None:
    h = hand()
    with h.connect() as peer:
        for price, wire in ((0.0001, 1), (199_999.99, 1_999_999_900), (61_837.63, 618_376_300)):
            h.orders = [(price, 1, 1, 0)]
            h.tick()
            assert int.from_bytes(read_all(peer, 50)[21:29], "big") == wire


def test_more_orders_than_the_buffer_and_error_codes(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [GOOD]
    with h.connect():
        h.count = 9
        h.tick()
        h.count = 2**31 - 1
        h.tick()
        h.count = -5
        h.tick()
    c = h.counters
    assert c["reject_count"] == 9 + 2**31 - 1 == c["orders_wanted"]
    assert c["strategy_errors"] == 1
    assert "orders_sent" not in c


def test_no_order_without_a_connection(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [GOOD]
    h.tick()
    assert h.counters["reject_closed"] == 1


def test_rate_is_a_token_bucket_on_the_ticks_clock(hand: Callable[..., Hand]) -> None:
    h = hand(limits={"rate_interval_ns": 100_000_000, "rate_burst_ns": 300_000_000})
    h.orders = [GOOD]
    second = 1_000_000_000
    with h.connect():
        for _ in range(5):
            h.tick(second)
        assert (h.counters["orders_sent"], h.counters["reject_rate"]) == (3, 2)
        h.tick(second + second // 10 - 1)
        assert h.counters["orders_sent"] == 3
        h.tick(second + second // 10)
        assert h.counters["orders_sent"] == 4
        for _ in range(9):
            h.tick(100 * second)  # a long pause fills the bucket, and not more than it holds
        assert h.counters["orders_sent"] == 7


def test_a_socket_that_takes_no_more_never_tears_or_doubles_an_order(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [GOOD]
    with h.connect(sndbuf=1, rcvbuf=1) as peer:
        for _ in range(20_000):
            h.tick()
            if h.counters.get("reject_backlog", 0) > 100:
                break
        c = h.counters
        assert c["send_short"] + c.get("send_refused", 0) >= 1 if "send_short" in c else c["send_refused"] >= 1
        sent = c["orders_sent"]
        assert c["orders_wanted"] == sent + c["reject_backlog"]
        received = b""
        peer.setblocking(False)
        limit = time.monotonic() + 30
        while len(received) < 50 * sent and time.monotonic() < limit:
            try:
                received += peer.recv(65536)
            except BlockingIOError:
                h.engine.step_session()
        assert len(received) == 50 * sent
        references = [int.from_bytes(received[i + 4 : i + 8], "big") for i in range(0, len(received), 50)]
        assert references == list(range(1, sent + 1))
        assert all(received[i : i + 4] == b"\x00\x30UO" for i in range(0, len(received), 50))
        h.tick()  # with nothing waiting the gate is open again
        assert h.counters["orders_sent"] == sent + 1
        peer.setblocking(True)
        assert read_all(peer, 50)[4:8] == (sent + 1).to_bytes(4, "big")


@pytest.mark.parametrize("how", ["close", "reset", "garbage", "huge", "short accepted"])
def test_a_lost_connection_closes_the_gate_and_keeps_what_is_open(hand: Callable[..., Hand], how: str) -> None:
    h = hand(give_up_after_ns=10**10)
    h.orders = [GOOD]
    peer = h.connect()
    h.tick()
    h.tick()
    read_all(peer, 100)
    if how == "reset":
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif how == "garbage":
        peer.sendall(b"\0\0HTTP/1.1")
    elif how == "huge":
        peer.sendall(b"\xff\xffS")
    elif how == "short accepted":
        peer.sendall(soup.packet(b"S", b"A" + bytes(20)))
    peer.close()
    time.sleep(0.01)
    h.engine.step_session()
    h.tick()
    c = h.counters
    assert c["connection_lost"] == 1
    # What became of the two is the exchange's to say, at the next login.
    assert (c["orders_open"], c["orders_sent"], c["reject_closed"]) == (2, 2, 1)
    assert h.reading.symbols[0].open_buy == 10
    assert h.reading.state == "connecting"
    assert c.get("exchange_malformed", 0) == (0 if how in ("close", "reset") else 1)


def test_end_of_session_is_not_a_loss(hand: Callable[..., Hand]) -> None:
    h = hand()
    h.orders = [GOOD]
    with h.connect() as peer:
        peer.sendall(soup.packet(b"Z"))
        time.sleep(0.01)
        h.engine.step_session()
        h.tick()
    assert "connection_lost" not in h.counters
    assert h.counters["reject_closed"] == 1
