"""The exchange simulator's feeds: recordings and seeded generators, in the formats of the agent.

A feed is messages, their times, and the best bid and offer of a symbol behind each of them: the simulator matches
orders against those.
"""

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.exchange.best_prices import ItchBooks, Prices, find_binance_type, read_binance_prices, read_csv_prices
from agent.exchange.errors import FeedError
from agent.exchange.walk import BinanceWriter, walk_prices, write_csv
from agent.protocols import formats
from agent.protocols import recording as recordings
from agent.protocols.recording import Recording

#: What one MoldUDP64 packet of one message can carry in a UDP datagram (65,507 - 20 - 2).
MAX_MESSAGE = 65485

#: The content of a recording, which is held in memory, may have so many bytes, or so many times the file's size.
_HELD, _HELD_EXPANSION = 1 << 26, 16
#: It may have so many lines or messages, or one for so many bytes of it.
_COUNT, _BYTES_PER_MESSAGE = 1 << 18, 24
_STEP_NS = 1_000_000
#: The times whose unit is told: from September 2001 to the end of 2099, 13 digits in ms, 16 in µs, 19 in ns.
_FIRST_NS, _BEHIND_NS = 10**18, 4_102_444_800 * 10**9

#: A message and its time in ns.
Timed = tuple[int, bytes]


class Feed(msgspec.Struct):
    """Messages in sending order, as one text, and their times. n messages."""

    name: str
    format: str  # one of FORMATS
    text: bytes  # all messages, one behind the other
    offsets: "array[int]"  # n + 1: where each message begins in text, and its end
    at: "array[int]"  # n: ns after the first message
    counts: dict[str, int]  # messages by type
    excluded: dict[str, int]  # lines of the recording that are not sent, by reason
    symbols: list[str]
    mark_symbol: "array[int]"  # n: index of the symbol whose best prices it leaves; -1: none
    marks: "array[int]"  # 4 n: bid, ask (4 decimals; 0: none), bid size, ask size (whole units)

    def __len__(self) -> int:
        return len(self.at)


def build_feed(name: str, format: str, messages: Iterable[Timed], excluded: dict[str, int]) -> Feed:
    """Returns the feed of these messages. format: one of FORMATS. Raises FeedError."""
    text, offsets, at, counts = bytearray(), array("q", [0]), array("q"), dict[str, int]()
    mark_symbol, marks = array("i"), array("Q")
    symbols: dict[str, int] = {}
    read_message = FORMATS[format].make_reader()
    first, latest = 0, 0
    for when, message in messages:
        if not at:
            first = when
        text += message
        offsets.append(len(text))
        # A recording's clock may step back: nothing is sent before its predecessor.
        latest = max(latest, when - first)
        at.append(latest)
        type, prices = read_message(message)
        counts[type] = counts.get(type, 0) + 1
        if prices is None:
            mark_symbol.append(-1)
            marks.extend((0, 0, 0, 0))
        else:
            mark_symbol.append(symbols.setdefault(prices.symbol, len(symbols)))
            marks.extend(prices[1:])
    return Feed(name, format, bytes(text), offsets, at, counts, excluded, list(symbols), mark_symbol, marks)


# ---------------------------------------------------------------------------------- recordings


def recording(path: Path, limit: int | None = None) -> Feed:
    """Read a recording, gzip or plain; the first `limit` messages of it. Its format follows from its content: lines
    `LOCAL_TIME JSON` (Binance; the time in ns, µs or ms), CSV ticks, or a Nasdaq BinaryFILE of ITCH 5.0.

    Of Binance's lines the REST snapshot that such recordings begin with (`{"lastUpdateId":...}`) is not a message of
    the feed: it is excluded and counted, as are empty lines and messages too long for a datagram.

    Returns a Feed, which is in memory. Raises FeedError for a file that cannot be read, a line that is none, and for
    content of too many bytes or messages for that.
    """
    excluded: dict[str, int] = {}
    try:
        with recordings.open_recording(path) as source:
            form = source.format.name
            if form not in FORMATS:
                raise FeedError(
                    f"{path}: found {form}, which is replayed and not simulated; allowed: {', '.join(FORMATS)}"
                )
            messages = itertools.islice(FORMATS[form].read(source, excluded), limit)
            feed = build_feed(str(path), form, messages, excluded)
    except recordings.EmptyRecordingError as error:
        raise FeedError(f"{error}: holds no messages") from None
    except recordings.RecordingError as error:
        raise FeedError(str(error)) from None
    if not len(feed):
        raise FeedError(f"{path}: holds no messages")
    return feed


