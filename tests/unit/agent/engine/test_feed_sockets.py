"""The feed's sockets: opened as configured, and none of them left open when one fails."""

import contextlib
import os
import socket
from pathlib import Path

import pytest

from agent.config import Feed, Line
from agent.engine.errors import RunError
from agent.engine.feed_sockets import attach_ring, open_feed
from agent.shm.ring import Ring

#: connect(2) to it is refused without SO_BROADCAST.
BROADCAST = "255.255.255.255"


def descriptors() -> set[str]:
    """The descriptors of this process, and what each of them is; without that of the listing itself."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def test_lines_and_request() -> None:
    feed = Feed(address="127.0.0.1", port=free_port(), b=Line(address="127.0.0.2", port=free_port()),
                request=Line(address="127.0.0.1", port=free_port()), receive_buffer=65536)  # fmt: skip
    sockets, size = open_feed(feed, 50)
    a, b, request = sockets
    assert a and b and request
    with a, b, request:
        assert a.getsockname() == ("127.0.0.1", feed.port)
        assert feed.b and b.getsockname() == ("127.0.0.2", feed.b.port)
        assert feed.request and request.getpeername() == ("127.0.0.1", feed.request.port)
        assert size == 2 * 65536
        assert not any(sock.getblocking() or sock.get_inheritable() for sock in (a, b, request))


def test_one_line() -> None:
    (a, b, request), _ = open_feed(Feed(address="127.0.0.1", port=free_port()), 0)
    assert a and b is None and request is None
    a.close()


def test_a_multicast_group() -> None:
    """Two engines of one host read it, so that its port may be taken twice."""
    feed = Feed(address="239.255.77.1", port=free_port(), interface="lo")
    (one, _, _), _ = open_feed(feed, 0)
    (two, _, _), _ = open_feed(feed, 0)
    assert one and two
    with one, two, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        sender.sendto(b"packet", (feed.address, feed.port or 0))
        for sock in (one, two):
            sock.settimeout(5)
            assert sock.recv(16) == b"packet"


def feed_that_fails(part: str) -> tuple[Feed, str]:
    """A feed of which one part cannot be opened, and what the error begins with."""
    good, bad = Line(address="127.0.0.1", port=free_port()), "192.0.2.1"  # RFC 5737: no host's own address
    no_interface, no_group = (Line(address=a, port=1, interface="none0") for a in ("127.0.0.1", "239.1.1.1"))
    feeds = {
        "a": Feed(address=bad, port=26400),
        "b": Feed(address="127.0.0.1", port=free_port(), b=Line(address=bad, port=26400)),
        "interface": Feed(address="127.0.0.1", port=free_port(), b=no_interface),
        "group": Feed(address="127.0.0.1", port=free_port(), b=no_group),
        "request": Feed(address="127.0.0.1", port=free_port(), b=good, request=Line(address=BROADCAST, port=26400)),
    }
    return feeds[part], {
        "a": f"feed {bad}:26400: ",
        "b": f"feed.b {bad}:26400: ",
        "interface": "feed.b 127.0.0.1:1 on none0: ",
        "group": "feed.b 239.1.1.1:1 on none0: ",
        "request": f"feed.request {BROADCAST}:26400: ",
    }[part]


@pytest.mark.parametrize("part", ["a", "b", "interface", "group", "request"])
def test_no_socket_is_left_open_when_one_fails(part: str) -> None:
    feed, message = feed_that_fails(part)
    before = descriptors()
    with pytest.raises(RunError, match=f"^{message}"):
        open_feed(feed, 0)
    assert descriptors() == before


def test_stamps_that_the_socket_refuses_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.engine.feed_sockets._STAMP_SOFTWARE", 1 << 30)  # no flag of the kernel's
    feed = Feed(address="127.0.0.1", port=free_port(), timestamps="kernel")
    before = descriptors()
    with pytest.raises(RunError, match=rf"^feed 127.0.0.1:{feed.port}: "):
        open_feed(feed, 0)
    assert descriptors() == before


def test_a_ring_instead_of_sockets(tmp_path: Path) -> None:
    path = tmp_path / "feed"
    feed = Feed(ring=str(path))
    assert open_feed(feed, 0) == ([None, None, None], 0)
    with pytest.raises(RunError, match=r"^feed\.ring: .*; the process that writes to it makes it, and starts first$"):
        attach_ring(feed)
    with Ring.create(path, 4096), attach_ring(feed) as ring:
        assert ring.role == "reader"
    assert attach_ring(Feed(address="127.0.0.1", port=1)) is None
