"""The little of MoldUDP64, ITCH 5.0, SoupBinTCP and OUCH 5.0 that the peers need, as one writes it in Python."""

import struct

#: SoupBinTCP Login Request: for the session there is, from its first message.
LOGIN = b"\x00\x2fL" + b"trader" + b"secret".ljust(10) + b"".ljust(10) + b"1".rjust(20)
#: OUCH Account Query in SoupBinTCP Unsequenced Data.
ACCOUNT_QUERY = b"\x00\x02UQ"
#: Where the message of a MoldUDP64 packet starts: behind session 10, number 8, count 2, and its own length 2.
_MESSAGE = 22
#: From a message's order reference on: Add Order (reference, side, price), Order Replace (old and new, price).
_ADD = struct.Struct(">QB12xI")
_REPLACE = struct.Struct(">QQ4xI")
_NUMBER = struct.Struct(">Q")
#: Accepted in Sequenced Data, from its UserRefNum to the exchange's number of the order.
_ACCEPTED = struct.Struct(">I23xQ")
#: Enter Order in Unsequenced Data: UserRefNum, a buy of 1, symbol, 1.0000, day, displayed, ..., ClOrdID, no options.
_ENTER = struct.Struct(">4sI5s8sQ5s14sH")
_BUY = 66


class Quotes:
    """The best bid and offer by what is entered and replaced: the last price of each side, 0 for none yet.

    Prices are ITCH's integers, 4 decimals. The side of an order is kept, as a replacement does not say it.
    """

    def __init__(self) -> None:
        self.bid = 0
        self.ask = 0
        self._sides: dict[int, int] = {}

    def tick(self, packet: bytes) -> int:
        """Use the message of a MoldUDP64 packet that holds one; the packet's number, or 0 if it is no tick."""
        if len(packet) <= _MESSAGE:
            return 0
        letter = packet[_MESSAGE]
        if letter == 65:  # A
            reference, side, price = _ADD.unpack_from(packet, _MESSAGE + 11)
        elif letter == 85:  # U
            old, reference, price = _REPLACE.unpack_from(packet, _MESSAGE + 11)
            side = self._sides.pop(old, _BUY)
        else:
            return 0
        self._sides[reference] = side
        if side == _BUY:
            self.bid = price
        else:
            self.ask = price
        number: int = _NUMBER.unpack_from(packet, 10)[0]
        return number


def enter_order(user_ref: int, symbol: bytes, tick: int) -> bytes:
    """An Enter Order for the tick of that number. symbol: 8 bytes, padded with spaces."""
    return _ENTER.pack(b"\x00\x30UO", user_ref, b"B\0\0\0\1", symbol, 10_000, b"0YPNN", b"%014d" % tick, 0)


def accepted(stream: bytearray) -> list[tuple[int, int]]:
    """Take all whole packets off the front of a SoupBinTCP stream: (UserRefNum, the exchange's number) of the orders
    that they say are accepted."""
    found: list[tuple[int, int]] = []
    place = 0
    while place + 2 <= len(stream):
        end = place + 2 + int.from_bytes(stream[place : place + 2], "big")
        if end > len(stream):
            break
        if end - place >= 47 and stream[place + 2 : place + 4] == b"SA":
            found.append(_ACCEPTED.unpack_from(stream, place + 12))
        place = end
    del stream[:place]
    return found


def arguments(argv: list[str]) -> tuple[int, int, int, str]:
    """FEED_PORT EXCHANGE_PORT CPU [SYMBOL] of a command line. Ends the program if it is not that."""
    if len(argv) not in (4, 5):
        raise SystemExit(f"usage: {argv[0]} FEED_PORT EXCHANGE_PORT CPU [SYMBOL]")
    return int(argv[1]), int(argv[2]), int(argv[3]), argv[4] if len(argv) == 5 else "BTCUSDT"
