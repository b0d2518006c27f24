"""The exchange simulator's feeds: recordings and seeded generators, in the formats of the agent.

A feed is messages, their times, and the best bid and offer of a symbol behind each of them: the simulator matches
orders against those.
"""

import gzip
import zlib
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.exchange.best_prices import ItchBooks, Prices, find_binance_type, read_binance_prices, read_csv_prices
from agent.exchange.errors import FeedError
from agent.exchange.walk import BinanceWriter, walk_prices, write_csv
from agent.protocols import formats

#: What one MoldUDP64 packet of one message can carry in a UDP datagram (65,507 - 20 - 2).
MAX_MESSAGE = 65485

_GZIP = b"\x1f\x8b"
#: Bytes of a recording that tell its format.
_HEAD = 1 << 16
_STEP_NS = 1_000_000

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


def build_feed(name: str, format: str, messages: Sequence[Timed], excluded: dict[str, int]) -> Feed:
    """Returns the feed of these messages. format: one of FORMATS."""
    offsets, at, counts = array("q", [0]), array("q"), dict[str, int]()
    mark_symbol, marks = array("i"), array("Q")
    symbols: dict[str, int] = {}
    read_message = FORMATS[format].make_reader()
    place, latest = 0, 0
    for when, message in messages:
        place += len(message)
        offsets.append(place)
        # A recording's clock may step back: nothing is sent before its predecessor.
        latest = max(latest, when - messages[0][0])
        at.append(latest)
        type, prices = read_message(message)
        counts[type] = counts.get(type, 0) + 1
        if prices is None:
            mark_symbol.append(-1)
            marks.extend((0, 0, 0, 0))
        else:
            mark_symbol.append(symbols.setdefault(prices.symbol, len(symbols)))
            marks.extend(prices[1:])
    text = b"".join(m for _, m in messages)
    return Feed(name, format, text, offsets, at, counts, excluded, list(symbols), mark_symbol, marks)


# ---------------------------------------------------------------------------------- recordings


def recording(path: Path, limit: int | None = None) -> Feed:
    """Read a recording, gzip or plain; the first `limit` messages of it. Its format follows from its content: lines
    `LOCAL_NANOSECONDS JSON` (Binance), CSV ticks, or a Nasdaq BinaryFILE of ITCH 5.0.

    Of Binance's lines the REST snapshot that such recordings begin with (`{"lastUpdateId":...}`) is not a message of
    the feed: it is excluded and counted, as are empty lines and messages too long for a datagram.

    Returns a Feed. Raises FeedError.
    """
    format = _detect_format(path)
    messages, excluded = FORMATS[format].read(path, limit)
    if not messages:
        raise FeedError(f"{path}: holds no messages")
    return build_feed(str(path), format, messages, excluded)


def _detect_format(path: Path) -> str:
    """Returns the format of a recording, by how it begins. Raises FeedError."""
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == _GZIP
        with gzip.open(path) if zipped else path.open("rb") as file:
            found = formats.detect(file.read(_HEAD))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror}") from None
    if found is None:
        return "binance"  # whose reader names the line that is none
    if found.name not in FORMATS:
        raise FeedError(
            f"{path}: found {found.name}, which is replayed and not simulated; allowed: {', '.join(FORMATS)}"
        )
    return found.name


def _read_binaryfile(path: Path, limit: int | None) -> tuple[list[Timed], dict[str, int]]:
    """Returns the messages of a BinaryFILE, and how many bytes are none, by reason. Raises FeedError."""
    from agent.protocols import _codecs
    from agent.protocols import recording as recordings

    messages: list[Timed] = []
    try:
        with recordings.open_recording(path) as source:
            for chunk in source.chunks():
                for m in _codecs.binaryfile_messages(chunk)[0]:
                    if limit is not None and len(messages) == limit:
                        break
                    messages.append((int.from_bytes(m[5:11], "big"), m))
            return messages, {f"bytes: {reason}": n for reason, n in source.skipped.items()}
    except recordings.RecordingError as error:
        raise FeedError(str(error)) from None