def _read_chunks(source: Recording) -> Iterator[bytes]:
    """Yields the chunks of a recording. Raises FeedError when they are more than may be in memory."""
    left = max(_HELD, _HELD_EXPANSION * source.size)
    for chunk in source.chunks():
        left -= len(chunk)
        if left < 0:
            raise FeedError(
                f"{source.path}: found content of more than {_HELD_EXPANSION} times the file's size, which is too much "
                "to simulate; --messages N takes the first"
            )
        yield chunk


def _check_count(source: Recording, count: int, size: int) -> None:
    """Raise FeedError when so many lines or messages in so many bytes are none of a market, and take too long."""
    if count > max(_COUNT, size // _BYTES_PER_MESSAGE):
        raise FeedError(
            f"{source.path}: found {count:,} messages in {size:,} bytes, allowed: {_COUNT:,}, or one for "
            f"{_BYTES_PER_MESSAGE} bytes; --messages N takes the first"
        )


def _read_binaryfile(source: Recording, excluded: dict[str, int]) -> Iterator[Timed]:
    """Yields the messages of a BinaryFILE. excluded: how many bytes are none, by reason."""
    from agent.protocols import _codecs

    count = size = 0
    for chunk in _read_chunks(source):
        messages = _codecs.binaryfile_messages(chunk)[0]
        count, size = count + len(messages), size + len(chunk)
        _check_count(source, count, size)
        for m in messages:
            yield int.from_bytes(m[5:11], "big"), m
    if source.suspect:
        raise FeedError("damaged gzip file: " + source.notes[0])
    excluded |= {f"bytes: {reason}": n for reason, n in source.skipped.items()}


def _read_stamped_lines(source: Recording, excluded: dict[str, int]) -> Iterator[Timed]:
    return _read_lines(source, excluded, _split_stamped_line)


def _read_csv(source: Recording, excluded: dict[str, int]) -> Iterator[Timed]:
    return _read_lines(source, excluded, _split_csv_line)


def _read_lines(source: Recording, excluded: dict[str, int], split: Callable[[bytes], Timed | str]) -> Iterator[Timed]:
    """Yields the lines of a recording that are messages. split: returns a message, or why the line is none; raises
    ValueError. excluded: how many are none, by reason. Raises FeedError for what is no line, or damaged."""
    number = size = 0
    for chunk in _read_chunks(source):
        number, size = number or source.lines_before, size + len(chunk)
        _check_count(source, number + chunk.count(b"\n"), size)
        for line in chunk.removesuffix(b"\n").split(b"\n"):
            number += 1
            try:
                found = split(line.strip())
            except ValueError as error:
                raise FeedError(f"{source.path}:{number}: {error}") from None
            if isinstance(found, str):
                excluded[found] = excluded.get(found, 0) + 1
            else:
                yield found
        if source.skipped:
            break
    if source.skipped:
        kind = "damaged gzip file: " if source.compressed and "gzip" in source.notes[0] else ""
        raise FeedError(kind + source.notes[0])


def _split_stamped_line(line: bytes) -> Timed | str:
    """A line of LOCAL_TIME JSON."""
    when, _, message = line.partition(b" ")
    if not message and when:
        raise ValueError(f"found {when[:40]!r}, expected TIME JSON")
    if not message:
        return "empty line"
    if not _is_time(when) or not message.startswith(b"{"):
        raise ValueError(f"found {line[:60]!r}, expected TIME JSON")
    if message.startswith(b'{"lastUpdateId"'):
        return "REST snapshot"
    return _check_size(_read_time(when), message)


def _split_csv_line(line: bytes) -> Timed | str:
    """A line of CSV, which is a message as a whole."""
    when, _, rest = line.partition(b",")
    if not line:
        return "empty line"
    if not rest or not _is_time(when):
        raise ValueError(f"found {line[:60]!r}, expected {formats.find('csv').header}")
    return _check_size(_read_time(when), line)


def _is_time(text: bytes) -> bool:
    """Whether text is a number that 64 bits hold."""
    return text.isdigit() and len(text) <= 19 and int(text) < 1 << 63


def _read_time(text: bytes) -> int:
    """Returns a time in nanoseconds: since 1970 in ns, µs or ms, by its size; another one as it is."""
    value = int(text)
    for scale in (1, 10**3, 10**6):
        if _FIRST_NS <= value * scale < _BEHIND_NS:
            return value * scale
    return value


def _check_size(at: int, message: bytes) -> Timed | str:
    return (at, message) if len(message) <= MAX_MESSAGE else f"longer than {MAX_MESSAGE} bytes"


# ---------------------------------------------------------------------------------- generated feeds


def generated(count: int, seed: int, symbols: Sequence[str] = ("BTCUSDT",), form: str = "binance") -> Feed:
    """Make `count` messages, the same for the same seed, spread evenly over count milliseconds. binance, csv: a random
    walk of each symbol, four quotes to a trade. itch: a trading day of a small market (generator.session).

    Returns a Feed. Raises FeedError when so few messages cannot hold an ITCH day.
    """
    messages = FORMATS[form].generate(count, seed, symbols)
    return build_feed(f"generated, {form}, seed {seed}", form, messages, {})


def quotes(count: int, seed: int, symbol: str = "AAPL") -> Feed:
    """Make `count` messages of ITCH, spread evenly over count milliseconds; each one moves the best bid or offer.

    Returns a Feed.
    """
    from agent.exchange import generator

    messages = _space_evenly(generator.quotes(seed, count, symbol))
    return build_feed(f"generated, itch quotes, seed {seed}", "itch", messages, {})


def _space_evenly(messages: Iterable[bytes]) -> list[Timed]:
    return [(i * _STEP_NS, m) for i, m in enumerate(messages)]


def _generate_binance(count: int, seed: int, symbols: Sequence[str]) -> Iterable[Timed]:
    return walk_prices(seed, count, symbols, BinanceWriter())


def _generate_csv(count: int, seed: int, symbols: Sequence[str]) -> Iterable[Timed]:
    return walk_prices(seed, count, symbols, write_csv)


def _generate_itch(count: int, seed: int, symbols: Sequence[str]) -> Iterable[Timed]:
    from agent.exchange import generator

    try:
        return _space_evenly(generator.session(seed, count, symbols))
    except ValueError as error:
        raise FeedError(str(error)) from None


# ---------------------------------------------------------------------------------- formats

#: Reads one message. Returns its type, and the best prices that it leaves, if it says.
MessageReader = Callable[[bytes], tuple[str, Prices | None]]


class Format(NamedTuple):
    """What the simulator does for one feed format."""

    #: Yields the messages of a recording. Counts what of it is none, by reason.
    read: Callable[[Recording, dict[str, int]], Iterator[Timed]]
    #: Returns the reader of a feed's messages, one after the other.
    make_reader: Callable[[], MessageReader]
    #: Takes how many messages, the seed and the symbols.
    generate: Callable[[int, int, Sequence[str]], Iterable[Timed]]


def _make_binance_reader() -> MessageReader:
    def read(message: bytes) -> tuple[str, Prices | None]:
        type = find_binance_type(message)
        return type, read_binance_prices(message) if type == "bookTicker" else None

    return read


def _make_itch_reader() -> MessageReader:
    books = ItchBooks()
    return lambda message: (message[:1].decode("ascii", "replace"), books.use_message(message))


def _make_csv_reader() -> MessageReader:
    return lambda message: ("line", read_csv_prices(message))


#: By name.
FORMATS = {
    "binance": Format(_read_stamped_lines, _make_binance_reader, _generate_binance),
    "itch": Format(_read_binaryfile, _make_itch_reader, _generate_itch),
    "csv": Format(_read_csv, _make_csv_reader, _generate_csv),
}
