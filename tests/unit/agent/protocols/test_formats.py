"""The table of feed formats: what holds for every row, so that a format that is added is tested without a line here."""

import gzip
from pathlib import Path

import pytest

from agent.config import Feed
from agent.exchange import feed
from agent.protocols import _codecs, formats
from agent.protocols import recording as recordings
from agent.replay import run as replay

from ....long import seeds_codecs

TICK_FORMATS = [form for form in formats.FORMATS if form.ticks]
each_format = pytest.mark.parametrize("form", formats.FORMATS, ids=formats.NAMES)
each_tick_format = pytest.mark.parametrize("form", TICK_FORMATS, ids=[form.name for form in TICK_FORMATS])


def messages_of(form: formats.Format, count: int = 300) -> list[bytes]:
    generated = feed.generated(count, seed=8, symbols=("AAPL", "MSFT"), form=form.name)
    return [generated.text[a:b] for a, b in zip(generated.offsets, generated.offsets[1:], strict=False)]


def content_of(form: formats.Format, messages: list[bytes]) -> bytes:
    """A recording of messages."""
    if form.framing == "binaryfile":
        return b"".join(len(m).to_bytes(2, "big") + m for m in messages)
    if form.framing == "stamped lines":
        return b"".join(b"%d %s\n" % (1_700_000_000_000_000_000 + i, m) for i, m in enumerate(messages))
    return (form.header.encode() + b"\n" if form.header else b"") + b"".join(m + b"\n" for m in messages)


def test_names_are_unique_and_all_of_them_can_be_configured() -> None:
    assert len(set(formats.NAMES)) == len(formats.NAMES) == len({form.recording for form in formats.FORMATS})
    for name in formats.NAMES:
        assert Feed(address="127.0.0.1", port=1, format=name).format == name
    assert set(feed.FORMATS) == set(formats.NAMES)


@each_format
@pytest.mark.parametrize("zipped", [False, True])
def test_a_recording_is_told_by_its_content_and_read_whole(form: formats.Format, zipped: bool, tmp_path: Path) -> None:
    messages = messages_of(form)
    content = content_of(form, messages)
    path = tmp_path / "recording"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with recordings.open_recording(path) as recording:
        assert recording.format == form
        assert b"".join(recording.chunks(1000)) == content.removeprefix(form.header.encode() + b"\n")
    simulated = feed.recording(path)
    assert simulated.format == form.name
    assert simulated.text == b"".join(messages)
    replayed = replay.run(path, "every_tick_cython")
    assert replayed["format"] == form.name
    assert sum(replayed["messages"].values()) == len(messages)
    assert replayed["skipped"] == 0 and replayed["orders_wanted"] > 50


@each_tick_format
def test_the_parser_reads_what_the_simulator_reads_and_writes(form: formats.Format) -> None:
    kinds = set()
    read_message = feed.FORMATS[form.name].make_reader()
    for message in messages_of(form):
        kind, fields = _codecs.tick_parse(form.name, message)
        kinds.add(kind)
        _, prices = read_message(message)
        assert (prices is not None) == (kind == form.quote)
        if prices is not None:
            read = tuple(fields[key] for key in ("symbol", "bid", "ask", "bid_size", "ask_size"))
            assert (prices[0].encode(), prices[1] * 10_000, prices[2] * 10_000) == read[:3]
            assert prices[3:] == (read[3] // 10**8, read[4] // 10**8)
    assert kinds == {form.quote, "trade"}


@each_tick_format
def test_what_is_not_exactly_one_message_is_judged_by_its_own_bytes(form: formats.Format) -> None:
    for message in messages_of(form, 20):
        assert _codecs.tick_parse(form.name, message + message)[1] == {}
        for size in range(len(message)):
            _, fields = _codecs.tick_parse(form.name, message[:size])
            assert not fields or fields["symbol"] in message[:size]


@each_tick_format
def test_the_fuzzer_has_seeds_of_every_format(form: formats.Format) -> None:
    seeds = seeds_codecs.seeds()[form.name]
    verdicts = {_codecs.tick_parse(form.name, seed)[0] for seed in seeds}
    assert {form.quote, "trade"} <= verdicts
    assert {1, 2} <= seeds_codecs.REACHED[form.name]


def test_what_is_no_tick_format_is_refused() -> None:
    with pytest.raises(ValueError, match="feed_format: 'itch' is a format of orders"):
        _codecs.tick_parse("itch", b"")
    with pytest.raises(ValueError, match=f"feed_format: 'other', allowed: {', '.join(formats.NAMES)}"):
        _codecs.tick_parse("other", b"")
    assert formats.detect(b"") is None
    assert formats.detect(b"hello\n") is None
