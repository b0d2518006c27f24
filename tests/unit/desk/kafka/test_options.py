"""What is printed of what librdkafka says."""

import time

import pytest

from desk.kafka import options
from desk.kafka.lines import Lines, find_kind


def test_a_line_that_comes_again_is_printed_once_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    printer = options.Printer()
    for number in range(100):
        printer.log(40, "connect to port %s failed (after %sms)", 9000 + number, number)
        printer.log(10, "not a warning %s", number)
    printer.log(40, "another")
    now += 61
    printer.log(40, "connect to port 7 failed (after 8ms)")
    assert capsys.readouterr().err == (
        "librdkafka: connect to port 9000 failed (after 0ms)\nlibrdkafka: another\n"
        "librdkafka: connect to port 7 failed (after 8ms) (99 times more since)\n"
    )
    for number in range(1000):  # what is remembered is bounded
        printer.log(40, "x" * number)
    assert capsys.readouterr().err.count("\n") == 1000


def test_brokers_that_are_away_are_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("desk: ingest")
    for number in range(50):
        for port in (9092, 9093):
            again = f", {number} identical error(s) suppressed" if number > 9 else ""
            lines.say(
                f"127.0.0.1:{port}/bootstrap: Connect to ipv4#127.0.0.1:{port} failed: Connection refused "
                f"(after {number % 3}ms in state CONNECT{again})"
            )
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2 and ":9092/" in said[0] and ":9093/" in said[1]
    assert find_kind("7 request(s) timed out: disconnect (after 10012ms in state UP)") == find_kind(
        "12 request(s) timed out: disconnect (after 99ms in state UP, 3 identical error(s) suppressed)"
    )
