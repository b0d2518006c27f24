"""An agent on nautilus_trader: a live TradingNode with a data client and an execution client for the simulator.

The node is as it comes, with its risk engine, cache, portfolio and execution engine; only, it logs errors alone, and
its risk engine's limit of 100 orders a second is out of the way. Each tick is a QuoteTick; the strategy keeps two
averages of the mid price and submits a market order for each one, under the number of the tick's packet as its client
order id. The execution client reports it submitted, sends it, and reports it accepted when the exchange says so. Its
event loop is uvloop, which nautilus_trader takes by itself.
"""

import asyncio
import os
import socket
import sys
from decimal import Decimal
from typing import Any

from nautilus_trader.common.providers import InstrumentProvider
from nautilus_trader.config import (
    LiveDataClientConfig,
    LiveExecClientConfig,
    LiveExecEngineConfig,
    LiveRiskEngineConfig,
    LoggingConfig,
    TradingNodeConfig,
)
from nautilus_trader.live.data_client import LiveMarketDataClient
from nautilus_trader.live.execution_client import LiveExecutionClient
from nautilus_trader.live.factories import LiveDataClientFactory, LiveExecClientFactory
from nautilus_trader.live.node import TradingNode
from nautilus_trader.model.currencies import USD
from nautilus_trader.model.data import QuoteTick
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide
from nautilus_trader.model.identifiers import (
    AccountId,
    ClientId,
    ClientOrderId,
    InstrumentId,
    Symbol,
    TraderId,
    Venue,
    VenueOrderId,
)
from nautilus_trader.model.instruments import Equity
from nautilus_trader.model.objects import AccountBalance, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

from benchmarks.agent.peers import _wire

VENUE = Venue("SIMULATOR")
#: Endpoint of the node's message bus: the strategy is ready, the exchange may start its feed.
START = "Simulator.start"
_TICK = Decimal("0.0001")
_SIZE = Quantity.from_int(100)


def instrument(symbol: str) -> Equity:
    """A share with prices of 4 decimals."""
    return Equity(
        instrument_id=InstrumentId(Symbol(symbol), VENUE),
        raw_symbol=Symbol(symbol),
        currency=USD,
        price_precision=4,
        price_increment=Price(_TICK, 4),
        lot_size=Quantity.from_int(1),
        ts_event=0,
        ts_init=0,
    )


class DataConfig(LiveDataClientConfig, frozen=True):  # type: ignore[misc, call-arg]
    feed_port: int = 0
    symbol: str = ""


class ExecConfig(LiveExecClientConfig, frozen=True):  # type: ignore[misc, call-arg]
    exchange_port: int = 0
    symbol: str = ""


class DataClient(LiveMarketDataClient):  # type: ignore[misc]
    """MoldUDP64 packets of ITCH in, QuoteTicks out."""

    def __init__(self, config: DataConfig, name: str, **engine: Any) -> None:
        super().__init__(
            client_id=ClientId(name), venue=VENUE, instrument_provider=InstrumentProvider(), config=config, **engine
        )
        self._port = config.feed_port
        self._symbol = instrument(config.symbol)
        self._quotes = _wire.Quotes()
        self._transport: asyncio.BaseTransport | None = None

    async def _connect(self) -> None:
        self._handle_data(self._symbol)

    async def _disconnect(self) -> None:
        if self._transport:
            self._transport.close()

    async def _subscribe_quote_ticks(self, command: Any) -> None:
        line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        line.bind(("127.0.0.1", self._port))
        self._transport, _ = await self._loop.create_datagram_endpoint(lambda: Datagrams(self), sock=line)
        self._msgbus.send(START, command.instrument_id)

    async def _unsubscribe_quote_ticks(self, command: Any) -> None:
        pass

    def packet(self, data: bytes) -> None:
        """A packet of the feed. The tick's time is the packet's number, which the order will carry."""
        quotes = self._quotes
        number = quotes.tick(data)
        if not number:
            return
        bid, ask = quotes.bid or quotes.ask, quotes.ask or quotes.bid
        self._handle_data(
            QuoteTick(
                instrument_id=self._symbol.id,
                bid_price=Price(bid / 10_000, 4),
                ask_price=Price(ask / 10_000, 4),
                bid_size=_SIZE,
                ask_size=_SIZE,
                ts_event=number,
                ts_init=self._clock.timestamp_ns(),
            )
        )


class Datagrams(asyncio.DatagramProtocol):
    def __init__(self, client: DataClient) -> None:
        self.client = client

    def datagram_received(self, data: bytes, address: object) -> None:
        self.client.packet(data)


