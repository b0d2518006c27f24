"""An agent as one writes it with uvloop: a DatagramProtocol that parses a tick, keeps an average of the mid price, and
writes an order to a transport. The garbage collector is off. It waits for its sockets, as uvloop does; no spinning.
"""

import asyncio
import gc
import os
import socket
import sys

import uvloop

from benchmarks.agent.peers import _wire


class Exchange(asyncio.Protocol):
    """The order session. What the exchange answers is read and dropped."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self.closed.set_result(None)


class Feed(asyncio.DatagramProtocol):
    """An order for each tick."""

    def __init__(self, exchange: asyncio.Transport, symbol: bytes) -> None:
        self.exchange = exchange
        self.symbol = symbol
        self.quotes = _wire.Quotes()
        self.orders = 0
        self.average = 0.0

    def datagram_received(self, data: bytes, address: object) -> None:
        quotes = self.quotes
        tick = quotes.tick(data)
        if not tick:
            return
        self.average += 0.1 * ((quotes.bid + quotes.ask) * 0.5 - self.average)
        self.orders += 1
        self.exchange.write(_wire.enter_order(self.orders, self.symbol, tick))


async def trade(feed_port: int, exchange_port: int, symbol: bytes) -> None:
    """Trade until the exchange closes."""
    loop = asyncio.get_running_loop()
    line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    line.bind(("127.0.0.1", feed_port))
    while True:
        try:
            exchange, session = await loop.create_connection(Exchange, "127.0.0.1", exchange_port)
            break
        except ConnectionRefusedError:
            await asyncio.sleep(0.01)
    exchange.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    await loop.create_datagram_endpoint(lambda: Feed(exchange, symbol), sock=line)
    exchange.write(_wire.LOGIN + _wire.ACCOUNT_QUERY)
    print("ready", flush=True)
    await session.closed


if __name__ == "__main__":
    feed_port, exchange_port, cpu, name = _wire.arguments(sys.argv)
    os.sched_setaffinity(0, {cpu})
    gc.collect()
    gc.disable()
    uvloop.run(trade(feed_port, exchange_port, name.encode().ljust(8)))
