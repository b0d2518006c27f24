"""Segments that no engine wrote, printed by each command that reads one: an error in one line or a page, soon, and in
little memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.monitor import top
from agent.monitor.stats import Statistics
from agent.shm import _segment
from agent.shm import segment as shm
from hosttune.report import formats
from hosttune.report.document import Page
from tests.cpu_time import is_within

from ..measured import BYTES, SECONDS, run_measured
from ..shm import small_segment
from ..shm.small_segment import build

pytest.importorskip("prometheus_client")

READERS: list[list[str]] = [
    ["stats"],
    ["stats", "--format", "json"],
    ["stats", "--format", "prometheus"],
    ["top", "--count", "1", "--interval", "0.01"],
    ["limits"],
    ["limits", "--set", "max_size=7"],
    ["kill"],
    ["resume"],
    ["var", "--volatility", "0.3", "--paths", "10"],
]
COUNTERS = list(_segment.counters())
#: As many symbols as nearly 2 MiB hold.
MANY = (2 << 20) // (8 * len(_segment.symbol_fields())) - 1_000
#: Names of all that is no counter.
OTHERS = len(_segment.histograms()) + len(_segment.limits()) + len(_segment.symbol_fields())


def large(bytes: int, **options: Any) -> bytes:
    """A segment of about so many bytes, nearly all of which one histogram takes."""
    return build(names={"histograms": ["own_code"]}, buckets=bytes // 8, **options)


#: By what they are: bytes, and what is said of them, None where they can be printed.
BOMBS: dict[str, tuple[bytes, str | None]] = {
    "10 MB of buckets": (large(10_000_000), "found more than 2,097,152 bytes, allowed: no more than that"),
    "2 MB of buckets of many bits": (large(2_050_000, bits=16), None),
    "2 MB of buckets, a power of two each": (large(2_050_000, bits=0), "its header describes another agent's values"),
    "buckets that are not there": (build(histogram_buckets=2**61 - 4), "but its header describes"),
    "all counts too large": (build(counters_count=2**64 - 1, symbols_count=2**64 - 1), "but its header describes"),
    "symbols without fields": (build(symbol_words=0, symbols_count=2**64 - 1), "names, but its header describes"),
    "more symbols than an agent has": (build(symbols=257), "its header describes another agent's values"),
    "no symbols": (build(symbols=0), None),
    "2 MB of symbols": (build(symbols=MANY), "its header describes another agent's values"),
    "250,000 names": (build(names={"counters": [f"c{i}" for i in range(250_000)]}), "found more than 2,097,152 bytes"),
    "100,000 names": (
        build(names={"counters": [f"c{i}" for i in range(100_000)]}),
        f"describes {100_000 + OTHERS} values, allowed: ",
    ),
    "a name of 2 MB": (build(names={"counters": ["c" * 2_000_000]}), "its header describes another agent's values"),
    "names that are none": (build(names={"counters": ["1x", "A-B", "\x1b[2J"]}), "its header describes another"),
    "a name twice": (build(names={"counters": [*COUNTERS, "lost"]}), "its header describes another agent's values"),
    "no counters": (build(names={"counters": []}), None),
    "no limits": (build(names={"limits": []}), "its header describes another agent's values"),
    "the largest words": (build(word=2**64 - 1), None),
    "the smallest words": (build(word=2**63), None),
    "another state": (build(state=9), "but its header describes"),
    "texts that are none": (build(ended=b"\xff\x1b[2J\r\n" * 20, boot_id=b"\xc3" * 40, pid=2**64 - 1), None),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Numba has compiled what `agent var` calls: it does so once for each user, whatever is read."""
    path = tmp_path_factory.mktemp("compiled") / "main.segment"
    path.write_bytes(build())
    run_measured(["var", str(path), "--volatility", "0.3", "--paths", "10"])


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_or_read_soon_and_in_little_memory(bomb: str, tmp_path: Path) -> None:
    data, message = BOMBS[bomb]
    path = tmp_path / "main.segment"
    for reader in READERS:
        path.write_bytes(data)
        done, seconds, peak = run_measured([*reader[:1], str(path), *reader[1:]])
        assert "Traceback" not in done.stderr, done.stderr
        assert is_within(seconds, SECONDS) and peak < BYTES, (reader, seconds, peak)
        # Nobody confirms a decision about an engine that has ended.
        decides = reader[0] in ("kill", "resume") or "--set" in reader
        assert done.returncode in ((1, 2) if decides else (0, 2)), (reader, done.stderr)
        assert done.stderr.count("\n") == 0, (reader, done.stderr)
        assert "\x1b" not in done.stdout + done.stderr
        if message is not None:
            assert done.returncode == 2 and message in done.stderr, (reader, done.stderr)
            assert path.read_bytes() == data


