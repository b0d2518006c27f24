"""`agent run`: everything before and after the loop. Opens the feed socket and the segment, compiles
the strategy, freezes the garbage collector, then hands the thread to the compiled loop.
"""

import contextlib
import gc
import ipaddress
import mmap
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from agent.config import Config, Feed, Line, Series, default_cache_dir
from agent.journal import file as journal
from agent.shm import segment as shm

_SO_RCVBUFFORCE = 33
_SO_BUSY_POLL = 46
_SO_TIMESTAMPING = 37
_STAMP_SOFTWARE = 1 << 3 | 1 << 4  # SOF_TIMESTAMPING_RX_SOFTWARE, _SOFTWARE
_STAMP_HARDWARE = 1 << 2 | 1 << 6 | _STAMP_SOFTWARE  # _RX_HARDWARE, _RAW_HARDWARE: the card's, else the kernel's


class RunError(Exception):
    """The engine cannot start; the message says what is in the way."""


def use_cache(directory: str) -> Path:
    """Point Numba's on-disk cache at directory (created, 0700). Before Numba is imported.

    Raises RunError if it cannot be created or written.
    """
    path = Path(directory or default_cache_dir())
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"engine.cache_dir: {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        print(
            f"agent: {path} cannot be written: a strategy that is not cached there yet is compiled anew at every start",
            file=sys.stderr,
        )
    os.environ["NUMBA_CACHE_DIR"] = str(path)
    # NumPy's BLAS would start a thread per CPU on import; the process is to have one.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return path


def open_line(key: str, line: Feed | Line, receive_buffer: int, busy_poll_us: int) -> socket.socket:
    """A UDP socket bound to an address, or joined to a multicast group. Raises RunError, which names `key`."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer)
    except PermissionError:  # needs CAP_NET_ADMIN; else up to net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if busy_poll_us:
        with contextlib.suppress(OSError):  # more than net.core.busy_read needs CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL, busy_poll_us)
    try:
        if ipaddress.IPv4Address(line.address).is_multicast:
            # Several engines of one host read the same group.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            index = socket.if_nametoindex(line.interface) if line.interface else 0
            member = struct.pack("=4s4si", socket.inet_aton(line.address), b"\0" * 4, index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        elif line.interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, line.interface.encode())
        sock.bind((line.address, line.port))
    except OSError as error:
        sock.close()
        on = f" on {line.interface}" if line.interface else ""
        raise RunError(f"{key} {line.address}:{line.port}{on}: {error.strerror}") from None
    return sock


def open_feed(feed: Feed, busy_poll_us: int) -> tuple[list[socket.socket | None], int]:
    """The sockets of line A, line B and the request server, None where there is none, and the receive buffer's
    size in bytes as read back (the kernel doubles what is asked for, to pay for its own overhead). Raises RunError."""
    if feed.ring:
        return [None, None, None], 0
    a = open_line("feed", feed, feed.receive_buffer, busy_poll_us)
    b = open_line("feed.b", feed.b, feed.receive_buffer, busy_poll_us) if feed.b else None
    request = None
    if feed.request:
        request = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        with contextlib.suppress(PermissionError):
            request.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, feed.receive_buffer)
        try:
            request.connect((feed.request.address, feed.request.port))
        except OSError as error:
            raise RunError(f"feed.request {feed.request.address}:{feed.request.port}: {error.strerror}") from None
    if feed.timestamps != "none":
        flags = _STAMP_SOFTWARE if feed.timestamps == "kernel" else _STAMP_HARDWARE
        for sock in filter(None, (a, b)):
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING, flags)
    return [a, b, request], a.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def create_segment(path: Path, size: int) -> mmap.mmap:
    """A fresh segment of `size` zero bytes, mapped and backed by memory.

    One left by an engine that has ended is replaced. Raises RunError when the engine of an
    existing one still runs, or the file cannot be made.
    """
    try:
        old = shm.read(path)
        if old.alive and old.state != "stopped":
            raise RunError(f"engine.name: {path} belongs to a running agent, pid {old.pid}")
    except shm.SegmentError:
        pass
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            os.posix_fallocate(descriptor, 0, size)
            return mmap.mmap(descriptor, size, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"engine.shm: {path}: {error.strerror}") from None


def notify(message: str) -> None:
    """Tell systemd (sd_notify(3)): one datagram to $NOTIFY_SOCKET, if it is set."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, contextlib.suppress(OSError):
        sock.sendto(message.encode(), address)