def _read_stamped_lines(path: Path, limit: int | None) -> tuple[list[Timed], dict[str, int]]:
    return _read_lines(path, limit, _split_stamped_line)


def _read_csv(path: Path, limit: int | None) -> tuple[list[Timed], dict[str, int]]:
    return _read_lines(path, limit, _split_csv_line, header=1)


def _read_lines(
    path: Path, limit: int | None, split: Callable[[bytes], Timed | str], header: int = 0
) -> tuple[list[Timed], dict[str, int]]:
    """Read the lines behind a header of so many. split: returns a message, or why the line is none; raises ValueError.
    Returns the messages, and how many lines are none, by reason. Raises FeedError."""
    messages: list[Timed] = []
    excluded: dict[str, int] = {}
    number = 0
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == _GZIP
        with gzip.open(path) if zipped else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(messages) == limit:
                    break
                if number <= header:
                    continue
                found = split(line.strip())
                if isinstance(found, str):
                    excluded[found] = excluded.get(found, 0) + 1
                else:
                    messages.append(found)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(f"{path}:{number + 1}: damaged gzip file: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise FeedError(f"{path}:{number}: {error}") from None
    return messages, excluded


def _split_stamped_line(line: bytes) -> Timed | str:
    """A line of LOCAL_NANOSECONDS JSON."""
    when, _, message = line.partition(b" ")
    if not message and when:
        raise ValueError(f"found {when[:40]!r}, expected NANOSECONDS JSON")
    if not message:
        return "empty line"
    if not when.isdigit() or not message.startswith(b"{"):
        raise ValueError(f"found {line[:60]!r}, expected NANOSECONDS JSON")
    if message.startswith(b'{"lastUpdateId"'):
        return "REST snapshot"
    return _check_size(int(when), message)


def _split_csv_line(line: bytes) -> Timed | str:
    """A line of CSV, which is a message as a whole."""
    when, _, rest = line.partition(b",")
    if not line:
        return "empty line"
    if not rest or not when.isdigit():
        raise ValueError(f"found {line[:60]!r}, expected {formats.find('csv').header}")
    return _check_size(int(when), line)


def _check_size(at: int, message: bytes) -> Timed | str:
    return (at, message) if len(message) <= MAX_MESSAGE else f"longer than {MAX_MESSAGE} bytes"


# ---------------------------------------------------------------------------------- generated feeds


def generated(count: int, seed: int, symbols: Sequence[str] = ("BTCUSDT",), form: str = "binance") -> Feed:
    """Make `count` messages, the same for the same seed, spread evenly over count milliseconds. binance, csv: a random
    walk of each symbol, four quotes to a trade. itch: a trading day of a small market (generator.session).

    Returns a Feed. Raises FeedError when so few messages cannot hold an ITCH day.
    """
    messages = list(FORMATS[form].generate(count, seed, symbols))
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

    #: Reads a recording: its messages, and what of it is none, by reason. Takes the path and the most messages.
    read: Callable[[Path, int | None], tuple[list[Timed], dict[str, int]]]
    #: Returns the reader of a feed's messages, one after the other.
    make_reader: Callable[[], MessageReader]
    #: Takes how many messages, the seed and the symbols.
    generate: Callable[[int, int, Sequence[str]], Iterable[Timed]]


def _make_binance_reader() -> MessageReader:
    return lambda message: (find_binance_type(message), read_binance_prices(message))


def _make_itch_reader() -> MessageReader:
    books = ItchBooks()
    return lambda message: (message[:1].decode("ascii", "replace"), books.use_message(message))


def _make_csv_reader() -> MessageReader:
    return lambda message: ("line", read_csv_prices(message))


#: By name. A recording's format is told by _detect_format().
FORMATS = {
    "binance": Format(_read_stamped_lines, _make_binance_reader, _generate_binance),
    "itch": Format(_read_binaryfile, _make_itch_reader, _generate_itch),
    "csv": Format(_read_csv, _make_csv_reader, _generate_csv),
}
