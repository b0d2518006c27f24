"""Keys of interfaces: what `all` of them starts with is what this kernel says; and how two of them are combined."""

import os
import subprocess
from pathlib import Path

import pytest

from hosttune.host import netconf, sysctl_lines

INHERIT = Path("/proc/sys/net/core/devconf_inherit_init_net")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
def test_all_starts_with_what_the_kernel_gives_it():
    names = [name.split("/") for name in netconf.RULES]
    paths = [f"/proc/sys/net/{family}/conf/all/{name}" for family, name in names]
    before = INHERIT.read_text()
    INHERIT.write_text("2\n")  # else a new network has what the host was set to
    try:
        script = 'for path; do cat "$path" 2>/dev/null || echo none; done'
        done = subprocess.run(["unshare", "-n", "sh", "-c", script, "sh", *paths], capture_output=True, text=True,
                              timeout=60, check=True)  # fmt: skip
    finally:
        INHERIT.write_text(before)
    found = dict(zip(netconf.RULES, done.stdout.split(), strict=True))
    there = {name: int(value) for name, value in found.items() if value != "none"}
    assert there == {name: first for name, (_, first) in netconf.RULES.items() if name in there}
    assert len(there) > len(found) // 2


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("net/ipv4/conf/eth0/rp_filter", {(0, 2): 2, (2, 1): 2, (0, 0): 0}),
        ("net/ipv6/conf/eth0/accept_dad", {(0, 2): 2, (2, 1): 2}),
        ("net/ipv6/conf/eth0/accept_source_route", {(0, 2): 0, (-1, 0): -1}),
        ("net/ipv4/conf/eth0/send_redirects", {(0, 0): 0, (0, 7): 1, (1, 0): 1}),
        ("net/ipv4/conf/eth0/bc_forwarding", {(0, 1): 0, (1, 0): 0, (2, 1): 1}),
        ("net/ipv4/conf/eth0/arp_evict_nocarrier", {(1, 0): 0, (1, 1): 1}),
    ],
)
def test_two_keys_are_one_value(path, values):
    name, other = netconf.find_pair(path)
    assert other == path.replace("/", ".").replace("eth0", "all")
    for (of_all, own), combined in values.items():
        assert netconf.combine(name, of_all, own) == combined
        assert netconf.holds(name, combined, combined)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
@pytest.mark.parametrize(
    "writes",
    [
        [("net/ipv4/ip_forward", 1)],
        [("net/ipv4/conf/all/accept_redirects", 1), ("net/ipv4/ip_forward", 0)],
        [("net/ipv4/ip_forward", 1), ("net/ipv4/conf/all/accept_redirects", 1), ("net/ipv4/ip_forward", 1)],
        [("net/ipv4/conf/all/forwarding", 1), ("net/ipv4/conf/all/accept_redirects", 0), ("net/ipv4/ip_forward", 0)],
        [("net/ipv4/conf/lo/forwarding", 1), ("net/ipv4/ip_forward", 2), ("net/ipv4/ip_forward", 0)],
        [("net/ipv4/conf/lo/forwarding", 1), ("net/ipv4/ip_forward", 0)],
        *(
            [(f"net/ipv6/conf/lo/{name}", first), (f"net/ipv6/conf/all/{name}", 0), (f"net/ipv6/conf/lo/{name}", last)]
            for name in ("forwarding", "disable_ipv6", "ignore_routes_with_linkdown", "addr_gen_mode")
            for first, last in ((1, 0), (1, 1))
        ),
        [("net/ipv6/conf/lo/forwarding", 1), ("net/ipv6/conf/all/forwarding", 0)],
        [("net/ipv6/conf/lo/disable_ipv6", 1), ("net/ipv6/conf/all/disable_ipv6", 0)],
    ],
)
def test_what_a_key_does_to_others_is_what_this_kernel_does(writes):
    lines = [sysctl_lines.Assignment(path, str(value), "f", number) for number, (path, value) in enumerate(writes, 1)]
    if any(path.startswith("net/ipv6/") for path, _ in writes) and not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("no IPv6")
    asked = ["net/ipv4/conf/all/accept_redirects", *(path for path, _ in writes if "/lo/" in path)]
    order = sysctl_lines.settle(lines)
    written = [f"echo {line.value} > /proc/sys/{line.key}" for line in order]
    script = "; ".join([*written, *(f"cat /proc/sys/{path}" for path in asked)])
    done = subprocess.run(["unshare", "-n", "sh", "-e", "-c", f"echo 0 > /proc/sys/net/ipv4/ip_forward; {script}"],
                          capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    for path, found in zip(asked, done.stdout.split(), strict=True):
        own = sysctl_lines.find_winner(order, path)
        effect = netconf.find_effect(path)
        causes = sysctl_lines.find_written(order, effect.cause)
        line = netconf.find_later_effect(effect, own, causes, order) or own
        assert line is None or line.value == found, path


def test_redirects_depend_on_forwarding():
    path = "net/ipv4/conf/eth0/accept_redirects"
    name, _ = netconf.find_pair(path)
    assert netconf.find_forwarding(path) == "net/ipv4/conf/eth0/forwarding"
    assert netconf.combine(name, 1, 0) == 1 and netconf.combine(name, 1, 0, forwards=True) == 0
    assert netconf.combine(name, 1, 1, forwards=True) == 1
    assert netconf.find_forwarding("net/ipv4/conf/eth0/rp_filter") is None


@pytest.mark.parametrize(
    "path",
    ["net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter", "net/ipv4/neigh/eth0/rp_filter",
     "net/ipv4/conf/eth0/tag", "net/ipv4/tcp_rmem", "net/ipv6/conf/eth0/rp_filter"],
)  # fmt: skip
def test_keys_that_count_alone(path):
    assert netconf.find_pair(path) is None
