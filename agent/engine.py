"""`agent run`: everything before and after the loop. Opens the feed socket and the segment, compiles
the strategy, freezes the garbage collector, then hands the thread to the compiled loop.
"""

import contextlib
import ctypes
import gc
import ipaddress
import mmap
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from agent import shm, soup
from agent.config import Config, Feed, default_cache_dir

_SO_RCVBUFFORCE = 33
_SO_BUSY_POLL = 46
_MCL_CURRENT, _MCL_FUTURE = 1, 2


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


def open_feed(feed: Feed, busy_poll_us: int) -> tuple[socket.socket, int]:
    """The bound UDP socket and its receive buffer's size in bytes as read back (the kernel doubles
    what is asked for, to pay for its own overhead). Raises RunError."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, feed.receive_buffer)
    except PermissionError:  # needs CAP_NET_ADMIN; else up to net.core.rmem_max
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, feed.receive_buffer)
    if busy_poll_us:
        with contextlib.suppress(OSError):  # more than net.core.busy_read needs CAP_NET_ADMIN
            sock.setsockopt(socket.SOL_SOCKET, _SO_BUSY_POLL, busy_poll_us)
    try:
        if ipaddress.IPv4Address(feed.address).is_multicast:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            index = socket.if_nametoindex(feed.interface) if feed.interface else 0
            member = struct.pack("=4s4si", socket.inet_aton(feed.address), b"\0" * 4, index)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        elif feed.interface:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, feed.interface.encode())
        sock.bind((feed.address, feed.port))
    except OSError as error:
        sock.close()
        on = f" on {feed.interface}" if feed.interface else ""
        raise RunError(f"feed {feed.address}:{feed.port}{on}: {error.strerror}") from None
    return sock, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


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
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise RunError(f"engine.shm: {path}: {error.strerror}") from None


def lock_memory() -> bool:
    """mlockall, now and for later mappings, where the limit allows all of it. True if locked."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY:
        return False
    return bool(ctypes.CDLL(None).mlockall(_MCL_CURRENT | _MCL_FUTURE) == 0)


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
    gc.collect()
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
        strategy.load(name).compile()
        lines.append(f"{name}: compiled into {directory} in {1e3 * (time.perf_counter() - begun):.0f} ms")
    return "\n".join(lines) + "\n"


def run(config: Config, *, once: bool) -> tuple[shm.Segment, str, int]:
    """Run the engine until it ends: (last reading of the segment, why it ended, exit code).

    once: end with the exchange's session instead of waiting for the next one. Raises RunError,
    and StrategyError of agent.strategy.
    """
    use_cache(config.engine.cache_dir)
    from agent import _engine, strategy

    wanted = config.strategy
    on_event, state = strategy.prepare(strategy.load(wanted.name), wanted.fast, wanted.slow, wanted.size)
    feed, receive_buffer = open_feed(config.feed, config.engine.busy_poll_us)
    path = Path(config.engine.shm) if config.engine.shm else shm.path_of(config.engine.name)
    segment = create_segment(path, _engine.SHM_SIZE)
    engine = _engine.Engine(
        segment,
        feed=feed.fileno(),
        address=socket.inet_aton(config.exchange.address),
        port=config.exchange.port,
        login=soup.login_request(config.exchange.username, config.exchange.password),
        symbol=wanted.symbol.encode(),
        on_event=on_event,
        state=state,
        max_size=config.risk.max_size,
        max_notional=config.risk.max_notional,
        max_orders_per_second=config.risk.max_orders_per_second,
        burst=config.risk.burst or config.risk.max_orders_per_second,
        once=once,
        yield_every_ns=config.engine.yield_every_ms * 1_000_000,
        yield_ns=config.engine.yield_us * 1_000,
    )
    started = shm.start_time(os.getpid())
    assert started is not None
    engine.identify(os.getpid(), started, time.time_ns(), shm.boot_id().encode(), receive_buffer)
    locked = lock_memory()
    line = (
        f"ready: feed {config.feed.address}:{config.feed.port} (receive buffer {receive_buffer} bytes), "
        f"exchange {config.exchange.address}:{config.exchange.port}, strategy {wanted.name} on {wanted.symbol}, "
        f"shm {path}, memory {'locked' if locked else 'not locked by the agent'}"
    )
    if receive_buffer < 2 * config.feed.receive_buffer:
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
    feed.close()
    return shm.read(path), why, code
