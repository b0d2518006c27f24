"""What `ulimit` does, told by the shells themselves: random calls, run by bash and by dash as a user who may raise
nothing, and what is read of them."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosttune.host import login_shell
from hosttune.host.limits import Limit
from tests.examples import TIMES

NOBODY = 65534
#: What the shell begins with: open files, and locked memory.
FILES, LOCKED = (200, 400), (64 << 10, 256 << 10)
SHELLS = [path for path in map(shutil.which, ("bash", "dash")) if path is not None]

_HARD = ["$(ulimit -Hn)", "$(ulimit -H -l)"]
_VALUES = st.sampled_from(["100", "200", "300", "400", "500", "9", "64", "hard", "soft", "unlimited", *_HARD])
_FLAGS = st.sampled_from(["", "-S ", "-H ", "-S -H ", "-SH "])
_LETTERS = st.sampled_from(["n", "l", "Sn", "Hn", "Sl", "HSl", "nS"])
_CALLS = st.tuples(_FLAGS, _LETTERS, st.sampled_from(["", "", " -S", " -H"]), _VALUES).map(
    lambda parts: f"ulimit {parts[0]}-{parts[1]}{parts[2]} {parts[3]}"
)
_LINES = st.tuples(_CALLS, st.sampled_from(["", "", " 2>/dev/null", " || true", "; true"])).map("".join)


def run(shell: str, text: str) -> tuple[Limit, Limit]:
    """Returns the limits of open files and of locked memory that a shell has after it has run text."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, LOCKED)
        if os.geteuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)

    show = "\nulimit -Sn; ulimit -Hn; ulimit -Sl; ulimit -Hl"  # by itself: a pipe may be a file too many
    done = subprocess.run(
        [shell, "-c", text + show], preexec_fn=limit, capture_output=True, text=True, timeout=30, cwd="/"
    )
    soft, hard, locked_soft, locked_hard = map(int, done.stdout.split())
    return Limit(soft, hard), Limit(locked_soft << 10, locked_hard << 10)


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=60 * TIMES, deadline=None)
@given(lines=st.lists(_LINES, min_size=1, max_size=4))
def test_a_shell_has_the_limits_that_are_read(shell: str, lines: list[str]) -> None:
    text = "\n".join(lines)
    calls = login_shell.parse(text)
    found = run(shell, text)
    for item, begun, ended in zip(("nofile", "memlock"), (FILES, LOCKED), found, strict=True):
        told = login_shell.apply(Limit(*begun), calls, item)
        again = login_shell.apply(Limit(*begun), login_shell.parse(login_shell.reduce(text)), item)
        assert again == told
        if isinstance(told, login_shell.Call):  # the limit of another item
            assert {"$", "nS", " -S", " -H"} & set(re.findall(r"\$|nS| -[SH]", text))
            continue
        assert ended in [each._replace(source="") for each in told], text


def test_a_long_text_may_set_all_of_them() -> None:
    calls = login_shell.parse("ulimit -n 5\n" * 200_000)
    assert {call.item for call in calls} == {"memlock", "nofile", "nice", "rtprio"}
    assert all(call.value is None and call.maybe for call in calls)
