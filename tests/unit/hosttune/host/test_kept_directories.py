"""A snapshot keeps every directory that the programs read: what it says of a file is what the host says of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune import capture, checker, profile
from hosttune.host import snapshot
from hosttune.host.root import Root
from tests.examples import TIMES
from tests.unit.hosttune.conftest import FakeHost

KEY, MAX, RP = "net.core.rmem_max", "net.netfilter.nf_conntrack_max", "net.ipv4.conf.eth0.rp_filter"
PROFILE = profile.load_text(
    f"net_buffers: {{sysctl: {{{KEY}: 5, {MAX}: 7, {RP}: 0}}}}\ntcp_bbr: {{congestion_control: bbr}}\n", "p.yml"
)
NET = "/proc/sys/net"
HOST = {
    "/proc/cmdline": "quiet\n",
    "/proc/modules": "tcp_bbr 1 1 - Live 0x0\nnf_conntrack 1 1 - Live 0x0\n",
    "/proc/sys/kernel/osrelease": "6.1\n",
    "/lib/modules/6.1/modules.builtin": "kernel/net/ipv4/tcp_cubic.ko\n",
    "/lib/modules/6.1/modules.dep": "kernel/nf_nat.ko: kernel/nf_conntrack.ko\n",
    "/etc/systemd/system/x.service": "",
    f"{NET}/core/rmem_max": "5\n",
    f"{NET}/netfilter/nf_conntrack_max": "7\n",
    **{f"{NET}/ipv4/conf/{name}/rp_filter": "0\n" for name in ("eth0", "all")},
    f"{NET}/ipv4/tcp_congestion_control": "bbr\n",
    **{f"{NET}/ipv4/tcp_{name}_congestion_control": "reno bbr\n" for name in ("available", "allowed")},
}
TOPS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
TEXTS = {
    "sysctl.d": [f"{KEY} = 5\n{MAX} = 7\n{RP} = 0\n", f"{KEY} = 5_0\n", f"-{KEY}\nnet.ipv4.conf.*.rp_filter = 1\n", ""],
    "modules-load.d": ["tcp_bbr\nnf_nat\n", "nf-conntrack\n# tcp_bbr\n", ""],
    "modprobe.d": ["install tcp_bbr /bin/false\n", "# x\nblacklist nf_nat\nalias nf_conntrack off\n", ""],
}


def judge(root: Root) -> list[Any]:
    return checker.run_checks(PROFILE, root).findings


def take(root: Any) -> Root:
    """Returns a snapshot of a host, taken without its profile, as it is read back from a file."""
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder, "s.json"))
        snapshot.write(capture.take_snapshot(root, profile.load_built_in()), file)
        return snapshot.Snapshot(file)


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in TEXTS.items() for text in texts if text])
def test_each_directory_counts_live_and_from_a_snapshot(top: str, name: str, text: str) -> None:
    plain, with_file = FakeHost(HOST), FakeHost({**HOST, f"{top}/{name}/99-zzz.conf": text})
    found = judge(with_file)
    assert judge(take(with_file)) == found
    # Of a file in /run it is only told that a value is there and will be gone.
    assert (found != judge(plain)) is (top != "/run" or (name, text) == ("sysctl.d", TEXTS[name][0]))


FILES = st.dictionaries(
    st.tuples(st.sampled_from(TOPS), st.sampled_from(sorted(TEXTS)), st.sampled_from(["10.conf", "99-zz.conf"])),
    st.integers(0, 3),
    max_size=6,
)


@settings(max_examples=80 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(FILES, st.sampled_from([None, "/dev/null", "/run/x", "/etc/real.conf"]), st.booleans())
def test_a_snapshot_says_what_the_host_says(files: Any, link: str | None, masked: bool) -> None:
    texts = {
        f"{top}/{name}/{file}": TEXTS[name][number % len(TEXTS[name])] for (top, name, file), number in files.items()
    }
    root = FakeHost({**HOST, **texts, "/etc/real.conf": TEXTS["sysctl.d"][0]})
    if link is not None:
        root.links["/etc/sysctl.d/50-x.conf"] = link
    if masked:
        root.links["/etc/systemd/system/systemd-sysctl.service"] = "/dev/null"
    assert judge(take(root)) == judge(root)
