"""A feed in MoldUDP64 packets, and what happens to each of them on a line.

Source: Nasdaq "MoldUDP64 Protocol Specification" 1.00.
"""

import random
import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator

import msgspec

from agent.exchange.feed import Feed

#: What a packet of several messages is filled up to: an Ethernet frame less the headers of IPv4 and UDP.
MAX_PACKET = 1472
_HEADER = struct.Struct(">10sQH")


class Packets(msgspec.Struct):
    """A feed in packets. Arrays of int64; n packets, m messages."""

    data: bytes  # all packets, one behind the other
    starts: "array[int]"  # n + 1: where each packet begins in data, and its end
    firsts: "array[int]"  # n + 1: index of each packet's first message, and m
    blocks: "array[int]"  # m: where each message block (length, message) begins in data
    first_sequence: int = 1  # sequence number of message 0

    def __len__(self) -> int:
        return len(self.starts) - 1

    def packet_of_messages(self) -> Iterator[int]:
        """Yields the index of the packet of each message."""
        for i in range(len(self)):
            for _ in range(self.firsts[i], self.firsts[i + 1]):
                yield i


def make_packets(feed: Feed, session: bytes, per_datagram: int = 1) -> Packets:
    """Put the feed's messages into packets, in order, from sequence number 1 on.

    session: 10 bytes. per_datagram: messages in a packet, at most, and no more than MAX_PACKET bytes hold (a longer
    message has a packet of its own). Returns Packets.
    """
    out = bytearray()
    starts, firsts, blocks = array("q"), array("q"), array("q")
    i, n = 0, len(feed)
    while i < n:
        starts.append(len(out))
        firsts.append(i)
        size, last = _HEADER.size, i
        while last < n and last - i < per_datagram:
            length = feed.offsets[last + 1] - feed.offsets[last]
            if last > i and size + 2 + length > MAX_PACKET:
                break
            size += 2 + length
            last += 1
        out += _HEADER.pack(session, i + 1, last - i)
        for k in range(i, last):
            blocks.append(len(out))
            message = feed.text[feed.offsets[k] : feed.offsets[k + 1]]
            out += len(message).to_bytes(2, "big") + message
        i = last
    starts.append(len(out))
    firsts.append(n)
    return Packets(bytes(out), starts, firsts, blocks)


def draw_fates(drop: float, duplicate: float, reorder: float, seed: int, line: int, count: int) -> bytes | None:
    """Draw what happens to each packet on a line: the same for the same arguments.

    drop, duplicate, reorder: shares of the packets. Returns a byte for each of `count` packets: 0 sent, 1 dropped,
    2 sent twice, 3 swapped with the next one; None when all are sent.
    """
    if not (drop or duplicate or reorder):
        return None
    rng = random.Random(f"{seed} {line}")
    edges = (drop, drop + duplicate, drop + duplicate + reorder)
    return bytes((bisect_right(edges, rng.random()) + 1) % 4 for _ in range(count))
