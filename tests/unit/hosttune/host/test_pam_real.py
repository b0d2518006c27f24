"""Our reading of limits.conf beside the real pam_limits, which opens sessions with the same generated files.

It runs in a user and mount namespace, in which /etc/security and the accounts are the test's, and does not set the
limits but says what it would have set. So neither root nor a host's own accounts are needed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.host import limits, limits_lines, pam
from hosttune.host.users import User
from tests.examples import TIMES

HERE = Path(__file__).parent
PASSWD = "root:x:0:0::/:/bin/sh\ntrader:x:1001:1001::/:/bin/sh\nsvc.trader:x:1002:2000::/:/bin/sh\n"
GROUP = "root:x:0:\ntrader:x:1001:svc.trader\nrt:x:2000:trader\nwheel:x:3000:root\n"
USERS = {
    "root": User("root", 0, 0, frozenset({"root", "wheel"}), frozenset({0, 3000})),
    "trader": User("trader", 1001, 1001, frozenset({"trader", "rt"}), frozenset({1001, 2000})),
    "svc.trader": User("svc.trader", 1002, 2000, frozenset({"rt", "trader"}), frozenset({2000, 1001})),
}
# <bits/resource.h>: RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_NICE, RLIMIT_RTPRIO.
NUMBERS = {"nofile": 7, "memlock": 8, "nice": 13, "rtprio": 14}


def find_module() -> bool:
    return any(Path("/").glob("usr/lib/*/security/pam_limits.so"))


class RealSessions:
    """The real pam_limits in its namespaces; one process for many cases."""

    def __init__(self, directory: Path) -> None:
        library = directory / "setrlimit.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, HERE / "setrlimit.c"], check=True, timeout=60)
        (directory / "security").mkdir()
        accounts = directory / "accounts"
        accounts.mkdir()
        (accounts / "passwd").write_text(PASSWD)
        (accounts / "group").write_text(GROUP)
        (accounts / "pam.d").mkdir()
        command = ["unshare", "--user", "--map-root-user", "--mount"]
        command += [sys.executable, HERE / "pam_session.py", directory / "security", accounts]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "LD_PRELOAD": library}
        )

    def ask(self, user: str, files: dict[str, str]) -> dict[str, tuple[int, int]]:
        """Returns the limits that were set last, by item."""
        _, limits = self.open_session(user, files)
        found = {number: (soft, hard) for number, soft, hard in limits}
        return {item: found[number] for item, number in NUMBERS.items() if number in found}

    def open_session(self, user: str, files: dict[str, str], **more: dict[str, str]) -> tuple[int, list[list[int]]]:
        """Returns what the library returned, and all limits that were set. more: `services`, files of pam.d."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"user": user, "files": files, **more}) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        return answer["code"], answer["limits"]

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture(scope="module")
def sessions(tmp_path_factory):
    if not find_module() or shutil.which("cc") is None:
        pytest.skip("pam_limits.so (libpam-modules) and a C compiler are needed")
    if subprocess.run(["unshare", "--user", "--map-root-user", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("this kernel lets this user make no user namespace")
    real = RealSessions(tmp_path_factory.mktemp("pam"))
    yield real
    real.close()


@pytest.fixture(scope="module")
def first():
    return limits.parse_proc(Path("/proc/1/limits").read_text())


@pytest.fixture(scope="module")
def grammar(sessions):
    """The grammar of the release that is installed, by what it makes of a fifth word."""
    found = sessions.ask("trader", {"limits.conf": "trader - rtprio 7\ntrader - rtprio unlimited x\n"})
    return "1.6" if found["rtprio"] == (7, 7) else "1.5"


def read_ours(user, files, first, grammar, reduce=False):
    """What we say a session gets: what no line sets is what process 1 has."""
    order = ["limits.conf", *sorted(name for name in files if re.fullmatch(r"limits\.d/[^.].*\.conf", name))]
    texts = [(name, files[name]) for name in order if name in files]
    if reduce:
        texts = [(name, limits_lines.reduce(limits_lines.reduce(text))) for name, text in texts]
    lines = [line for name, text in texts for line in limits_lines.parse(text, name)[grammar]]
    nr_open = int(Path("/proc/sys/fs/nr_open").read_text())
    (found,) = pam.resolve([lines], USERS[user], first, nr_open)
    return {item: (fact.value.soft, fact.value.hard) for item, fact in found.items()}


def expect(real, ours, first):
    """The real module sets everything, of what no line names the limits of process 1."""
    for item, (soft, hard) in real.items():
        if item not in ours:
            known = first[item]
            assert (soft, hard) == (min(known.soft, 1024) if item == "nofile" else known.soft, known.hard), item
        else:
            assert (soft, hard) == ours[item], item


BLANK = st.sampled_from([" ", " ", "  ", "\t", " \t "])
DOMAINS = st.sampled_from(
    [
        "trader",
        "trader",
        "svc.trader",
        "root",
        "*",
        "@rt",
        "@trader",
        "@wheel",
        "%rt",
        "%",
        "%:1001",
        "@:2000",
        "@:0x7d0",
        "1001",
        "1000:",
        ":1001",
        ":1002",
        "1001:1002",
        "1000:1001",
        "@2000:",
        "@1000:1001",
        "@1001:2000",
        "0:",
        ":0",
        "0:5",
        "@0:10",
        "@:0",
        "%:0",
        "%0:0",
        ":",
        "@:",
        "a:b",
        "1:2:3",
        "-1:",
        "4294967296:",
        "+1000:+2000",
        "Trader",
        "TRADER",
        "18446744073709551616:",
        "18446744073709551615:",
        ":4294968297",
        "trader:",
        "@",
        "@*",
        "**",
        "1002:1001",
    ]
)
KINDS = st.sampled_from(["-", "-", "soft", "hard", "SOFT", "Hard", "both", "--", "-x", "*"])
ITEMS = st.sampled_from(["memlock", "nofile", "rtprio", "nice", "MemLock", "core", "maxlogins", "priority", "memloc"])
VALUES = st.one_of(
    st.sampled_from(
        [
            "unlimited",
            "Unlimited",
            "infinity",
            "-1",
            "-",
            "64G",
            "64",
            "0",
            "0x40",
            "1e3",
            "+5",
            "-5",
            "-20",
            "19",
            "20",
            "-0",
            "18446744073709551615",
            "18446744073709551616",
            "18014398509481983",
            "18014398509481984",
            "inf",
            "unlimited,",
            "",
            "9" * 40,
            "-" + "9" * 30,
            "0" * 30 + "7",
            "1_000",
            "95.5",
            "--5",
            "+",
            "4294967296",
            "99",
            "1048576",
            "٣",
        ]
    ),
    st.integers(-30, 2**21).map(str),
)
TAILS = st.sampled_from(["", "", "", " ", "\t", " # why", "#x", " extra", " 7", "\r", " \r"])


@st.composite
def lines(draw):
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(
            st.sampled_from(["", "# trader - nofile 1", " ; x", "trader", "trader -", "@rt -", ":1001 -", "% -", "* -"])
        )
    if kind == 1:
        return draw(DOMAINS) + draw(BLANK) + draw(KINDS)
    words = [draw(DOMAINS), draw(KINDS), draw(ITEMS), draw(VALUES)]
    text = draw(st.sampled_from(["", "", " ", "\t", "\v"]))
    for word in words:
        text += word + draw(
            st.sampled_from([" ", " ", " ", "\t", "  ", "\f"]) if word is not words[-1] else st.just("")
        )
    return text + draw(TAILS)


TEXT = st.lists(lines(), max_size=7).map(lambda each: "\n".join(each) + "\n")
FILES = st.fixed_dictionaries(
    {"limits.conf": TEXT},
    optional={
        f"limits.d/{name}": TEXT for name in ("a.conf", "B.conf", "10-x.conf", ".z.conf", "y.conf.bak", "é.conf")
    },
)


@settings(max_examples=150 * TIMES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(files=FILES, user=st.sampled_from(sorted(USERS)))
def test_sessions_get_what_we_read(sessions, first, grammar, files, user):
    real = sessions.ask(user, files)
    for reduce in (False, True):
        ours = read_ours(user, files, first, grammar, reduce)
        if real:
            expect(real, ours, first)
        else:  # a line `NAME -`
            assert ours == {}


@pytest.mark.parametrize(
    ("text", "user", "expected"),
    [
        ("trader - memlock unlimited\ntrader - memlock 64G\n", "trader", {"memlock": (65536, 65536)}),
        ("svc.trader - rtprio 95\n", "svc.trader", {"rtprio": (95, 95)}),
        ("trader soft memlock 1\n@rt - memlock unlimited\n", "trader", None),
        ("trader - nofile unlimited\n", "trader", None),
        ("trader - rtprio 95" + " " * 1000 + "x\n", "trader", {"rtprio": (95, 95)}),
    ],
)
def test_particular_lines(sessions, first, grammar, text, user, expected):
    files = {"limits.conf": text}
    real, ours = sessions.ask(user, files), read_ours(user, files, first, grammar)
    expect(real, ours, first)
    assert expected is None or ours == expected
