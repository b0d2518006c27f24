"""The exchange simulator's feeds: a Binance recording, or generated messages in the same format."""

import gzip
import random
import zlib
from array import array
from pathlib import Path

import msgspec

#: What one MoldUDP64 packet of one message can carry in a UDP datagram (65,507 - 20 - 2).
MAX_MESSAGE = 65485

_GENERATED_START_NS = 1_700_000_000_000_000_000


class FeedError(Exception):
    """A recording cannot be read; the message names file and line."""


class Feed(msgspec.Struct):
    """Messages in sending order, as one text with n + 1 offsets, and their times.

    at: n times in ns from the first message. counts: messages by type. excluded: lines of the
    file that are not sent, by reason.
    """

    name: str
    text: bytes
    offsets: array  # type: ignore[type-arg]
    at: array  # type: ignore[type-arg]
    counts: dict[str, int]
    excluded: dict[str, int]

    def __len__(self) -> int:
        return len(self.at)


def kind(message: bytes) -> str:
    """The type of a message by its stream's name or its event field: bookTicker, trade, depthUpdate, other."""
    head = message[:120]
    if b"@bookTicker" in head:
        return "bookTicker"
    if b'"e":"trade"' in head:
        return "trade"
    if b'"e":"depthUpdate"' in head:
        return "depthUpdate"
    if head.startswith(b'{"u":') and b'"B":' in message:
        return "bookTicker"
    return "other"


def _build(name: str, messages: list[tuple[int, bytes]], excluded: dict[str, int]) -> Feed:
    offsets, at, counts = array("q", [0]), array("q"), dict[str, int]()
    place, latest = 0, 0
    for when, message in messages:
        place += len(message)
        offsets.append(place)
        # A recording's clock may step back: nothing is sent before its predecessor.
        latest = max(latest, when - messages[0][0])
        at.append(latest)
        name_of_kind = kind(message)
        counts[name_of_kind] = counts.get(name_of_kind, 0) + 1
    return Feed(name, b"".join(m for _, m in messages), offsets, at, counts, excluded)


def recording(path: Path, limit: int | None = None) -> Feed:
    """A file of lines `LOCAL_NANOSECONDS JSON`, gzip or plain; the first `limit` messages of it.

    The REST snapshot that such recordings begin with (`{"lastUpdateId":...}`) is not a message of
    the feed: it is excluded and counted, as are empty lines and messages too long for a datagram.
    Raises FeedError.
    """
    messages: list[tuple[int, bytes]] = []
    excluded: dict[str, int] = {}
    number = 0
    try:
        with path.open("rb") as probe:
            zipped = probe.read(2) == b"\x1f\x8b"
        with gzip.open(path) if zipped else path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if limit is not None and len(messages) == limit:
                    break
                when, _, message = line.strip().partition(b" ")
                reason = ""
                if not message:
                    if when:
                        raise FeedError(f"{path}:{number}: found {when[:40]!r}, expected NANOSECONDS JSON")
                    reason = "empty line"
                elif not when.isdigit() or not message.startswith(b"{"):
                    raise FeedError(f"{path}:{number}: found {line[:60]!r}, expected NANOSECONDS JSON")
                elif message.startswith(b'{"lastUpdateId"'):
                    reason = "REST snapshot"
                elif len(message) > MAX_MESSAGE:
                    reason = f"longer than {MAX_MESSAGE} bytes"
                if reason:
                    excluded[reason] = excluded.get(reason, 0) + 1
                else:
                    messages.append((int(when), message))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FeedError(f"{path}:{number + 1}: damaged gzip file: {error}") from None
    except OSError as error:
        raise FeedError(f"{path}: {error.strerror}") from None
    if not messages:
        raise FeedError(f"{path}: holds no messages")
    return _build(str(path), messages, excluded)


def generated(count: int, seed: int, symbol: str = "BTCUSDT") -> Feed:
    """`count` messages of a random walk, the same for the same seed: four bookTickers to a trade,
    spread evenly over count milliseconds."""
    rng = random.Random(seed)
    price, book, trade = 6_000_000, 50_000_000_000, 3_700_000_000  # cents, ids
    stream = symbol.lower()
    messages = []
    for i in range(count):
        price = max(100, price + rng.choice((-120, -40, -1, 0, 0, 1, 40, 120)))
        at = _GENERATED_START_NS + i * 1_000_000
        if rng.random() < 0.2:
            trade += 1
            text = (
                f'{{"stream":"{stream}@trade","data":{{"e":"trade","E":{at // 1_000_000},"s":"{symbol}","t":{trade},'
                f'"p":"{_price(price)}","q":"{_size(rng)}","T":{at // 1_000_000},"m":{rng.choice(("true", "false"))},'
                f'"M":true}}}}'
            )
        else:
            book += rng.randrange(1, 9)
            text = (
                f'{{"stream":"{stream}@bookTicker","data":{{"u":{book},"s":"{symbol}","b":"{_price(price)}",'
                f'"B":"{_size(rng)}","a":"{_price(price + 1)}","A":"{_size(rng)}"}}}}'
            )
        messages.append((at, text.encode()))
    return _build(f"generated, seed {seed}", messages, {})


def _price(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}000000"


def _size(rng: random.Random) -> str:
    return f"{rng.randrange(0, 20)}.{rng.randrange(100_000):05d}000"
