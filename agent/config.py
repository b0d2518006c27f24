"""agent.toml: the typed configuration of one engine."""

import ipaddress
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from agent import toml_text
from agent.limits import Risk
from agent.protocols import formats
from agent.secret import read_secret
from agent.shm.place import NAME
from agent.symbols import MAX_EXCHANGE_NAME, MAX_NAME, MAX_SYMBOLS
from agent.toml_text import ConfigError as ConfigError
from agent.toml_text import Problem as Problem
from agent.toml_text import find_password, list_unusable, read_tables, read_text
from hosttune.refusals import Key, KeyRefused, SeveralRefused, check_all

if TYPE_CHECKING:
    FeedFormat = str
else:
    FeedFormat = Literal[formats.NAMES]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
#: Whole units of an order, as OUCH counts shares.
Size = Annotated[int, msgspec.Meta(ge=1, le=999_999)]
#: As long as Linux takes one (PATH_MAX), the zero behind it included.
FilePath = Annotated[str, msgspec.Meta(pattern=r"^[^\0]{0,4095}\Z")]
Symbol = Annotated[str, msgspec.Meta(pattern=rf"^[!-~]{{1,{MAX_NAME}}}\Z")]
ExchangeSymbol = Annotated[str, msgspec.Meta(pattern=rf"^[!-~]{{1,{MAX_EXCHANGE_NAME}}}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=rf"^{NAME}\Z")]


#: Characters of the name in OUCH's login: SoupBinTCP's Login Request.
MAX_USERNAME = 6
#: Bytes of the password there.
MAX_PASSWORD = 10
#: The systemd credential that holds the exchange's password (LoadCredential= of systemd.exec(5)).
CREDENTIAL = "exchange_password"


#: Of a network interface: dev_valid_name() of the kernel's net/core/dev.c.
Interface = Annotated[str, msgspec.Meta(pattern=r"^[^\0\s/:]{0,15}\Z")]
#: Addresses of senders: one, or several.
Source = str | Annotated[list[str], msgspec.Meta(max_length=8)]


def _check_ipv4(key: str, value: str) -> None:
    try:
        ipaddress.IPv4Address(value)
    except ValueError:
        raise ValueError(f"{key}: found {value!r}, allowed: an IPv4 address such as 127.0.0.1") from None


def _list_sources(source: Source) -> list[str]:
    """Returns the addresses of a source. Raises ValueError."""
    addresses = [source] if isinstance(source, str) else source
    for address in addresses:
        _check_ipv4("source", address)
        if ipaddress.IPv4Address(address).is_multicast:
            raise ValueError(f"source: found {address!r}, a multicast group; allowed: the address of a sender")
    return addresses


class Line(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """An address and a port: of the second feed, or of the request server. source: of the second feed, as of Feed."""

    address: str
    port: Port
    interface: Interface = ""
    source: Source = []

    def __post_init__(self) -> None:
        check_all(lambda: _check_ipv4("address", self.address), lambda: _list_sources(self.source))

    @property
    def sources(self) -> list[str]:
        """The addresses that packets may come from; none: any."""
        return _list_sources(self.source)


class Feed(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Where the MoldUDP64 feed arrives: address to bind, or a multicast group to join on interface; or a ring
    (a path), whose records are the packets. format of its messages: one of agent.protocols.formats.NAMES.

    source: addresses, at most 8, that packets may come from; none: any. session: of MoldUDP64, the only one that is
    read; "": the one that is seen first, until it ends or was silent for silence_ms. max_jump: messages that a packet
    may be ahead and be believed at once.
    b: the second feed of the same packets. request: the server that retransmits. A gap waits gap_wait_us for
    the other feed, then asks, and is given up after gap_limit_ms. start: the first sequence number wanted (1:
    all of the session, asked for where missed; 0: from wherever the feed is); default: 1 for itch, else 0.
    time_unit: of the exchange's times in quotes and trades; auto: told by their size.
    store: bytes for packets behind a gap. timestamps of the kernel or the card on each datagram. market: whose
    operational halts stop orders (itch): Q Nasdaq, B BX, X PSX.
    """

    address: str = ""
    port: Port | None = None
    ring: FilePath = ""
    format: FeedFormat = "binance"
    time_unit: Literal["auto", "ms", "us", "ns"] = "auto"
    interface: Interface = ""
    receive_buffer: Annotated[int, msgspec.Meta(ge=4096, le=1 << 30)] = 8 << 20
    b: Line | None = None
    request: Line | None = None
    gap_wait_us: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 1_000
    gap_limit_ms: Annotated[int, msgspec.Meta(ge=1, le=60_000)] = 1_000
    start: Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)] | None = None
    source: Source = []
    session: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{0,10}\Z")] = ""
    silence_ms: Annotated[int, msgspec.Meta(ge=100, le=3_600_000)] = 3_000
    max_jump: Annotated[int, msgspec.Meta(ge=0, le=1 << 32)] = 1_000
    store: Annotated[int, msgspec.Meta(ge=65536, le=1 << 30)] = 4 << 20
    timestamps: Literal["none", "kernel", "hardware"] = "none"
    market: Literal["Q", "B", "X"] = "Q"

    def __post_init__(self) -> None:
        if self.ring:
            if self.address or self.port or self.b or self.source:
                raise ValueError("ring: found with address, port, source or b; allowed: one way in, and request")
            self._check_request()
            return
        check_all(self._check_port, lambda: _check_ipv4("address", self.address), self._check_sources)

    def _check_port(self) -> None:
        if self.port is None:
            raise ValueError("port: missing, and required (or ring)")

    def _check_sources(self) -> None:
        _list_sources(self.source)
        self._check_request()
        if self.b and bool(self.b.sources) != bool(self.sources):
            raise ValueError("source: found for one line of two, allowed: both source and b.source, or neither")
        self._check_second_line()

    def _check_second_line(self) -> None:
        if self.b is None or (self.b.address, self.b.port) != (self.address, self.port):
            return
        if self.b.interface == self.interface or not (self.b.interface and self.interface):
            here = f"{self.address}:{self.port}"
            raise ValueError(f"b: found {here}, as in the first line; allowed: another, or an interface for each")

    def _check_request(self) -> None:
        if self.request and self.request.source:
            raise ValueError("request: found with a source, allowed: without; answers come from its address alone")

    @property
    def sources(self) -> list[str]:
        """The addresses that packets may come from; none: any."""
        return _list_sources(self.source)

    @property
    def first(self) -> int:
        """start, or its default."""
        return (1 if self.format == "itch" else 0) if self.start is None else self.start


class Book(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Capacity of the order books: open orders of all symbols together, price levels of a side of a symbol."""

    orders: Annotated[int, msgspec.Meta(ge=16, le=1 << 28)] = 1 << 20
    levels: Annotated[int, msgspec.Meta(ge=4, le=1 << 16)] = 2048


class Series(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The tick series: path of its file (default: the segment's, with .series), trades held per symbol; 0: none."""

    path: FilePath = ""
    capacity: Annotated[int, msgspec.Meta(ge=0, le=1 << 24)] = 0


class Journal(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """directory of NAME.journal (default: $STATE_DIRECTORY, else ~/.local/state/trading_agent), records that
    its ring holds while its writer is behind."""

    directory: FilePath = ""
    ring: Annotated[int, msgspec.Meta(ge=1024, le=1 << 24)] = 1 << 16


class Exchange(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """The SoupBinTCP/OUCH server and the login; a lost connection is opened again for reconnect_s seconds, then
    the engine ends. {shard} in the username is the shard's number. password_file: an absolute path; default: the
    systemd credential CREDENTIAL. read_password() reads it. symbols: the exchange's name of a symbol, where it is not
    the feed's."""

    address: str
    port: Port
    username: Annotated[str, msgspec.Meta(pattern=r"^[ -~]{1,12}\Z")]
    password_file: FilePath = ""
    reconnect_s: Annotated[float, msgspec.Meta(ge=0, le=86_400)] = 30.0
    symbols: Annotated[dict[Symbol, ExchangeSymbol], msgspec.Meta(max_length=MAX_SYMBOLS)] = {}

    def __post_init__(self) -> None:
        check_all(lambda: _check_ipv4("address", self.address), lambda: self.find_username(0))

    def find_username(self, shard: int) -> str:
        """Returns the name that a shard logs in with. Raises ValueError for one that OUCH has no room for."""
        username = self.username.replace("{shard}", str(shard))
        if len(username) > MAX_USERNAME:
            raise ValueError(f"username: found {username!r}, allowed: at most {MAX_USERNAME} characters")
        return username

    def find_name(self, symbol: str) -> str:
        """Returns what the exchange calls a symbol."""
        return self.symbols.get(symbol, symbol)


class Strategy(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """name: a built-in one, MODULE:OBJECT, or the path of a shared object; size in whole units; periods in
    book events; values: what else its init() is to know; timer_ms: how often on_timer is called, 0: never."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[^\0]{1,4095}\Z")] = "ema_cross"
    symbol: Symbol = ""
    symbols: Annotated[list[Symbol], msgspec.Meta(max_length=MAX_SYMBOLS)] = []
    size: Size
    fast: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 10
    slow: Annotated[float, msgspec.Meta(ge=1, le=1e9)] = 50
    values: Annotated[list[float], msgspec.Meta(max_length=8)] = []
    timer_ms: Annotated[int, msgspec.Meta(ge=0, le=3_600_000)] = 0

    def __post_init__(self) -> None:
        check_all(self._check_symbols, self._check_periods)

    def _check_symbols(self) -> None:
        if bool(self.symbol) == bool(self.symbols):
            raise ValueError("symbol: found both or neither of symbol and symbols; allowed: one of them")
        if len(set(self.traded)) != len(self.traded):
            raise ValueError(f"symbols: found one twice in {self.traded}, allowed: each once")

    def _check_periods(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast: found {self.fast:g}, allowed: less than slow ({self.slow:g})")

    @property
    def traded(self) -> list[str]:
        """All symbols, by index."""
        return self.symbols or [self.symbol]


class Engine(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """name of the engine; shm: path of its segment if not NAME.segment in $RUNTIME_DIRECTORY, else
    $XDG_RUNTIME_DIR/trading_agent, else /run/trading_agent; cache_dir of compiled strategies; busy_poll_us:
    SO_BUSY_POLL, 0 for none.

    Every yield_every_ms the loop sleeps yield_us when nothing is due, so that the kernel's own threads of
    its CPU get a turn although it runs SCHED_FIFO; 0 milliseconds: never. stamps: measure every stage, at a
    clock reading each. Every warm_us without a tick the hot path is touched, to stay in the caches; 0: never."""

    name: Name = "main"
    shm: FilePath = ""
    cache_dir: FilePath = ""
    busy_poll_us: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 50
    yield_every_ms: Annotated[int, msgspec.Meta(ge=0, le=60_000)] = 100
    yield_us: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 50
    stamps: bool = False
    warm_us: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 200


class Config(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    feed: Feed
    exchange: Exchange
    strategy: Strategy
    risk: Risk
    book: Book = Book()
    series: Series = Series()
    journal: Journal = Journal()
    engine: Engine = Engine()

    def __post_init__(self) -> None:
        check_all(lambda: _check_names(self.strategy, self.exchange, self.feed.format), self._check_limits)

    @property
    def exchange_names(self) -> list[str]:
        """What the exchange calls each symbol, by index."""
        return [self.exchange.find_name(symbol) for symbol in self.strategy.traded]

    def _check_limits(self) -> None:
        if found := self.risk.find_conflicts(self.strategy.size):
            raise SeveralRefused([KeyRefused(tuple(name_key(words).split(".")), words) for words in found])


def _check_names(strategy: Strategy, exchange: Exchange, form: str) -> None:
    """Raise SeveralRefused where symbols have no name of their own at the exchange, or none in the feed's format."""
    if refused := [*_list_strangers(strategy, exchange), *_list_nameless(strategy, exchange, form)]:
        raise SeveralRefused([KeyRefused(key, words) for key, words in refused])


def _list_strangers(strategy: Strategy, exchange: Exchange) -> Iterator[tuple[Key, str]]:
    for name in exchange.symbols:
        if name not in strategy.traded:
            from hosttune.config_errors import allow_names

            words = f"found {name!r}, which is no symbol of the strategy; {allow_names(name, strategy.traded)}"
            yield ("exchange", "symbols", name), f"exchange.symbols: {words}"


def _list_nameless(strategy: Strategy, exchange: Exchange, form: str) -> Iterator[tuple[Key, str]]:
    given, most, taken = exchange.symbols, formats.find(form).symbol, dict[str, str]()
    for index, symbol in enumerate(strategy.traded):
        key: Key = ("strategy", "symbol") if strategy.symbol else ("strategy", "symbols", index)
        shown = "strategy.symbol" if strategy.symbol else f"strategy.symbols[{index}]"
        name = exchange.find_name(symbol)
        if len(symbol) > most:
            yield key, f"{shown}: found {symbol!r}, allowed: at most {most} characters (feed.format {form})"
        elif len(name) > MAX_EXCHANGE_NAME:
            yield (
                key,
                f"{shown}: found {symbol!r}, {len(symbol)} characters, and orders have {MAX_EXCHANGE_NAME}; wanted the "
                f'exchange\'s name of it: exchange.symbols = {{"{symbol}" = "{symbol[:MAX_EXCHANGE_NAME]}"}}, say',
            )
        elif (other := taken.setdefault(name, symbol)) != symbol:
            yield (
                ("exchange", "symbols", symbol if symbol in given else other),
                f"exchange.symbols: found {name!r} for both {other!r} and {symbol!r}, allowed: each once",
            )


def load(path: Path, shard: int = 0) -> Config:
    """Returns the configuration in an agent.toml, for the shard with this number. Raises ConfigError, which names the
    file, the line and the key."""
    return parse(read_text(path), str(path), shard)


def parse(text: str, file: str, shard: int = 0) -> Config:
    """Returns the configuration in the text of an agent.toml, for the shard with this number; `file` names the text in
    an error. Raises ConfigError: the first of list_problems()."""
    tables = read_tables(text, file)
    if not (find_password(tables) or next(list_unusable(tables, ()), None)):
        try:
            config = msgspec.convert(tables, Config)
            config.exchange.find_username(shard)
            return config
        except ValueError:  # of which msgspec's is one
            pass
    raise ConfigError(next(list_problems(text, file, shard)))


def list_problems(text: str, file: str, shard: int = 0) -> Iterator[Problem]:
    """Yields all that is wrong with the text of an agent.toml by itself; nothing for one that parse() takes. Shows no
    password. Raises ConfigError for one that is not TOML, of which nothing else can be said."""
    from hosttune import config_errors

    tables = read_tables(text, file)

    def at(key: Key, words: str) -> Problem:
        return Problem(file, config_errors.find_toml_line(text, key) if key else None, name_key(words), words)

    if found := find_password(tables):
        yield at(*found)
        del tables["exchange"][found[0][1]]
    told = False
    for problem in toml_text.list_problems(Config, tables, at):
        told = True
        yield problem
    if not found and not told:
        try:
            msgspec.convert(tables, Config).exchange.find_username(shard)
        except ValueError as error:
            yield at(("exchange", "username"), f"exchange.{error}")


def name_key(words: str) -> str:
    """Returns the key, with dots, that a message begins with, or the table; "" if it does not."""
    found = re.match(r"(?:unknown key )?([a-z]+(?:\.[\w-]+)*)(?:\[\d+\])?(?=: |; | is missing| \S)", words)
    return found[1] if found and found[1].partition(".")[0] in Config.__struct_fields__ else ""


def read_password(exchange: Exchange) -> bytes:
    """Returns the password that an exchange is logged in to with: what is in exchange.password_file, which nobody but
    its owner (root or this user) can read, and nobody else can put another one in the place of, or in the systemd
    credential; a line end behind it does not count.

    Raises ConfigError, whose message never holds what is in the file.
    """
    try:
        password = read_secret("exchange.password_file", exchange.password_file, CREDENTIAL, MAX_PASSWORD)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    if password is None:
        raise ConfigError(
            "exchange.password_file: missing, and required where systemd hands over no credential (LoadCredential="
            f"{CREDENTIAL}:PATH in the unit, and --setenv CREDENTIALS_DIRECTORY for hosttune launch)"
        )
    return password
