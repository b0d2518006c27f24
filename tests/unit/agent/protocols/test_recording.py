"""Recorded files: every format, whole and damaged, in chunks of any size."""

import contextlib
import gzip
import json
import os
import socket
import time
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.exchange import feed
from agent.exchange.errors import FeedError
from agent.exchange.generator import binaryfile, session
from agent.protocols import _codecs
from agent.protocols import recording as recordings

DAY = session(seed=21, messages=700, symbols=3)
FILE = binaryfile(DAY)
CSV = b"timestamp_ns,symbol,bid,bid_size,ask,ask_size\r\n" + b"".join(
    b"%d,AAPL,%d,100,%d,200\r\n" % (i, 100 + i, 101 + i) for i in range(300)
)
GENERATED = feed.generated(300, seed=4)
TICKS = [GENERATED.text[a:b] for a, b in zip(GENERATED.offsets, GENERATED.offsets[1:], strict=False)]
BINANCE = b"".join(b"%d %s\n" % (1700000000000000000 + i, text) for i, text in enumerate(TICKS))


#: What a damaged file may have anywhere: numbers without an end, lengths that lead nowhere, marks of other formats.
HOSTILE = (
    b"\0", b"\xef\xbb\xbf", b"\x1f\x8b", b"\xff\xff", b"\n\n\n", b"\r", b"9" * 5000, b",,,,,,", b"1e999999999", b"NaN",
    b"\x1b[2J", b"[" * 3000, b'{"stream":"x@bookTicker","data":{}}', b"1 {}\n", b"\0\x13A" + bytes(18), b" ",
)  # fmt: skip


def read(path: Path, size: int = recordings.CHUNK) -> tuple[recordings.Recording, bytes]:
    with recordings.open_recording(path) as recording:
        chunks = list(recording.chunks(size))
    assert all(chunks)
    if recording.format.framing == "binaryfile":
        for chunk in chunks:
            assert _codecs.binaryfile_messages(chunk)[1] == b"", "a chunk ends in a record"
    else:
        assert all(chunk.endswith(b"\n") for chunk in chunks[:-1])
    return recording, b"".join(chunks)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "recording"


def records(content: bytes) -> list[bytes]:
    messages, rest = _codecs.binaryfile_messages(content)
    assert rest == b""
    return messages


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("size", [1, 50, 4096, recordings.CHUNK])
@pytest.mark.parametrize(("name", "content"), [("binaryfile", FILE), ("binance", BINANCE), ("csv", CSV)])
def test_a_whole_file(name: str, content: bytes, size: int, zipped: bool, file: Path) -> None:
    file.write_bytes(gzip.compress(content) if zipped else content)
    recording, found = read(file, size)
    assert (recording.format.recording, recording.compressed, recording.skipped, recording.notes) == (
        name,
        zipped,
        {},
        [],
    )
    assert found == (content.partition(b"\n")[2] if name == "csv" else content)


def test_chunks_are_of_about_the_size(file: Path) -> None:
    file.write_bytes(FILE)
    with recordings.open_recording(file) as recording:
        sizes = [len(chunk) for chunk in recording.chunks(1000)]
    assert all(900 < size <= 1000 for size in sizes[:-1])
    file.write_bytes(CSV)
    with recordings.open_recording(file) as recording:
        sizes = [len(chunk) for chunk in recording.chunks(1000)]
    assert all(900 < size <= 1000 for size in sizes[:-1])


def test_the_mark_of_the_sessions_end_is_no_record(file: Path) -> None:
    file.write_bytes(binaryfile(DAY, end_of_session=True))
    recording, found = read(file)
    assert records(found) == DAY
    assert recording.skipped == {}
    file.write_bytes(b"\0\0")
    recording, found = read(file)
    assert (recording.format.recording, found, recording.skipped) == ("binaryfile", b"", {})