def test_an_engine_of_an_older_build_has_counted_nothing_of_what_it_does_not_count() -> None:
    reading = shm.decode(build(names={"counters": ["lost", "of_old"]}, word=3), "main.segment")
    counted = {name: count for name, count in reading.counters.items() if count}
    assert counted == {"lost": 3, "of_old": 3} and reading.counters.keys() == {*COUNTERS, "of_old"}
    assert "lost 3," in Statistics(reading).as_text(Page()) and top.format_frame(reading, reading, 1.0)


def test_a_sparse_file_of_60_gb_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "main.segment"
    path.write_bytes(build(size=60 << 30))
    with path.open("r+b") as file:
        file.truncate(60 << 30)
    for reader in READERS:
        done, seconds, peak = run_measured([*reader[:1], str(path), *reader[1:]])
        assert done.returncode == 2 and "found more than 2,097,152 bytes" in done.stderr
        assert is_within(seconds, SECONDS) and peak < BYTES


def use(data: bytes) -> bool:
    """Print a segment in every way. Returns whether it could be read; every other error is one of the test."""
    try:
        found = shm.decode(data, "main.segment")
        document = Statistics(found)
        for form in ("text", "json", "prometheus"):
            text = formats.write(form, document, Page())
            if form == "json":
                json.loads(text)
        top.format_frame(found, found, 1.0)
        other = shm.decode(build(names={"histograms": ["own_code"]}), "main.segment")
        assert not top.is_comparable(other, found) or top.format_frame(other, found, 0.0)
    except shm.SegmentError as error:
        assert str(error).startswith("main.segment: ") and "\n" not in str(error)
        return False
    return True


GOOD = build(names={"histograms": ["own_code", "total"]}, buckets=16)
EXTREMES = st.sampled_from([0, 1, 2, 7, 8, 2**31, 2**32 - 1, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 8, 2**64 - 1])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(GOOD) // 8 - 1), EXTREMES | st.integers(0, 2**64 - 1)), max_size=4))
def test_words_of_any_value_are_refused_or_printed(damage: list[tuple[int, int]]) -> None:
    data = bytearray(GOOD)
    for word, value in damage:
        data[8 * word : 8 * word + 8] = value.to_bytes(8, "little")
    use(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*small_segment.PARTS]), st.lists(st.text(max_size=6), max_size=4)))
def test_names_of_any_kind_are_refused_or_printed(names: dict[str, list[str]]) -> None:
    use(build(names={part: [n.encode("utf-8", "replace").decode() for n in found] for part, found in names.items()
                     if part != "symbol_words"}))  # fmt: skip


@given(st.lists(st.integers(0, 2**64 - 1), min_size=4, max_size=30), st.floats(0, 1), st.integers(0, 16))
def test_a_histogram_that_does_not_add_up_has_quantiles(words: list[int], share: float, bits: int) -> None:
    from agent.monitor.prometheus import count_buckets
    from agent.shm.histogram import Histogram

    count, total, low, high, *buckets = words
    histogram = Histogram(count, total, low, high, bits, tuple(buckets))
    assert histogram.quantile(share) >= 0
    assert top.subtract_histogram(histogram, histogram).count == 0
    assert count_buckets(histogram)[-1] == ("+Inf", float(count))


def test_readings_that_cannot_be_compared_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is another one between two frames: fewer buckets, other names."""
    segments = iter(
        [build(), build(buckets=5), build(names={"histograms": ["own_code"]}), build(start_time=9), build()]
    )
    monkeypatch.setattr(shm, "read", lambda path: shm.decode(next(segments), str(path)))
    frames = top.watch_engine(tmp_path / "main.segment", 0.0, None)
    assert "died" in next(frames)
    assert next(frames, None) is None  # its process is gone


def test_top_ends_when_the_segment_is_cut_short_under_it(tmp_path: Path) -> None:
    path = tmp_path / "main.segment"
    path.write_bytes(build())
    frames = top.watch_engine(path, 0.0, None)
    monitored = next(frames)
    assert "main.segment" in monitored
