"""What to run: the plan of the user, and the same with everything opened and made for it."""

from array import array
from pathlib import Path

import msgspec

from agent.exchange.feed import Feed
from agent.exchange.packets import Packets
from agent.exchange.samples import Samples

#: Bytes of the log of Sequenced Data packets that a run can fill (an acknowledged order takes 67).
LOG_CAPACITY = 1 << 28


class Plan(msgspec.Struct, kw_only=True, frozen=True):
    """What the user asks for. Addresses are (host, port), times seconds unless another unit is named."""

    feed: Feed
    due: "array[int]"  # by message: ns after the start; schedule() makes it
    pacing: str  # the same, for the report
    feed_to: tuple[str, int]  # where line A goes
    listen: tuple[str, int]  # of the order entry
    feed_b: tuple[str, int] | None = None  # where line B goes
    request: tuple[str, int] | None = None  # where retransmission requests are answered
    interface: str = ""  # that line A leaves by
    per_datagram: int = 1  # messages in a packet, at most
    lockstep: bool = False  # a packet goes out when the agent has read the last one, not when it is due
    spin: bool = True  # never sleep
    linger: float = 1.0  # without an order behind the last packet, until the session ends
    login: float = 60.0  # to wait for the agent
    reconnect: float = 0.0  # to wait for another login after a disconnect; 0: a disconnect ends the run
    timeout: float = 600.0  # for the run
    agent_shm: Path | None = None  # the agent's segment, to compare its counters with
    username: str = ""  # that may log in; empty: anybody
    password: str = ""
    exchange_symbols: dict[str, str] = {}  # the name that orders have for a symbol, where it is not the feed's
    match: bool = True  # execute orders that cross the feed's best bid and offer
    reject: int = 0  # each so many-th order is rejected; 0: none
    disconnect_after: int = 0  # orders, once; 0: never
    drop: float = 0.0  # shares of the packets of each line, drawn by `seed`
    duplicate: float = 0.0
    reorder: float = 0.0
    seed: int = 1
    state: Path | None = None  # a file that makes the order session outlive the simulator
    samples: Path | None = None  # a file for each order's stamps, as a NumPy array


class PreparedPlan(msgspec.Struct, kw_only=True):
    """A plan with its sockets opened, its packets made, and room for its samples: what _simulator.run takes.

    Descriptors belong to who opened them.
    """

    plan: Plan
    lines: tuple[int, int]  # connected UDP sockets of line A and B; -1: none
    server: int  # a listening, non-blocking socket
    request_socket: int  # a bound UDP socket; -1: none
    state_file: int  # open for appending; -1: none
    recovered: bytes  # the packets that are in it
    session: bytes  # name of the order session, 10 bytes
    feed_session: bytes  # name of the feed's, 10 bytes
    login: tuple[bytes, bytes] | None  # user (6 bytes) and password (10 bytes), padded; None: anybody
    packets: Packets
    due: "array[int]"  # by packet: ns after the start
    fates: tuple[bytes | None, bytes | None]  # by line: draw_fates()
    symbol_names: (
        "array[int]"  # by symbol of the feed: the 8 characters of its name in orders as a uint64; 0: it has none
    )
    watched: memoryview | None  # the agent's count of messages (one uint64), for lockstep
    settling: list[memoryview] | None = (
        None  # and what says that it has done with one: simulator.SETTLING, in that order
    )
    samples: Samples
    midnight: int  # CLOCK_MONOTONIC of UTC midnight in ns; negative when the machine started later
    log_capacity: int = LOG_CAPACITY


def schedule(feed: Feed, rate: float | None, speed: float | None, burst: int = 1) -> "array[int]":
    """Returns when each message is due, in ns after the start: `rate` a second, `burst` of them at once, or as
    recorded, `speed` times as fast."""
    if rate is not None:
        return array("q", (int(i // burst * burst * 1e9 / rate) for i in range(len(feed))))
    scale = 1.0 / (speed or 1.0)
    return array("q", (int(at * scale) for at in feed.at))
