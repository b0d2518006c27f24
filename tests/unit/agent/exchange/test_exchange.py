"""The simulator: its feeds, its schedule, and whether it judges a misbehaving agent rightly."""

import gzip
import json
import socket
import struct
import threading
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.exchange import feed, report
from agent.exchange import simulator as exchange
from agent.protocols import _codecs
from benchmarks.agent.drive import free_port
from tests.compiled import _sessions

from .. import soup_client as soup

LINES = (
    b'100 {"lastUpdateId":1,"bids":[]}\n'
    b'200 {"stream":"x@bookTicker","data":{"u":1}}\n'
    b"\n"
    b'190 {"stream":"x@trade","data":{"e":"trade"}}\n'
    b'1200 {"stream":"x@depth","data":{"e":"depthUpdate"}}\n'
)
CSV = b"timestamp_ns,symbol,bid,bid_size,ask,ask_size\n"


def test_a_recording_leaves_out_and_counts_what_is_no_message(tmp_path: Path) -> None:
    path = tmp_path / "r.gz"
    path.write_bytes(gzip.compress(LINES))
    f = feed.recording(path)
    assert f.counts == {"bookTicker": 1, "trade": 1, "depthUpdate": 1}
    assert f.excluded == {"REST snapshot": 1, "empty line": 1}
    assert list(f.at) == [0, 0, 1000]  # a clock that steps back sends at once
    assert f.text[f.offsets[1] : f.offsets[2]] == b'{"stream":"x@trade","data":{"e":"trade"}}'
    path.write_bytes(LINES)  # not by its name
    assert feed.recording(path, 2).counts == {"bookTicker": 1, "trade": 1}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"1 {}\nx {}\n", ":2: found"),
        (b"1 {}\n5\n", ":2: found"),
        (b"", "holds no messages"),
        (b"\n\n", "byte 0: found b"),
        (b'100 {"lastUpdateId":1}\n', "holds no messages"),
        (b"1 {}\n99999999999999999999 {}\n", ":2: found"),
        (b"1 {}\n" + b"9" * 5000 + b" {}\n", ":2: found"),
        (b"1 {}\n" + b"1 {" + b"x" * (1 << 21) + b"}\n", "byte 5: line too long"),
        (CSV + b"1,A,1,1,1,1\n\nx\n", ":4: found b'x'"),
        (b"\n\n" + CSV + b"1,A,1,1,1,1\n\0,\n", r":5: found b'\\x00,'"),
        (gzip.compress(LINES * 50)[:-20], "damaged gzip file"),
        (b"1 {}\n" * 2_000_000, "found [0-9,]+ messages in [0-9,]+ bytes, allowed: 262,144, or one for 24 bytes"),
        (b"1 {}\n" + b"\n" * 9_999_000, "messages in"),
        (CSV + b"1,A\n" * 2_500_000, "messages in"),
        (b"\0\x0cS" + bytes(11) + b"\0\x0cS" * 10 + (b"\0\x0cS" + bytes(11)) * 700_000, "messages in"),
    ],
)
def test_a_damaged_recording_is_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "r"
    path.write_bytes(data)
    with pytest.raises(feed.FeedError, match=message):
        feed.recording(path)


def test_the_generated_feed_is_seeded_and_in_the_exchanges_format() -> None:
    a, b, c = feed.generated(500, 1), feed.generated(500, 1), feed.generated(500, 2)
    assert a.text == b.text != c.text
    kinds: dict[str, int] = {}
    for i in range(len(a)):
        message = a.text[a.offsets[i] : a.offsets[i + 1]]
        json.loads(message)
        kind, _ = _codecs.tick_parse("binance", message)
        kinds[kind] = kinds.get(kind, 0) + 1
    assert kinds == a.counts


def test_schedule() -> None:
    f = feed.generated(3, 1)
    assert list(exchange.schedule(f, 4.0, None)) == [0, 250_000_000, 500_000_000]
    assert list(exchange.schedule(f, None, 2.0)) == [0, 500_000, 1_000_000]


def test_percentiles_are_exact() -> None:
    got = report.percentiles([n * 1000 for n in range(1000, 0, -1)])
    assert got == {"count": 1000, "min": 1.0, "p50": 500.0, "p90": 900.0, "p99": 990.0, "p99.9": 999.0, "max": 1000.0}
    assert report.percentiles([]) == {"count": 0}


def judged(agent: Callable[[socket.socket, socket.socket], None], **options: Any) -> dict[str, Any]:
    """Run the simulator with 20 messages against `agent(feed socket, order socket)` in a thread."""
    f = feed.generated(20, 1)
    listen = ("127.0.0.1", free_port(socket.SOCK_STREAM))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ticks:
        ticks.bind(("127.0.0.1", 0))
        ticks.settimeout(5)

        def play() -> None:
            with socket.socket() as link:
                for _ in range(200):
                    try:
                        link.connect(listen)
                        break
                    except OSError:
                        time.sleep(0.02)
                link.settimeout(5)
                link.sendall(soup.login_request("user", "pass"))
                answer = link.recv(33)
                if answer[2:3] == b"A":
                    assert answer == soup.login_accepted(answer[3:13].decode(), 1)
                    agent(ticks, link)

        thread = threading.Thread(target=play, daemon=True)
        thread.start()
        plan: dict[str, Any] = {
            "feed": f, "due": exchange.schedule(f, 2000, None), "pacing": "", "feed_to": ticks.getsockname(),
            "listen": listen, "spin": False, "linger": 0.2, "login": 5, "timeout": 5,
        } | options  # fmt: skip
        try:
            return exchange.run(exchange.Plan(**plan))
        finally:
            thread.join(10)


