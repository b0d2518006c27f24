"""Every fix of a sysctl or a module works as it is printed: a shell runs it on a broken host, which is right then."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.checks import net_buffers, tcp_bbr
from hosttune.findings import Finding
from hosttune.host.root import Fact, Live
from tests.examples import TIMES

#: The programs that a fix calls, on the host below $ROOT.
PROGRAMS = r"""
sysctl() {
    key=${2%%=*} value=${2#*=}
    case $key in net/*) ;; *) key=$(printf %s "$key" | tr ./ /.) ;; esac
    [ -e "$ROOT/proc/sys/$key" ] && printf '%s\n' "$value" > "$ROOT/proc/sys/$key"
}
modprobe() {
    printf '%s 1 1 - Live 0x0\n' "$1" >> "$ROOT/proc/modules"
    mkdir -p "$ROOT/proc/sys/net/netfilter"
    echo 262144 > "$ROOT/proc/sys/net/netfilter/nf_conntrack_max"
}
systemctl() { [ "$1" = unmask ] && rm -f "$ROOT/etc/systemd/system/$2"; }
set -e
"""
RMEM, RP, MAX = "net.core.rmem_max", "net.ipv4.conf.eth0.rp_filter", "net.netfilter.nf_conntrack_max"
BUFFERS = net_buffers.Section(
    sysctl={RMEM: 67108864, "net.ipv4.tcp_rmem": [4096, 87380, 67108864], RP: 0, MAX: 1048576}
)
CONTROL = tcp_bbr.Section(congestion_control="bbr")
NET = "/proc/sys/net"


class Below(Live):
    """The host whose files are below a directory."""

    def __init__(self, top: Path) -> None:
        self.top = str(top)

    def read(self, path: str) -> Fact[str]:
        return msgspec.structs.replace(super().read(self.top + path), source=path)

    def list(self, path: str) -> Fact[Any]:
        return msgspec.structs.replace(super().list(self.top + path), source=path)

    def link(self, path: str) -> Fact[str]:
        return msgspec.structs.replace(super().link(self.top + path), source=path)


def check(top: Path) -> list[Finding]:
    root = Below(top)
    return [
        *net_buffers.check(BUFFERS, net_buffers.facts(root, BUFFERS), None),
        *tcp_bbr.check(CONTROL, tcp_bbr.facts(root, CONTROL), None),
    ]


KEYS = st.sampled_from(
    [
        *(RMEM, "net/core/rmem_max", "net.core.*_max", "net.ipv4.tcp_rmem", RP, "net.ipv4.conf.all.rp_filter"),
        *("net.ipv4.conf.*.rp_filter", MAX, "net.ipv4.tcp_congestion_control"),
        "net.ipv4.tcp_allowed_congestion_control",
    ]
)
VALUES = st.sampled_from(
    ["67108864", "64M", "4096 87380 67108864", "0", "1", "1048576", "bbr", "cubic", "reno cubic", ""]
)
LINES = st.tuples(st.sampled_from(["", "", "-"]), KEYS, st.sampled_from([" = ", "="]), VALUES).map("".join) | KEYS.map(
    lambda key: f"-{key}"
)
SYSCTLS = st.dictionaries(
    st.tuples(
        st.sampled_from(["/etc", "/run", "/usr/local/lib", "/usr/lib"]),
        st.sampled_from(["10.conf", "99-zz-desk.conf", "99-zz-hosttune-net_buffers.conf", "99-zzz.conf"]),
    ).filter(lambda place: place[0] == "/etc" or "desk" not in place[1]),
    st.lists(LINES, max_size=5).map(lambda lines: "".join(f"{line}\n" for line in lines)),
    max_size=4,
)
RUNNING = st.fixed_dictionaries(
    {
        "core/rmem_max": st.sampled_from(["67108864", "212992"]),
        "ipv4/tcp_rmem": st.sampled_from(["4096\t87380\t67108864", "4096\t87380\t6291456"]),
        "ipv4/conf/eth0/rp_filter": st.sampled_from(["0", "1"]),
        "ipv4/conf/all/rp_filter": st.sampled_from(["0", "1"]),
        "ipv4/tcp_congestion_control": st.sampled_from(["bbr", "cubic"]),
    }
)
MODULES = st.fixed_dictionaries(
    {
        "/etc/modules-load.d/x.conf": st.sampled_from(["", "nf_conntrack\ntcp_bbr\n"]),
        "/run/modules-load.d/y.conf": st.sampled_from(["", "nf_conntrack\n"]),
        "/etc/modprobe.d/x.conf": st.sampled_from(["", "\nblacklist nf_conntrack\n", "install tcp_bbr /bin/true\n"]),
        "/proc/modules": st.sampled_from(["tcp_bbr 1 1 - Live 0x0\n", "tcp_bbr 1 1 - L 0\nnf_conntrack 1 1 - L 0x0\n"]),
        "/proc/cmdline": st.just("quiet\n"),
        "/proc/sys/kernel/osrelease": st.just("6.1\n"),
        "/lib/modules/6.1/modules.builtin": st.just("kernel/net/ipv4/tcp_cubic.ko\n"),
        f"{NET}/ipv4/tcp_available_congestion_control": st.just("reno cubic bbr\n"),
        f"{NET}/ipv4/tcp_allowed_congestion_control": st.just("reno cubic bbr\n"),
    }
)


@settings(max_examples=60 * TIMES, deadline=None, suppress_health_check=list(HealthCheck))
@given(SYSCTLS, RUNNING, MODULES, st.booleans())
def test_each_fix_turns_its_finding(files: Any, running: Any, modules: dict[str, str], masked: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        texts = {f"{directory}/sysctl.d/{name}": text for (directory, name), text in files.items()}
        texts |= {f"{NET}/{name}": f"{value}\n" for name, value in running.items()} | modules
        if "nf_conntrack" in modules["/proc/modules"]:
            texts[f"{NET}/netfilter/nf_conntrack_max"] = "262144\n"
        for directory in ("/etc/sysctl.d", "/etc/modules-load.d", "/etc/systemd/system"):
            (top / directory[1:]).mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            (top / path[1:]).parent.mkdir(parents=True, exist_ok=True)
            (top / path[1:]).write_text(text)
        if masked:
            (top / "etc/systemd/system/systemd-sysctl.service").symlink_to("/dev/null")
        for _ in range(1 + masked):  # a service that was masked hid what its files say
            fixes = [each.fix for each in check(top) if each.status != "pass"]
            here = "\n".join(fixes).replace(" /etc/", f" {top}/etc/").replace(" /usr/", f" {top}/usr/")
            done = subprocess.run(
                ["/bin/bash", "-c", PROGRAMS + here], env={"PATH": "/usr/bin:/bin", "ROOT": folder},
                capture_output=True, text=True, timeout=20,
            )  # fmt: skip
            assert done.returncode == 0, (fixes, done.stderr)
        left = [each for each in check(top) if each.status != "pass"]
        assert not left