class ExecClient(LiveExecutionClient):  # type: ignore[misc]
    """SubmitOrder commands out as Enter Orders, their acceptance back in as events."""

    def __init__(self, config: ExecConfig, name: str, **engine: Any) -> None:
        super().__init__(
            client_id=ClientId(name),
            venue=VENUE,
            oms_type=OmsType.NETTING,
            account_type=AccountType.MARGIN,
            base_currency=USD,
            instrument_provider=InstrumentProvider(),
            config=config,
            **engine,
        )
        self._port = config.exchange_port
        self._name = config.symbol.encode().ljust(8)
        self._transport: asyncio.WriteTransport | None = None
        self._orders: list[Any] = []
        self._stream = bytearray()
        self._set_account_id(AccountId(f"{name}-001"))
        self._msgbus.register(endpoint=START, handler=self._ask_for_feed)

    async def _connect(self) -> None:
        while True:
            try:
                transport, _ = await self._loop.create_connection(lambda: Answers(self), "127.0.0.1", self._port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.write(_wire.LOGIN)
        self._transport = transport
        balance = AccountBalance(total=Money(10**9, USD), locked=Money(0, USD), free=Money(10**9, USD))
        self.generate_account_state([balance], [], True, self._clock.timestamp_ns())
        await self._await_account_registered(log_registered=False)

    async def _disconnect(self) -> None:
        if self._transport:
            self._transport.close()

    def _ask_for_feed(self, subscribed: InstrumentId) -> None:
        assert self._transport
        self._transport.write(_wire.ACCOUNT_QUERY)
        print("ready", flush=True)

    async def _submit_order(self, command: Any) -> None:
        assert self._transport
        order = command.order
        self.generate_order_submitted(
            order.strategy_id, order.instrument_id, order.client_order_id, self._clock.timestamp_ns()
        )
        self._orders.append(order)
        self._transport.write(_wire.enter_order(len(self._orders), self._name, int(order.client_order_id.value)))

    def answers(self, data: bytes) -> None:
        """Bytes from the exchange."""
        self._stream += data
        for user_ref, number in _wire.accepted(self._stream):
            order = self._orders[user_ref - 1]
            self.generate_order_accepted(
                order.strategy_id,
                order.instrument_id,
                order.client_order_id,
                VenueOrderId(str(number)),
                self._clock.timestamp_ns(),
            )


class Answers(asyncio.Protocol):
    """The order session; the program ends with it."""

    def __init__(self, client: ExecClient) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        self.client.answers(data)

    def connection_lost(self, error: Exception | None) -> None:
        # Not node.stop(), which waits for what may still come; nothing will.
        os._exit(0)


class DataFactory(LiveDataClientFactory):  # type: ignore[misc]
    @staticmethod
    def create(**arguments: Any) -> DataClient:
        return DataClient(**arguments)


class ExecFactory(LiveExecClientFactory):  # type: ignore[misc]
    @staticmethod
    def create(**arguments: Any) -> ExecClient:
        return ExecClient(**arguments)


class EveryTick(Strategy):  # type: ignore[misc]
    """Two averages of the mid price, and an order on each tick."""

    def __init__(self, symbol: str) -> None:
        super().__init__()
        self._id = InstrumentId(Symbol(symbol), VENUE)
        self._one = Quantity.from_int(1)
        self._fast = 0.0
        self._slow = 0.0

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self._id)

    def on_quote_tick(self, tick: QuoteTick) -> None:
        mid = (float(tick.bid_price) + float(tick.ask_price)) * 0.5
        self._fast += 2 / 11 * (mid - self._fast)
        self._slow += 2 / 51 * (mid - self._slow)
        side = OrderSide.BUY if self._fast > self._slow else OrderSide.SELL
        self.submit_order(
            self.order_factory.market(self._id, side, self._one, client_order_id=ClientOrderId(str(tick.ts_event)))
        )


def node(feed_port: int, exchange_port: int, symbol: str) -> TradingNode:
    """A node that is ready to be run."""
    name = VENUE.value
    made = TradingNode(
        TradingNodeConfig(
            trader_id=TraderId("BENCH-001"),
            logging=LoggingConfig(log_level="ERROR"),
            risk_engine=LiveRiskEngineConfig(max_order_submit_rate="1000000/00:00:01"),
            exec_engine=LiveExecEngineConfig(reconciliation=False),
            data_clients={name: DataConfig(feed_port=feed_port, symbol=symbol)},
            exec_clients={name: ExecConfig(exchange_port=exchange_port, symbol=symbol)},
        )
    )
    made.trader.add_strategy(EveryTick(symbol))
    made.add_data_client_factory(name, DataFactory)
    made.add_exec_client_factory(name, ExecFactory)
    made.build()
    return made


if __name__ == "__main__":
    feed_port, exchange_port, cpu, symbol = _wire.arguments(sys.argv)
    os.sched_setaffinity(0, {cpu})
    node(feed_port, exchange_port, symbol).run(raise_exception=True)
