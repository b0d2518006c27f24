"""The exchange simulator's feeds: recordings and seeded generators, in the feed formats of the agent.

A feed is messages, their times, and what the best bid and offer of a symbol is behind each: the simulator
matches orders against that. It is worked out here with Python's own json and dictionaries, not with the
agent's parsers, so that a mistake there is seen.
"""

import gzip
import random
import struct
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

import msgspec

from agent.errors import AgentError
from agent.exchange.tick_messages import MESSAGES, Mark, Walk
from agent.protocols import formats

#: What one MoldUDP64 packet of one message can carry in a UDP datagram (65,507 - 20 - 2).
MAX_MESSAGE = 65485
#: What a packet of several messages is filled up to: an Ethernet frame less the headers of IPv4 and UDP.
MAX_PACKET = 1472
#: Those that can be generated.
FORMATS = tuple(row.name for row in formats.FORMATS if not row.ticks or row.name in MESSAGES)

_GENERATED_START_NS = 1_700_000_000_000_000_000


class FeedError(AgentError):
    """A recording cannot be read; the message names file and line."""


class Feed(msgspec.Struct):
    """Messages in sending order, as one text with n + 1 offsets, and their times.

    at: n times in ns from the first message. counts: messages by type. excluded: lines of the
    file that are not sent, by reason. symbols: names; mark_symbol: by message, the index of the symbol
    whose best bid and offer it leaves as marks[4 i:4 i + 4] (bid, ask with 4 decimals, whole units there);
    -1: it says nothing of them.
    """

    name: str
    format: str
    text: bytes
    offsets: array  # type: ignore[type-arg]
    at: array  # type: ignore[type-arg]
    counts: dict[str, int]
    excluded: dict[str, int]
    symbols: list[str]
    mark_symbol: array  # type: ignore[type-arg]
    marks: array  # type: ignore[type-arg]

    def __len__(self) -> int:
        return len(self.at)


