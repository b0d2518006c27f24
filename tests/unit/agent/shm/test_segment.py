"""The segment: the C header's layout through the Python reader, and histograms within their error."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import agent
from agent.monitor.stats import Statistics
from agent.shm import _segment, request
from agent.shm import segment as shm
from agent.shm.histogram import Histogram, bucket_middle
from hosttune.report.document import Page

from ..conftest import Hand

HEADER = (Path(agent.__file__).parent / "shm" / "include" / "agent_shm.h").read_text()


def declared(macro: str) -> list[str]:
    body = re.search(rf"#define {macro}\(X\)(.*?)\n\n", HEADER, re.S)
    assert body
    return re.findall(r"X\((\w+),", body[1])


def test_the_reader_sees_every_name_of_the_header_in_order(hand: Callable[..., Hand]) -> None:
    reading = hand().reading
    assert list(reading.counters) == declared("AGENT_COUNTERS")
    assert list(reading.histograms) == declared("AGENT_HISTOGRAMS")


def test_identity_and_state(hand: Callable[..., Hand]) -> None:
    reading = hand().reading
    assert (reading.pid, reading.state, reading.boot_id) == (os.getpid(), "starting", "boot")
    assert not reading.alive  # another boot


@given(st.integers(0, 2**40 - 1))
def test_a_bucket_is_within_one_percent(value: int) -> None:
    index = _segment.find_bucket(value)
    assert abs(bucket_middle(index, 7) - value) <= 0.004 * value
    assert index == 0 or bucket_middle(index - 1, 7) < value


def test_the_last_bucket_takes_the_rest() -> None:
    last = _segment.find_bucket(2**40 - 1)
    assert _segment.find_bucket(2**40) == _segment.find_bucket(2**64 - 1) == last


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=300), st.sampled_from((0.5, 0.9, 0.99, 0.999)))
def test_quantiles_are_within_one_percent_of_the_exact_ones(values: list[int], q: float) -> None:
    buckets = [0] * 4352
    for v in values:
        buckets[_segment.find_bucket(v)] += 1
    h = Histogram(len(values), sum(values), min(values), max(values), 7, tuple(buckets))
    exact = sorted(values)[max(1, -(-int(q * 1000) * len(values) // 1000)) - 1]
    assert abs(h.quantile(q) - exact) <= 0.01 * exact


def test_what_is_not_a_segment_is_named(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    good = bytes(hand().segment)
    for change, message in (
        (b"", "too short"),
        (b"x" * 4096, "not an agent's segment"),
        (good[:8] + b"\x09" + good[9:], "layout version 9"),
        (good[:-8], "its header describes"),
        (good[:64] + b"\xff" * 6 + good[70:], "its header describes"),
    ):
        (tmp_path / "s").write_bytes(change)
        with pytest.raises(shm.SegmentError, match=message):
            shm.read(tmp_path / "s")
    with pytest.raises(shm.SegmentError, match="No such file"):
        shm.read(tmp_path / "none")


@given(st.lists(st.tuples(st.integers(0, 63), st.binary(min_size=4, max_size=8)), min_size=1, max_size=4))
def test_a_damaged_head_is_refused_or_read(damage: list[tuple[int, bytes]]) -> None:
    """Never another error, whatever the head says; and never more than the file has is read."""
    data = bytearray(Hand().segment)
    for word, value in damage:
        data[4 * word : 4 * word + len(value)] = value
    try:
        reading = shm.decode(bytes(data), "damaged")
    except shm.SegmentError as error:
        assert str(error).startswith("damaged: ") and "\n" not in str(error)
    else:
        assert reading.counters.keys() == _segment.counters().keys()


@pytest.mark.parametrize("size", [1, 127, 383, 4096])
def test_a_cut_segment_is_refused(tmp_path: Path, hand: Callable[..., Hand], size: int) -> None:
    (tmp_path / "s").write_bytes(bytes(hand().segment)[:size])
    damaged: list[Callable[[Path], object]] = [
        shm.read, lambda path: request.set_limits(path, {"kill": 1}), lambda path: shm.counter_offset(path, "lost"),
    ]  # fmt: skip
    for call in damaged:
        with pytest.raises(shm.SegmentError, match=r"too short|its header describes"):
            call(tmp_path / "s")
    assert (tmp_path / "s").stat().st_size == size


def test_a_dead_agents_numbers_are_shown_as_such(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    h = hand()
    h.tick()
    (tmp_path / "s").write_bytes(h.segment)
    document = Statistics(shm.read(tmp_path / "s"))
    text = document.as_text(Page())
    assert "the process is gone" in text and "ticks in 1," in text
    assert document.as_data()["state"] == "died"


def test_limits_are_written_one_word_each_and_read_back(tmp_path: Path, hand: Callable[..., Hand]) -> None:
    path = tmp_path / "s"
    path.write_bytes(hand().segment)
    request.set_limits(path, {"kill": 1, "max_position": 2**40})
    assert {k: v for k, v in shm.read(path).limits.items() if v} == {"kill": 1, "max_size": 100, "max_position": 2**40}
    for values in ({"max_szie": 1}, {"max_size": -1}, {"max_size": 2**63}):
        with pytest.raises(shm.SegmentError, match=r"limit.*found .*allowed"):
            request.set_limits(path, values)
    path.chmod(0o400)
    if os.geteuid():
        with pytest.raises(shm.SegmentError, match="Permission denied"):
            request.set_limits(path, {"kill": 0})
