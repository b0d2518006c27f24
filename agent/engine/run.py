"""`agent run`: everything before and after the loop. Opens the feed and the segment, compiles the strategy, freezes the
garbage collector, then hands the thread to the compiled loop.
"""

import contextlib
import gc
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.config import Config, Exchange, read_password
from agent.engine import feed_problems, file_problems
from agent.engine.errors import RunError
from agent.engine.feed_sockets import attach_ring, open_feed, pack_sources
from agent.engine.journal_writer import open_journal
from agent.engine.restore import restore_limits, restore_state
from agent.engine.shared_memory import create_segment, create_series, refuse_running
from agent.engine.systemd import notify
from agent.errors import quiet_interrupts
from agent.shm import _segment, identity, place
from agent.shm import segment as shm
from agent.strategy.cache import use_cache
from hosttune.output import escape, print_message, write_out


class Shard(msgspec.Struct, frozen=True):
    """This engine's part: number of count. Symbol i is its own when i modulo count is number."""

    number: int = 0
    count: int = 1

    def name(self, base: str) -> str:
        """base, with the shard's number behind it where there is more than one."""
        return base if self.count == 1 else f"{base}.{self.number}"

    def traded(self, symbols: list[str]) -> list[bool]:
        """For each symbol, whether it is this engine's. Raises RunError when none is."""
        traded = [i % self.count == self.number for i in range(len(symbols))]
        if not any(traded):
            raise RunError(f"--shard: found {self.number}/{self.count} with {len(symbols)} symbols: none would be left")
        return traded

    def username(self, exchange: Exchange) -> str:
        """The name to log in with. Raises RunError for one that OUCH has no room for, and for one that is every
        shard's: each would be told of the others' orders, and end the others' sessions."""
        if self.count > 1 and "{shard}" not in exchange.username:
            raise RunError(
                f"exchange.username: found {exchange.username!r} for {self.count} shards, allowed: a name of its own "
                "for each, by {shard} in it"
            )
        try:
            return exchange.find_username(self.number)
        except ValueError as error:
            raise RunError(f"exchange.{error}") from None

    def place_files(self, config: Config) -> Config:
        """Returns the configuration with the shard's number in the paths of the segment and of the series, where it
        gives them."""
        engine, series = config.engine, config.series
        return msgspec.structs.replace(
            config,
            engine=msgspec.structs.replace(engine, shm=self._number(engine.shm)),
            series=msgspec.structs.replace(series, path=self._number(series.path)),
        )

    def _number(self, path: str) -> str:
        if not path or self.count == 1:
            return path
        given = Path(path)
        return str(given.with_name(f"{self.name(given.stem)}{given.suffix}"))


_WHOLE = Shard()


@contextlib.contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep the garbage collector from what is there already, and from running at all."""
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def create_engine(
    config: Config,
    *,
    traded: list[bool],
    username: str,
    password: bytes,
    prepared: Any,
    segment: Any,
    lines: list[socket.socket | None],
    once: bool,
) -> Any:
    """Returns the _engine.Engine that the configuration describes, with its limits set.

    traded, username: this shard's. password: the exchange's. prepared: the strategy's table and state. segment: the
    mapped segment. lines: the feed's sockets.
    Raises RunError when the host does not have the memory.
    """
    from agent.engine import _engine

    symbols, feed = config.strategy.traded, config.feed
    try:
        engine = _engine.Engine(
            segment,
            strategy=prepared.table,
            state=prepared.state,
            symbols=[symbol.encode() for symbol in symbols],
            traded=traded,
            exchange_names=[name.encode() for name in config.exchange_names],
            feed_format=feed.format,
            time_unit=feed.time_unit,
            feeds=tuple(line.fileno() if line else -1 for line in lines),
            address=socket.inet_aton(config.exchange.address),
            port=config.exchange.port,
            user=username.encode(),
            password=password,
            orders=config.book.orders,
            levels=config.book.levels,
            store=feed.store,
            wait_ns=feed.gap_wait_us * 1_000 if feed.b or feed.request else 0,
            limit_ns=feed.gap_limit_ms * 1_000_000,
            start=feed.first,
            sources=pack_sources(feed),
            feed_session=feed.session.encode(),
            silence_ns=feed.silence_ms * 1_000_000,
            max_jump=feed.max_jump,
            once=once,
            stamps=config.engine.stamps,
            receive_stamps=feed.timestamps != "none",
            give_up_after_ns=int(config.exchange.reconnect_s * 1e9),
            yield_every_ns=config.engine.yield_every_ms * 1_000_000,
            yield_ns=config.engine.yield_us * 1_000,
            timer_ns=config.strategy.timer_ms * 1_000_000,
            warm_ns=config.engine.warm_us * 1_000,
            market_code=feed.market.encode(),
        )
    except MemoryError as error:
        raise RunError(f"{error}, which this host does not give") from None
    engine.limits(**config.risk.words)
    return engine


def lock_memory() -> bool:
    """Lock the process's memory where the limit allows all of it. Returns False if it is not locked."""
    from agent.engine import _engine

    return resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY and _engine.lock_memory()