class _ItchBooks:
    """Every order and every level in dictionaries."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.orders: dict[int, list[int]] = {}
        self.levels: dict[tuple[int, int], dict[int, int]] = {}

    def _change(self, locate: int, side: int, price: int, shares: int) -> None:
        level = self.levels.setdefault((locate, side), {})
        level[price] = level.get(price, 0) + shares
        if level[price] <= 0:
            del level[price]

    def _take(self, reference: int, shares: int | None) -> None:
        order = self.orders.get(reference)
        if order is None:
            return
        taken = order[3] if shares is None else min(shares, order[3])
        order[3] -= taken
        self._change(order[0], order[1], order[2], -taken)
        if order[3] == 0:
            del self.orders[reference]

    def _add(self, reference: int, locate: int, side: int, price: int, shares: int) -> None:
        self.orders[reference] = [locate, side, price, shares]
        self._change(locate, side, price, shares)

    def mark(self, m: bytes) -> Mark | None:
        """Use a message; what it leaves, where it is about an order."""
        letter, locate = m[:1], int.from_bytes(m[1:3], "big")
        if letter == b"R":
            self.names[locate] = m[11:19].decode("ascii", "replace").rstrip()
        if letter not in b"AFECXDU" or len(m) < 19:
            return None
        reference = int.from_bytes(m[11:19], "big")
        if letter in b"AF":
            self.names.setdefault(locate, m[24:32].decode("ascii", "replace").rstrip())
            self._add(reference, locate, m[19], int.from_bytes(m[32:36], "big"), int.from_bytes(m[20:24], "big"))
        elif letter in b"ECX":
            self._take(reference, int.from_bytes(m[19:23], "big"))
        elif letter == b"D":
            self._take(reference, None)
        elif (old := self.orders.get(reference)) is not None:
            side = old[1]
            self._take(reference, None)
            shares, price = struct.unpack_from(">II", m, 27)
            self._add(int.from_bytes(m[19:27], "big"), locate, side, price, shares)
        bids, asks = self.levels.get((locate, 66), {}), self.levels.get((locate, 83), {})
        bid, ask = max(bids, default=0), min(asks, default=0)
        return (self.names.get(locate, ""), bid, ask, bids.get(bid, 0), asks.get(ask, 0))


def _build(name: str, form: str, messages: Sequence[tuple[int, bytes]], excluded: dict[str, int]) -> Feed:
    offsets, at, counts = array("q", [0]), array("q"), dict[str, int]()
    mark_symbol, marks = array("i"), array("Q")
    symbols: dict[str, int] = {}
    books = _ItchBooks()
    place, latest = 0, 0
    for when, message in messages:
        place += len(message)
        offsets.append(place)
        # A recording's clock may step back: nothing is sent before its predecessor.
        latest = max(latest, when - messages[0][0])
        at.append(latest)
        if form == "itch":
            what, mark = message[:1].decode("ascii", "replace"), books.mark(message)
        else:
            what, mark = MESSAGES[form].tell_type(message), MESSAGES[form].read_mark(message)
        counts[what] = counts.get(what, 0) + 1
        if mark is None:
            mark_symbol.append(-1)
            marks.extend((0, 0, 0, 0))
        else:
            mark_symbol.append(symbols.setdefault(mark[0], len(symbols)))
            marks.extend(mark[1:])
    text = b"".join(m for _, m in messages)
    return Feed(name, form, text, offsets, at, counts, excluded, list(symbols), mark_symbol, marks)


def recording(path: Path, limit: int | None = None) -> Feed:
    """A recording, gzip or plain, in one of the feed formats, told by its content; the first `limit` messages of it.

    Lines that are no message of the feed (in Binance's recordings the REST snapshot that they begin with) are excluded
    and counted, as are empty lines and messages too long for a datagram. Raises FeedError.
    """
    try:
        with _open(path) as probe:
            head = probe.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(f"{path}: damaged gzip file: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror}") from None
    if head == b"\0":
        return _binary(path, limit)
    return _lines(path, limit)


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        zipped = probe.read(2) == b"\x1f\x8b"
    return gzip.open(path) if zipped else path.open("rb")  # type: ignore[return-value]


def _binary(path: Path, limit: int | None) -> Feed:
    from agent.protocols import _codecs
    from agent.protocols import recording as recordings

    messages: list[tuple[int, bytes]] = []
    try:
        with recordings.open_recording(path) as source:
            for chunk in source.chunks():
                for m in _codecs.binaryfile_messages(chunk)[0]:
                    if limit is not None and len(messages) == limit:
                        break
                    messages.append((int.from_bytes(m[5:11], "big"), m))
            excluded = {f"bytes: {reason}": n for reason, n in source.skipped.items()}
    except recordings.RecordingError as error:
        raise FeedError(str(error)) from None
    if not messages:
        raise FeedError(f"{path}: holds no messages")
    return _build(str(path), "itch", messages, excluded)


def _lines(path: Path, limit: int | None) -> Feed:
    messages: list[tuple[int, bytes]] = []
    excluded: dict[str, int] = {}
    number, form = 0, None
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(messages) == limit:
                    break
                line = line.strip()
                if not line:
                    excluded["empty line"] = excluded.get("empty line", 0) + 1
                    continue
                if form is None:
                    form = _require_format(f"{path}:{number}", line)
                    if form.header:
                        continue
                when, message = _split(form, line)
                if when is None or not message.startswith(MESSAGES[form.name].opening):
                    raise FeedError(f"{path}:{number}: found {line[:60]!r}, expected {form.expected}")
                reason = MESSAGES[form.name].refuse(message)
                if len(message) > MAX_MESSAGE:
                    reason = f"longer than {MAX_MESSAGE} bytes"
                if reason:
                    excluded[reason] = excluded.get(reason, 0) + 1
                else:
                    messages.append((when, message))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(f"{path}:{number + 1}: damaged gzip file: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror}") from None
    if form is None or not messages:
        raise FeedError(f"{path}: holds no messages")
    return _build(str(path), form.name, messages, excluded)


def _require_format(place: str, line: bytes) -> formats.Format:
    """Returns the format of a recording by its first line that is not empty. Raises FeedError."""
    found = formats.detect(line)
    if found is None or found.name not in MESSAGES:
        expected = " or ".join(row.expected for row in formats.FORMATS if row.name in MESSAGES)
        raise FeedError(f"{place}: found {line[:60]!r}, expected {expected}")
    return found


def _split(form: formats.Format, line: bytes) -> tuple[int | None, bytes]:
    """Returns the time of a recorded line in ns, None for a line without, and its message."""
    if form.framing == "lines":
        return MESSAGES[form.name].read_time(line), line
    stamp, space, message = line.partition(b" ")
    return (int(stamp) if space and stamp.isdigit() else None), message


def generated(count: int, seed: int, symbols: Sequence[str] = ("BTCUSDT",), form: str = "binance") -> Feed:
    """`count` messages, the same for the same seed, spread evenly over count milliseconds. Formats of quotes and
    trades: a random walk of each symbol, four quotes to a trade. itch: a trading day of a small market (generator.py).

    Raises FeedError when so few messages cannot hold an ITCH day.
    """
    name = f"generated, {form}, seed {seed}"
    if form == "itch":
        from agent.exchange import generator

        try:
            day = generator.session(seed, count, symbols)
        except ValueError as error:
            raise FeedError(str(error)) from None
        return _build(name, form, [(i * 1_000_000, m) for i, m in enumerate(day)], {})
    rng = random.Random(seed)
    return _build(name, form, list(_walk(rng, count, symbols, form)), {})


def quotes(count: int, seed: int, symbol: str = "AAPL") -> Feed:
    """`count` messages of ITCH, spread evenly over count milliseconds; each one moves the best bid or offer."""
    from agent.exchange import generator

    messages = [(i * 1_000_000, m) for i, m in enumerate(generator.quotes(seed, count, symbol))]
    return _build(f"generated, itch quotes, seed {seed}", "itch", messages, {})


def _walk(rng: random.Random, count: int, symbols: Sequence[str], form: str) -> Iterable[tuple[int, bytes]]:
    prices = dict.fromkeys(symbols, 6_000_000)  # cents
    walk = Walk(rng)
    for i in range(count):
        walk.symbol = symbols[0] if len(symbols) == 1 else rng.choice(symbols)
        price = prices[walk.symbol] + rng.choice((-120, -40, -1, 0, 0, 1, 40, 120))
        walk.price = prices[walk.symbol] = max(100, price)
        walk.at = _GENERATED_START_NS + i * 1_000_000
        write = MESSAGES[form].write_trade if rng.random() < 0.2 else MESSAGES[form].write_quote
        yield walk.at, write(walk)


class Packets(msgspec.Struct):
    """A feed in MoldUDP64 packets: packet i is data[starts[i]:starts[i + 1]] and holds the messages firsts[i] up to
    firsts[i + 1]; blocks: where each message's length is."""

    data: bytes
    starts: array  # type: ignore[type-arg]
    firsts: array  # type: ignore[type-arg]
    blocks: array  # type: ignore[type-arg]

    def __len__(self) -> int:
        return len(self.starts) - 1


def packets(feed: Feed, session: bytes, per_datagram: int = 1) -> Packets:
    """The feed's messages in order, from sequence number 1, up to per_datagram in a packet of at most MAX_PACKET
    bytes (a longer message has one of its own)."""
    out = bytearray()
    starts, firsts, blocks = array("q"), array("q"), array("q")
    i, n = 0, len(feed)
    while i < n:
        starts.append(len(out))
        firsts.append(i)
        place, size, last = len(out), 20, i
        while last < n and last - i < per_datagram:
            length = feed.offsets[last + 1] - feed.offsets[last]
            if last > i and size + 2 + length > MAX_PACKET:
                break
            size += 2 + length
            last += 1
        out += session + struct.pack(">QH", i + 1, last - i)
        for k in range(i, last):
            blocks.append(len(out))
            message = feed.text[feed.offsets[k] : feed.offsets[k + 1]]
            out += len(message).to_bytes(2, "big") + message
        assert len(out) - place == size
        i = last
    starts.append(len(out))
    firsts.append(n)
    return Packets(bytes(out), starts, firsts, blocks)