def order(reference: int, sequence: int, **changes: int) -> bytes:
    return _sessions.ouch_enter(b"X", reference, b"B", changes.get("size", 1), changes.get("price", 10_000), sequence)


def drain(link: socket.socket) -> bytes:
    data = b""
    while more := link.recv(4096):
        data += more
    return data


def test_orders_are_matched_to_their_ticks_and_acknowledged() -> None:
    seen: list[bytes] = []

    def play(ticks: socket.socket, link: socket.socket) -> None:
        for n in range(1, 21):
            packet = ticks.recv(2048)
            assert packet[:10].isdigit()
            assert struct.unpack(">QH", packet[10:20]) == (n, 1)
            data = order(n, n)
            link.sendall(data[:30])  # in two pieces
            time.sleep(0.0005)
            link.sendall(data[30:])
        assert struct.unpack(">QH", ticks.recv(2048)[10:20]) == (21, 0xFFFF)
        seen.append(drain(link))

    report = judged(play)
    assert report["ok"], report["problems"]
    assert {k: n for k, n in report["orders"].items() if n} == {"orders": 20, "acknowledged": 20, "matched": 20}
    latency = report["tick_to_order_us"]
    assert latency["service"]["count"] == latency["response"]["count"] == 20
    assert 0 < latency["service"]["p50"] <= latency["response"]["p50"]
    assert report["loop"] == "open"
    # Every answer: Accepted, with the order's own fields, then end of session.
    answers = seen[0].replace(soup.packet(b"H"), b"")
    assert answers[-3:] == soup.packet(b"Z")
    assert len(answers) == 20 * 67 + 3
    first = answers[:67]
    assert first[:4] == b"\x00\x41SA"
    midnight_ns = int.from_bytes(first[4:12], "big")
    assert abs(midnight_ns - time.time_ns() % 86_400_000_000_000) < 60_000_000_000 or midnight_ns < 86_400_000_000_000
    assert first[12:39] == order(1, 1)[4:31]
    assert first[39:47] == (1).to_bytes(8, "big")
    assert first[47:51] == b"PNNL" and first[51:65] == b"00000000000001" and first[65:] == b"\0\0"


def test_replaces_as_ouch_says() -> None:
    """In time, with invalid details, and of orders that are gone; what is ignored uses up no UserRefNum."""
    replace = _sessions.ouch_replace
    seen: list[bytes] = []

    def play(ticks: socket.socket, link: socket.socket) -> None:
        ticks.recv(2048)
        for data in (
            order(1, 1, size=5), replace(1, 2, 7, 9_000, 1), replace(1, 3, 7, 9_000, 1), replace(2, 3, 0, 9_000, 1),
            replace(2, 3, 7, 9_000, 1), order(3, 1), soup.packet(b"U", b"Q"),
        ):  # fmt: skip
            link.sendall(data)
        seen.append(drain(link))

    report = judged(play, match=False, linger=0.5)
    found = {k: report["orders"][k] for k in ("acknowledged", "replaced", "replaces_ignored", "canceled", "invalid")}
    assert found == {"acknowledged": 2, "replaced": 1, "replaces_ignored": 2, "canceled": 1, "invalid": 1}
    answers, kinds = seen[0], []
    while answers:
        size = int.from_bytes(answers[:2], "big")
        if answers[2:3] == b"S":
            kinds.append((answers[3:4], int.from_bytes(answers[12:16], "big")))
        answers = answers[2 + size :]
    # Accepted 1, Replaced (of) 1, Canceled 2, Accepted 3, and 4 is expected next.
    assert kinds == [(b"A", 1), (b"U", 1), (b"C", 2), (b"A", 3), (b"Q", 4)]


@pytest.mark.parametrize(
    ("orders", "problem"),
    [
        ([order(1, 1), order(1, 1)], "1 orders came twice"),
        ([order(2, 1), order(1, 1)], "1 orders out of order"),
        ([order(1, 999)], "1 orders name no tick"),
        ([order(1, 0)], "1 orders name no tick"),
        ([order(1, 1, size=0)], "1 orders are invalid"),
        ([order(1, 1, size=1_000_000)], "1 orders are invalid"),
        ([order(1, 1, price=2_000_000_000)], "1 orders are invalid"),
        ([soup.packet(b"U", b"X" + bytes(7))], "1 messages of a kind"),
        ([b"\xff\xff\xff"], "ended early: protocol"),
        ([b"\0\0"], "ended early: protocol"),
    ],
)
def test_misbehaviour_is_reported(orders: list[bytes], problem: str) -> None:
    def play(ticks: socket.socket, link: socket.socket) -> None:
        ticks.recv(2048)
        link.sendall(b"".join(orders))
        try:
            drain(link)
        except OSError:
            return

    report = judged(play)
    assert not report["ok"]
    assert any(problem in p for p in report["problems"]), report["problems"]


def test_an_agent_that_goes_away_ends_the_run() -> None:
    def play(ticks: socket.socket, link: socket.socket) -> None:
        ticks.recv(2048)

    report = judged(play)
    assert report["problems"][0] == "the run ended early: disconnected"


def test_a_refused_login_is_an_error() -> None:
    with pytest.raises(exchange.ExchangeError, match="logged in as 'user'"):

        def play(ticks: socket.socket, link: socket.socket) -> None:
            pass

        judged(play, username="other", password="x")


def test_no_agent_is_an_error() -> None:
    f = feed.generated(1, 1)
    plan = exchange.Plan(feed=f, due=array("q", [0]), pacing="", feed_to=("127.0.0.1", 9),
                         listen=("127.0.0.1", free_port(socket.SOCK_STREAM)), login=0.1)  # fmt: skip
    with pytest.raises(exchange.ExchangeError, match=r"no agent logged in within 0\.1 s"):
        exchange.run(plan)
