"""The stamps of a run: of each packet and of each order."""

from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from agent.exchange.errors import ExchangeError
from agent.exchange.packets import Packets

_ORDERS_A_MESSAGE = 8
_SPARE_ORDERS = 1024


class MatchedOrder(NamedTuple):
    """An order whose ClOrdID names a message that was sent before. Times are CLOCK_MONOTONIC in ns."""

    message: int  # its index in the feed
    intended: int  # when the message was due
    sent: int  # right before its send
    arrived: int  # when `recv` had returned the order's bytes
    user_ref_num: int


class Samples(msgspec.Struct):
    """Arrays that the simulator fills; int64, times are CLOCK_MONOTONIC in ns."""

    intended: "array[int]"  # by packet: when it was due
    sent: "array[int]"  # by packet: right before its send
    message: "array[int]"  # by order: index of the message that it names; -1: none
    at: "array[int]"  # by order: when it came
    user_ref_num: "array[int]"  # by order; uint32

    def match_orders(self, packets: Packets, count: int) -> list[MatchedOrder]:
        """Returns those of the first `count` orders that name a message."""
        packet_of = array("q", packets.packet_of_messages())
        return [
            MatchedOrder(
                message,
                self.intended[packet_of[message]],
                self.sent[packet_of[message]],
                self.at[i],
                self.user_ref_num[i],
            )
            for i, message in enumerate(self.message[:count])
            if message >= 0
        ]


def make_samples(packets: int, messages: int) -> Samples:
    """Returns Samples with room for a run's packets, and for more orders than an agent should send."""
    orders = _ORDERS_A_MESSAGE * messages + _SPARE_ORDERS
    return Samples(
        intended=array("q", bytes(8 * packets)),
        sent=array("q", bytes(8 * packets)),
        message=array("q", bytes(8 * orders)),
        at=array("q", bytes(8 * orders)),
        user_ref_num=array("I", bytes(4 * orders)),
    )


def write_samples(path: Path, orders: Sequence[MatchedOrder]) -> None:
    """Write the orders to path as a NumPy array: message, intended_ns, sent_ns, arrived_ns (int64), id (uint32). Raises
    ExchangeError."""
    import numpy as np

    fields = [("message", "i8"), ("intended_ns", "i8"), ("sent_ns", "i8"), ("arrived_ns", "i8"), ("id", "u4")]
    try:
        with path.open("wb") as file:
            np.save(file, np.array([tuple(order) for order in orders], dtype=fields))
    except OSError as error:
        raise ExchangeError(f"--samples {path}: {error.strerror}") from None