def describe_start(config: Config, traded: list[bool], path: Path, receive_buffer: int, locked: bool) -> str:
    """Returns the line that says that the engine is ready, and with what."""
    feed, exchange = config.feed, config.exchange
    source = feed.ring or f"{feed.address}:{feed.port} (receive buffer {receive_buffer} bytes)"
    symbols = ", ".join(s for s, ours in zip(config.strategy.traded, traded, strict=True) if ours)
    return (
        f"ready: feed {source}, exchange {exchange.address}:{exchange.port}, strategy {config.strategy.name} "
        f"on {symbols}, shm {path}, memory {'locked' if locked else 'not locked by the agent'}"
    )


def find_segment(wanted: str, name: str) -> Path:
    """Returns the path of the segment to make: the configuration's, else that of this user's engine called name, whose
    directory is made where it is missing. Raises RunError."""
    if wanted:
        return Path(wanted)
    try:
        place.make_own_directory()
    except OSError as error:
        raise RunError(
            f"{place.explain(error, place.own_directory())}; the agent's files in shared memory lie there: "
            "$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR/trading_agent or engine.shm say where else"
        ) from None
    return shm.path_of(name)


def wait_for_go(announce: Callable[[], None]) -> None:
    """Announce that the engine is ready, and wait for SIGUSR1. Raises RunError for SIGTERM and SIGINT.

    Until then the loop has not begun: no connection, and no order. Later ones of the signal do nothing.
    """
    awaited = {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    try:
        announce()
        caught = signal.sigwait(awaited)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if caught != signal.SIGUSR1:
        raise RunError(f"asked to end ({signal.Signals(caught).name}) before SIGUSR1 let it begin: no order was sent")


def run(config: Config, *, once: bool, shard: Shard = _WHOLE, hold: bool = False) -> tuple[shm.Segment, str, int]:
    """Run the engine until it ends. Returns the last reading of the segment, why the engine ended, and the exit code.

    once: end with the exchange's session instead of waiting for the next one. hold: begin when SIGUSR1 comes. Raises
    RunError, ConfigError, StrategyError of agent.strategy, and JournalError of agent.journal.
    """
    config = shard.place_files(config)
    use_cache(config.engine.cache_dir)
    with quiet_interrupts():
        from agent import strategy

    wanted, symbols, feed = config.strategy, config.strategy.traded, config.feed
    traded = shard.traded(symbols)
    username = shard.username(config.exchange)
    password = read_password(config.exchange)
    with quiet_interrupts():
        loaded = strategy.load(wanted.name)
    prepared = strategy.prepare(loaded, wanted.fast, wanted.slow, wanted.size, symbols, wanted.values)
    name = shard.name(config.engine.name)
    path = find_segment(config.engine.shm, name)
    for problem in (*feed_problems.list_problems(feed), *file_problems.list_problems(config, name)):
        raise RunError(problem)
    with contextlib.ExitStack() as open_until_the_end:
        lines, receive_buffer = open_feed(feed, config.engine.busy_poll_us)
        for line in filter(None, lines):
            open_until_the_end.enter_context(line)
        refuse_running(path)
        ring, state = open_until_the_end.enter_context(open_journal(config.journal, name, path, symbols))
        new = open_until_the_end.enter_context(create_segment(path, _segment.size(len(symbols))))
        engine = create_engine(
            config,
            traded=traded,
            username=username,
            password=password,
            prepared=prepared,
            segment=new.memory,
            lines=lines,
            once=once,
        )
        engine.identify(*identity.own(), time.time_ns(), identity.read_boot_id().encode(), receive_buffer)
        series = create_series(config.series, path, symbols)
        engine.attach_memory(journal=ring, feed=attach_ring(feed), series=series)
        restore_state(engine, state)
        left, unread = new.put_in_place()
        called = str(path) if config.engine.shm else name
        for text in restore_limits(engine, state, left, config.risk.words, called, unread=unread):
            print_message(escape(f"agent: {text}"))
        start = escape(describe_start(config, traded, path, receive_buffer, lock_memory()))
        if not feed.ring and receive_buffer < 2 * feed.receive_buffer:
            print_message(
                f"agent: the receive buffer is {receive_buffer // 2} bytes, {feed.receive_buffer} were asked "
                "for: raise net.core.rmem_max, or give the agent CAP_NET_ADMIN"
            )

        def announce() -> None:
            write_out(start + "\n")
            notify("READY=1\nSTATUS=" + start)

        with quiet_collector():
            why, code = engine.run((lambda: wait_for_go(announce)) if hold else announce)
        notify("STOPPING=1\nSTATUS=" + escape(why))
    return shm.read(path), why, code