@contextlib.contextmanager
def _quiet_collector() -> Iterator[None]:
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def warm(config_cache_dir: str, names: list[str]) -> str:
    """Compile strategies into the cache; returns one line per strategy."""
    directory = use_cache(config_cache_dir)
    from agent import strategy

    lines = []
    for name in names or strategy.built_in():
        begun = time.perf_counter()
        try:
            strategy.load(name)
        except strategy.StrategyError:
            if names:
                raise
            continue  # one that was not built here (Rust)
        took = 1e3 * (time.perf_counter() - begun)
        lines.append(f"{name}: ready in {directory} in {took:.0f} ms")
    return "\n".join(lines) + "\n"


class Shard(msgspec.Struct, frozen=True):
    """This engine's part: number of count. Symbol i is its own when i modulo count is number."""

    number: int = 0
    count: int = 1

    def name(self, base: str) -> str:
        """base, with the shard's number behind it where there is more than one."""
        return base if self.count == 1 else f"{base}.{self.number}"


_WHOLE = Shard()
#: Seconds for the journal's writer of an engine that was killed to write what is left, and to end.
_WRITER_ENDS = 10.0
#: Seconds for the writer to write what is left when the engine is done.
_WRITER_EMPTIES = 30.0


def _start_writer(ring: Path, path: Path) -> int:
    """The journal's writer, a process of its own at ordinary priority, and on any CPU but the engine's where the kernel
    allows it: its number. All that is done from here. With the engine's real-time priority its start would come before
    the engine's, and what is left to the writer itself on the engine's CPU may never get to run. Raises RunError."""
    # The launcher's lease ends with the engine.
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        if descriptor > 2:
            with contextlib.suppress(OSError):  # the listing's own is closed
                os.set_inheritable(descriptor, False)
    try:
        writer = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "agent.journal.writer", str(ring), str(path), str(os.getpid())],
            {k: v for k, v in os.environ.items() if k not in ("LD_PRELOAD", "NOTIFY_SOCKET")},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
            scheduler=(os.SCHED_OTHER, os.sched_param(0)),
        )
    except OSError as error:
        raise RunError(f"journal: its writer could not be started: {error.strerror}") from None
    every, engine = set(range(os.cpu_count() or 1)), os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        os.sched_setaffinity(writer, every - engine or every)
    return writer


def _end_writer(writer: int) -> None:
    """Ask the journal's writer to empty the ring and to end, and wait for it."""
    handle = os.pidfd_open(writer)
    os.kill(writer, signal.SIGTERM)
    if not select.select([handle], [], [], _WRITER_EMPTIES)[0]:
        os.kill(writer, signal.SIGKILL)
    os.close(handle)
    os.waitpid(writer, 0)