@given(st.integers(40, len(FILE)), st.integers(1, 3000))
@settings(max_examples=60)
def test_a_file_cut_anywhere(tmp_path_factory: pytest.TempPathFactory, cut: int, size: int) -> None:
    file = tmp_path_factory.getbasetemp() / "cut"
    file.write_bytes(FILE[:cut])
    recording, found = read(file, size)
    messages = records(found)
    assert messages == DAY[: len(messages)]
    assert len(found) + sum(recording.skipped.values()) == cut
    assert set(recording.skipped) <= {"truncated record"}
    assert cut - len(found) < 52


def test_a_record_that_misfits_is_passed_on(file: Path) -> None:
    wrong = [b"", b"z", b"A", b"D" * 60, bytes(300), DAY[0] + b"x"]
    file.write_bytes(binaryfile([*DAY[:300], *wrong, *DAY[300:], b"?unknown, and the last"]))
    for size in (1, 100, recordings.CHUNK):
        recording, found = read(file, size)
        assert recording.skipped == {}
        assert records(found) == [*DAY[:300], *wrong, *DAY[300:], b"?unknown, and the last"]
    verdicts = [_codecs.itch_parse(message)[0] for message in wrong]
    assert verdicts == ["truncated", "unknown", "truncated", "oversized", "unknown", "oversized"]


@pytest.mark.parametrize("size", [1, 100, 5000, recordings.CHUNK])
@pytest.mark.parametrize("length", [b"\xff\xff", b"\x7f\x03", b"\x00\x09", b"\x01\x24"])
def test_a_damaged_length_costs_one_message(length: bytes, size: int, file: Path) -> None:
    place = len(binaryfile(DAY[:200]))
    damaged = bytearray(FILE)
    damaged[place : place + 2] = length
    file.write_bytes(damaged)
    recording, found = read(file, size)
    assert records(found) == DAY[:200] + DAY[201:]
    assert recording.skipped == {"no ITCH record": 2 + len(DAY[200])}
    assert recording.notes == [f"{file}: byte {place}: no ITCH record, {2 + len(DAY[200])} bytes skipped"]


@pytest.mark.parametrize("noise", [b"\xff" * 3000, b"A" * 200_000, bytes(range(255, 0, -1)) * 900])
@pytest.mark.parametrize("size", [700, recordings.CHUNK])
def test_noise_between_records_is_skipped(noise: bytes, size: int, file: Path) -> None:
    file.write_bytes(binaryfile(DAY[:300]) + noise + binaryfile(DAY[300:]))
    recording, found = read(file, size)
    assert records(found) == DAY
    assert recording.skipped == {"no ITCH record": len(noise)}


@given(st.data(), st.integers(1, 100_000))
@settings(max_examples=60)
def test_whatever_is_damaged_the_bytes_add_up(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, size: int
) -> None:
    content = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 12))):
        place = data.draw(st.integers(400, len(content) - 1))
        action = data.draw(st.integers(0, 2))
        if action == 0:
            content[place] = data.draw(st.integers(0, 255))
        elif action == 1:
            del content[place : place + data.draw(st.integers(1, 90))]
        else:
            content[place:place] = data.draw(st.binary(max_size=90))
    file = tmp_path_factory.getbasetemp() / "damaged"
    file.write_bytes(content)
    recording, found = read(file, size)
    marks = 2 if content.endswith(b"\0\0") else 0
    assert len(content) - len(found) - sum(recording.skipped.values()) in (0, marks)
    good = {bytes(m) for m in records(found)} & set(DAY)
    assert len(good) > len(DAY) - 12 * 20


