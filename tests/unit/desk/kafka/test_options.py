"""What is printed of what librdkafka says."""

import time

import pytest

from desk.kafka import options


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
