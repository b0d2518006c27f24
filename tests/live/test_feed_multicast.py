"""A multicast feed between two networks of a namespace of its own: only the configured group, interface and source come
in."""

import json
import os
import shutil
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root (sudo .venv/bin/pytest tests/live)"),
    pytest.mark.skipif(not (shutil.which("ip") and shutil.which("unshare")), reason="needs iproute2 and util-linux"),
]

#: feed0 and other0 are this host's ends of two networks, feed1 and other1 those of the senders.
_NETWORK = """
ip link set lo up
for n in feed other; do
    ip link add ${n}0 type veth peer name ${n}1
    ip link set ${n}0 up; ip link set ${n}1 up
done
ip addr add 10.1.0.1/24 dev feed0;  ip addr add 10.1.0.2/24 dev feed1; ip addr add 10.1.0.3/24 dev feed1
ip addr add 10.2.0.1/24 dev other0; ip addr add 10.2.0.2/24 dev other1
for n in all feed0 feed1 other0 other1; do
    echo 0 >/proc/sys/net/ipv4/conf/$n/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/$n/accept_local
done
exec "$@"
"""

#: Prints what the feed's socket was given of all that was sent.
_SEND = """
import json, socket, struct, sys, time
from agent.config import Feed
from agent.engine.feed_sockets import open_feed

GROUP, OTHER, PORT = "239.1.1.1", "239.1.1.2", 26400
feed = Feed(address=GROUP, port=PORT, interface="feed0", source=json.loads(sys.argv[1]))
(line, _, _), _ = open_feed(feed, 0)
bystander = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)   # another program of this host
for group, interface in ((GROUP, "other0"), (OTHER, "feed0")):
    member = struct.pack("=4s4si", socket.inet_aton(group), bytes(4), socket.if_nametoindex(interface))
    bystander.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
for _ in range(3):
    for group in (GROUP, OTHER):
        for interface, source in (("feed1", "10.1.0.2"), ("feed1", "10.1.0.3"), ("other1", "10.2.0.2")):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.bind((source, 0))
                index = struct.pack("=4s4si", bytes(4), bytes(4), socket.if_nametoindex(interface))
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, index)
                sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 0)
                sender.sendto(f"{group} {interface} {source}".encode(), (group, PORT))
    time.sleep(0.1)
got = set()
try:
    while True:
        got.add(line.recv(64).decode())
except BlockingIOError:
    print(json.dumps(sorted(got)))
"""


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ([], ["239.1.1.1 feed1 10.1.0.2", "239.1.1.1 feed1 10.1.0.3"]),
        ("10.1.0.2", ["239.1.1.1 feed1 10.1.0.2"]),
        (["10.1.0.3", "10.2.0.2"], ["239.1.1.1 feed1 10.1.0.3"]),
        ("10.9.9.9", []),
    ],
)
def test_only_group_interface_and_source_come_in(source: str | list[str], expected: list[str]) -> None:
    run = subprocess.run(
        ["unshare", "--net", "sh", "-euc", _NETWORK, "sh", sys.executable, "-P", "-c", _SEND, json.dumps(source)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == expected