def _drain(ring: Any, path: Path) -> None:
    """What is left in the journal's ring, into its file. Raises RunError: it stays in the ring."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            while journal.drain(ring, descriptor):
                pass
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"journal: {path}: {error.strerror}; what it lacks is kept in {ring.path}") from None


@contextlib.contextmanager
def _journal(config: Config, name: str, segment: Path, symbols: list[str]) -> Iterator[tuple[Any, journal.State]]:
    """The journal's ring for the engine to write, and what the journal says so far. When the engine is done its
    writer is asked to empty the ring and is waited for."""
    from agent.shm.ring import Ring, RingError, RingHeld

    directory = Path(config.journal.directory) if config.journal.directory else journal.default_directory()
    path = directory / f"{name}.journal"
    ring_path = segment.with_name(segment.name + shm.JOURNAL)
    journal.create(path, symbols)
    try:
        if ring_path.exists():
            # What an engine that was killed had said, and its writer had not written. That ends by itself.
            limit = time.monotonic() + _WRITER_ENDS
            while True:
                try:
                    left = Ring.attach(ring_path, "reader")
                    break
                except RingHeld:
                    if time.monotonic() > limit:
                        raise
                    time.sleep(0.01)
            with left:
                _drain(left, path)
            ring_path.unlink()
        ring = Ring.create(ring_path, config.journal.ring * journal.RECORD.size, record=journal.RECORD.size)
    except (RingError, ValueError, OSError) as error:
        raise RunError(f"journal: {ring_path}: {error}") from None
    _, records = journal.read(path)
    state = journal.rebuild(records)
    writer = _start_writer(ring_path, path)
    try:
        yield ring, state
    finally:
        _end_writer(writer)
        # systemd stops both at once: the writer may have been the first to go.
        ring.close()
        with Ring.attach(ring_path, "reader") as left:
            _drain(left, path)
        ring_path.unlink()


def run(config: Config, *, once: bool, shard: Shard = _WHOLE) -> tuple[shm.Segment, str, int]:
    """Run the engine until it ends: (last reading of the segment, why it ended, exit code).

    once: end with the exchange's session instead of waiting for the next one. Raises RunError, StrategyError of
    agent.strategy, and JournalError of agent.journal.
    """
    use_cache(config.engine.cache_dir)
    from agent import strategy
    from agent.engine import _engine

    wanted, symbols = config.strategy, config.strategy.traded
    traded = [i % shard.count == shard.number for i in range(len(symbols))]
    if not any(traded):
        raise RunError(f"--shard: found {shard.number}/{shard.count} with {len(symbols)} symbols: none would be left")
    username = config.exchange.username.replace("{shard}", str(shard.number))
    if len(username) > 6:
        raise RunError(f"exchange.username: found {username!r}, allowed: at most 6 characters")
    prepared = strategy.prepare(
        strategy.load(wanted.name), wanted.fast, wanted.slow, wanted.size, len(symbols), wanted.values
    )
    lines, receive_buffer = open_feed(config.feed, config.engine.busy_poll_us)
    name = shard.name(config.engine.name)
    path = Path(config.engine.shm) if config.engine.shm else shm.path_of(name)
    segment = create_segment(path, _engine.shm_size(len(symbols)))
    try:
        engine = _engine.Engine(
            segment,
            strategy=prepared.table,
            state=prepared.state,
            symbols=[symbol.encode() for symbol in symbols],
            traded=traded,
            feed_format=config.feed.format,
            feeds=tuple(line.fileno() if line else -1 for line in lines),
            address=socket.inet_aton(config.exchange.address),
            port=config.exchange.port,
            user=username.encode(),
            password=config.exchange.password.encode(),
            orders=config.book.orders,
            levels=config.book.levels,
            store=config.feed.store,
            wait_ns=config.feed.gap_wait_us * 1_000 if config.feed.b or config.feed.request else 0,
            limit_ns=config.feed.gap_limit_ms * 1_000_000,
            start=config.feed.first,
            once=once,
            stamps=config.engine.stamps,
            receive_stamps=config.feed.timestamps != "none",
            give_up_after_ns=int(config.exchange.reconnect_s * 1e9),
            yield_every_ns=config.engine.yield_every_ms * 1_000_000,
            yield_ns=config.engine.yield_us * 1_000,
            timer_ns=wanted.timer_ms * 1_000_000,
            warm_ns=config.engine.warm_us * 1_000,
        )
    except MemoryError as error:
        raise RunError(f"{error}, which this host does not give") from None
    started = shm.start_time(os.getpid())
    assert started is not None
    engine.limits(**config.risk.limits)
    engine.identify(os.getpid(), started, time.time_ns(), shm.boot_id().encode(), receive_buffer)
    with _journal(config, name, path, symbols) as (ring, state):
        engine.use(journal=ring, feed=_feed_ring(config.feed), series=_series(config.series, path, symbols))
        engine.restore(
            reference=state.reference,
            positions=sorted(state.positions.items()),
            open_orders=[
                (o.id, o.symbol, o.side, o.leaves, o.price, o.tag, o.original, o.filled, o.accepted)
                for o in state.open_orders.values()
            ],
            session=state.session,
            sequence=state.sequence,
            queries=state.queries,
            entries=state.entries,
        )
        # Where the limit allows all of it.
        locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY and _engine.lock_memory()
        source = config.feed.ring or f"{config.feed.address}:{config.feed.port} (receive buffer {receive_buffer} bytes)"
        line = (
            f"ready: feed {source}, exchange {config.exchange.address}:{config.exchange.port}, strategy {wanted.name} "
            f"on {', '.join(s for s, ours in zip(symbols, traded, strict=True) if ours)}, "
            f"shm {path}, memory {'locked' if locked else 'not locked by the agent'}"
        )
        if not config.feed.ring and receive_buffer < 2 * config.feed.receive_buffer:
            print(
                f"agent: the receive buffer is {receive_buffer // 2} bytes, {config.feed.receive_buffer} were asked "
                "for: raise net.core.rmem_max, or give the agent CAP_NET_ADMIN",
                file=sys.stderr,
            )
        with _quiet_collector():
            print(line, flush=True)
            notify("READY=1\nSTATUS=" + line)
            why, code = engine.run()
        notify("STOPPING=1\nSTATUS=" + why)
    for line_socket in filter(None, lines):
        line_socket.close()
    return shm.read(path), why, code


def _series(wanted: Series, segment: Path, symbols: list[str]) -> Any:
    if not wanted.capacity:
        return None
    from agent.shm import series

    path = Path(wanted.path) if wanted.path else segment.with_name(segment.name + shm.SERIES)
    try:
        return series.create(path, symbols, wanted.capacity)
    except series.SeriesError as error:
        raise RunError(f"series.path: {error}") from None


def _feed_ring(feed: Feed) -> Any:
    if not feed.ring:
        return None
    from agent.shm.ring import Ring, RingError

    try:
        return Ring.attach(Path(feed.ring), "reader")
    except (RingError, OSError) as error:
        raise RunError(f"feed.ring: {error}") from None