@given(st.integers(0, 10_000), st.sampled_from((FILE, BINANCE, CSV)), st.integers(1, 2000))
@settings(max_examples=60)
def test_a_gzip_file_cut_anywhere(
    tmp_path_factory: pytest.TempPathFactory, cut: int, content: bytes, size: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.gz"
    whole = gzip.compress(content)
    cut = 200 + cut % (len(whole) - 200)
    file.write_bytes(whole[:cut])
    recording, found = read(file, size)
    header = len(CSV) - len(CSV.partition(b"\n")[2]) if content is CSV else 0
    assert content[header:].startswith(found)
    expected = zlib.decompressobj(31).decompress(whole[:cut])
    tail = recording.skipped.get("truncated record", 0) + recording.skipped.get("truncated line", 0)
    assert len(found) + tail == len(expected) - header
    assert tail < 300
    assert "truncated gzip" in recording.skipped


def test_a_damaged_gzip_file(file: Path) -> None:
    whole = bytearray(gzip.compress(FILE, 0))  # stored: what is damaged is the content, and the sum shows it
    whole[-8] ^= 1
    file.write_bytes(whole)
    recording, found = read(file)
    assert found == FILE
    assert list(recording.skipped) == ["damaged gzip"]
    assert 0 < recording.skipped["damaged gzip"] <= 8
    assert recording.suspect == (0, len(FILE))
    # an impossible block type in the middle
    blocks = gzip.compress(FILE * 20)
    half = len(blocks) // 2
    file.write_bytes(blocks[:half] + b"\xff" * 300 + blocks[half:])
    recording, found = read(file)
    assert recording.skipped["damaged gzip"] > 0
    messages = records(found)
    assert messages[:400] == DAY[:400]  # the first half of a file that says the same 20 times
    assert "of the gzip file: damaged gzip" in recording.notes[0]


def test_several_gzip_members_padding_and_more(file: Path) -> None:
    parts = gzip.compress(FILE[:9000]) + gzip.compress(FILE[9000:])
    file.write_bytes(parts + bytes(1000))
    recording, found = read(file)
    assert (found, recording.skipped) == (FILE, {})
    file.write_bytes(parts + b"more")
    recording, found = read(file)
    assert (found, recording.skipped) == (FILE, {"data after the gzip stream": 4})
    file.write_bytes(parts + gzip.compress(b"", mtime=0))
    assert read(file)[1] == FILE


def test_a_last_line_without_its_end(file: Path) -> None:
    file.write_bytes(CSV.rstrip())
    recording, found = read(file, 100)
    assert (found, recording.skipped) == (CSV.partition(b"\n")[2].rstrip(), {})


@pytest.mark.parametrize("size", [100, recordings.CHUNK, 10 * recordings.CHUNK])
def test_a_line_too_long_is_skipped(size: int, file: Path) -> None:
    long = b"1 {" + b"x" * (3 * recordings.LONGEST_LINE) + b"}\n"
    near = b"1 {" + b"x" * (recordings.LONGEST_LINE - 5) + b"}\n"
    assert len(near) == recordings.LONGEST_LINE
    file.write_bytes(BINANCE + long + BINANCE + near + long + near + long.rstrip(b"\n"))
    recording, found = read(file, size)
    assert found == BINANCE + BINANCE + near + near
    assert recording.skipped == {"line too long": 3 * len(long) - 1}
    assert recording.notes[0].startswith(f"{file}: byte {len(BINANCE)}: line too long")


def test_the_lines_of_a_binance_recording(file: Path) -> None:
    file.write_bytes(BINANCE + b"\n\r\nnot a line\n5\n5 \n-1 {}\n99999999999999999999 {}\n7 {}")
    _, found = read(file)
    stamped = _codecs.stamped_lines(found)
    assert stamped[: len(TICKS)] == [(1700000000000000000 + i, text) for i, text in enumerate(TICKS)]
    assert stamped[len(TICKS) :] == [None] * 7 + [(7, b"{}")]
    assert {_codecs.tick_parse("binance", text)[0] for text in TICKS} == {"bookTicker", "trade"}


def test_the_lines_of_a_csv_recording(file: Path) -> None:
    file.write_bytes(b"\r\n\n" + CSV + b"x\n\n")
    recording, found = read(file)
    verdicts = [_codecs.tick_parse("csv", line)[0] for line in _codecs.text_lines(found)]
    assert verdicts == ["quote"] * 300 + ["truncated", "empty"]
    assert recording.format.name == "csv"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "byte 0: found nothing, expected a recording"),
        (b"hello, world\n", "byte 0: found b'hello, world"),
        (b"\x00", r"byte 0: found b'\\x00'"),
        (b"\x7fELF" + bytes(5000), "byte 0: found"),
        (b"timestamp_ns,symbol,bid\n", "byte 0: found b'timestamp_ns,symbol,bid"),
        (b'{"u":1}\n', "byte 0: found"),
        (gzip.compress(b"", mtime=0), "byte 0: found nothing"),
        (gzip.compress(FILE, mtime=0)[:5], r"byte 0: found nothing \(.*truncated gzip"),
        (b"\x1f\x8b no gzip", r"byte 0: found nothing \(.*damaged gzip"),
    ],
)
def test_what_is_no_recording_says_so(content: bytes, text: str, file: Path) -> None:
    file.write_bytes(content)
    with pytest.raises(recordings.RecordingError, match=text) as caught:
        recordings.open_recording(file)
    assert str(caught.value).startswith(f"{file}: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(recordings.RecordingError, match="No such file"):
        recordings.open_recording(tmp_path / "absent")
    with pytest.raises(recordings.RecordingError, match="Is a directory"):
        recordings.open_recording(tmp_path)


@pytest.mark.parametrize("kind", ["FIFO", "socket", "device", "directory", "link to a FIFO"])
def test_what_is_no_regular_file_is_refused_and_not_waited_for(kind: str, file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        if kind == "FIFO":
            os.mkfifo(file)
        elif kind == "link to a FIFO":
            os.mkfifo(file.with_suffix(".fifo"))
            file.symlink_to(file.with_suffix(".fifo"))
        elif kind == "socket":
            sock.bind(str(file))
        elif kind == "directory":
            file.mkdir()
        else:
            file = Path("/dev/zero")
        begun = time.monotonic()
        with pytest.raises(recordings.RecordingError, match=r"allowed: a regular file|No such device"):
            recordings.open_recording(file)
        with pytest.raises(FeedError, match=r"allowed: a regular file|No such device"):
            feed.recording(file)
        assert time.monotonic() - begun < 1


def test_a_link_to_a_recording_is_one(file: Path) -> None:
    file.with_suffix(".there").write_bytes(FILE)
    file.symlink_to(file.with_suffix(".there"))
    assert read(file)[1] == FILE


def test_a_path_that_no_file_can_have(tmp_path: Path) -> None:
    with pytest.raises(recordings.RecordingError, match="null byte"):
        recordings.open_recording(tmp_path / "a\0b")


@pytest.mark.parametrize("body", ["lines", "zeros", "one line"])
def test_a_gzip_file_that_expands_beyond_all_recordings_is_refused(body: str, file: Path) -> None:
    """A megabyte that would be a gigabyte; and no more is unzipped than it takes to see that."""
    content = {"lines": b"1,A,1,1,1,1\n" * 90_000, "zeros": bytes(1 << 20), "one line": b"x" * (1 << 20)}[body]
    zipped = zlib.compressobj(9, zlib.DEFLATED, 31)
    text = zipped.compress(CSV if body != "zeros" else FILE)
    file.write_bytes(text + b"".join(zipped.compress(content) for _ in range(1000)) + zipped.flush())
    tracemalloc.start()
    total = 0
    with (
        recordings.open_recording(file) as recording,
        pytest.raises(
            recordings.RecordingError, match=r"byte [0-9]+ of the gzip file: found content of more than 20 times"
        ),
    ):
        for chunk in recording.chunks():
            total += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total <= 3 << 26 and peak < 8 << 20


def test_many_gzip_members_are_read_as_one(file: Path) -> None:
    file.write_bytes(gzip.compress(FILE) + gzip.compress(b"", mtime=0) * 20_000 + gzip.compress(FILE))
    recording, found = read(file)
    assert (found, recording.skipped) == (FILE * 2, {})


@given(st.sampled_from(("binaryfile", "binance", "csv")), st.data(), st.booleans())
@settings(max_examples=150)
def test_no_recording_is_a_traceback(
    tmp_path_factory: pytest.TempPathFactory, kind: str, data: st.DataObject, zipped: bool
) -> None:
    """Damaged anywhere, the replay's and the simulator's readers take it or refuse it in words."""
    content = bytearray({"binaryfile": FILE, "binance": BINANCE, "csv": CSV}[kind])
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, min(len(content), 3000)))
        action = data.draw(st.integers(0, 3))
        if action == 0:
            content[place : place + 1] = data.draw(st.binary(min_size=1, max_size=1))
        elif action == 1:
            del content[place : place + data.draw(st.integers(1, 90))]
        elif action == 2:
            content[place:place] = data.draw(st.sampled_from(HOSTILE))
        else:
            del content[place:]
    whole = bytearray(gzip.compress(content, 1)) if zipped else content
    if zipped and data.draw(st.booleans()):
        whole[data.draw(st.integers(0, len(whole) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    file = tmp_path_factory.getbasetemp() / "hostile"
    file.write_bytes(whole)
    with contextlib.suppress(recordings.RecordingError):
        read(file, data.draw(st.sampled_from([1, 700, recordings.CHUNK])))
    with contextlib.suppress(FeedError):
        made = feed.recording(file)
        assert len(made) == len(made.mark_symbol) == len(made.marks) // 4 == len(made.offsets) - 1
        assert all(0 <= at < 1 << 63 for at in made.at)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-1", "1e999999999", "9" * 5000, "1E+9", "0x1", "", "\u0661"])
def test_numbers_that_are_none_are_no_prices(text: str, file: Path) -> None:
    line = f"5,A,{text},1,1,1\n6,A,1,{text},1,1\n7,A,1,1,1,1\n".encode()
    file.write_bytes(CSV[:47] + line)
    made = feed.recording(file)
    assert list(made.mark_symbol) == [-1, -1, 0]
    quote = {"u": 1, "s": "A", "b": "1", "B": "1", "a": "1", "A": "1"}
    file.write_text("".join(
        f"1 {json.dumps({'stream': 'x@bookTicker', 'data': quote | change})}\n"
        for change in ({"b": text}, {"A": text}, {"A": [text]}, {"s": {}}, {"s": None}, {"s": "\ud800"}, {})
    ))  # fmt: skip
    assert list(feed.recording(file).mark_symbol) == [-1] * 6 + [0]


@pytest.mark.parametrize("body", [b"[" * 60_000, b'{"a":' * 10_000, b"9" * 60_000])
def test_json_that_nests_without_end_is_no_price(body: bytes, file: Path) -> None:
    file.write_bytes(b'1 {"stream":"x@bookTicker","data":' + body + b"}\n" + BINANCE)
    assert feed.recording(file).mark_symbol[0] == -1


@pytest.mark.parametrize("kind", ["binaryfile", "zeros", "line"])
def test_memory_does_not_grow_with_the_file(kind: str, file: Path) -> None:
    """64 MB unzipped out of a small file; the last two kinds have no end of record in them."""
    body: dict[str, Any] = {
        "binaryfile": FILE * 3000,
        "zeros": FILE + bytes(64 << 20),
        "line": BINANCE + b"5" * (64 << 20),
    }
    file.write_bytes(gzip.compress(body[kind], 1))
    length = len(body.pop(kind))
    body.clear()
    tracemalloc.start()
    total = 0
    with recordings.open_recording(file) as recording:
        for chunk in recording.chunks():
            total += len(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert total + sum(recording.skipped.values()) == length or kind == "zeros"
    assert peak < 8 << 20


@pytest.mark.parametrize("start", [-1, 4])
def test_a_start_outside_the_data_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="start: found"):
        _codecs.binaryfile_skip_records(b"abc", start, True)
    with pytest.raises(ValueError, match="start: found"):
        _codecs.binaryfile_find_records(b"abc", start, True)
    assert _codecs.binaryfile_skip_records(b"", 0, True) == (0, "done")
