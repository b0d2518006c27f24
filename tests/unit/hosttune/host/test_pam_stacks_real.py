"""Our reading of a session's stack beside the real libpam, which opens sessions by the same generated files of pam.d.

Modules return what pam_debug(8) is told; which of them pam_limits ran before and with which file shows in what it sets.
"""

from __future__ import annotations

import itertools
import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosttune.host import pam_lines
from tests.examples import TIMES

from .test_pam_real import NUMBERS, RealSessions, sessions  # noqa: F401

FILES = {f"{name}.conf": f"trader - rtprio {number}\n" for number, name in enumerate("abc", 1)}
RETURNS = ("success", "ignore", "user_unknown", "auth_err", "new_authtok_reqd", "session_err")
ACTIONS = ("ok", "done", "bad", "die", "ignore", "reset", "1", "2", "3")


def run(real: RealSessions, services: dict[str, str]) -> tuple[int, tuple[str, ...]]:
    """Returns what opening a session returned, and the files of the runs of pam_limits, of equal ones the last."""
    code, limits = real.open_session("trader", FILES, services=services)
    found: tuple[str, ...] = ()
    for number, soft, _ in limits:
        if number == NUMBERS["rtprio"]:
            name = f"/etc/security/{'abc'[soft - 1]}.conf"
            found = (*(each for each in found if each != name), name)
    return code, found


def read(services: dict[str, str], reduce: bool = False) -> list[tuple[str, ...]]:
    texts = {f"/etc/pam.d/{name}": pam_lines.reduce(text) if reduce else text for name, text in services.items()}
    return pam_lines.find_sequences("session", texts.get)


@st.composite
def controls(draw: st.DrawFn) -> str:
    if draw(st.booleans()):
        return draw(st.sampled_from(["required", "requisite", "sufficient", "optional", "Required", "OPTIONAL"]))
    pairs = draw(
        st.lists(st.tuples(st.sampled_from([*RETURNS, "default"]), st.sampled_from(ACTIONS)), min_size=1, max_size=3)
    )
    equals = draw(st.sampled_from(["=", "=", " = "]))
    text = " ".join(f"{key}{equals}{action}" for key, action in pairs)
    return f"[{text}{draw(st.sampled_from(['', '', ' ', ' x', ' success=0']))}]"


@st.composite
def lines(draw: st.DrawFn, below: tuple[str, ...]) -> str:
    kind = draw(st.sampled_from(["limits", "limits", "limits", "debug", "debug", "debug", "fixed", "other", "include"]))
    head = draw(st.sampled_from(["session", "session", "session", "-session", "Session"]))
    if kind == "limits":
        return f"{head} {draw(controls())} pam_limits.so conf=/etc/security/{draw(st.sampled_from('abc'))}.conf"
    if kind == "debug":
        return f"{head} {draw(controls())} pam_debug.so open_session={draw(st.sampled_from(RETURNS))}"
    if kind == "fixed":
        return f"{head} {draw(controls())} {draw(st.sampled_from(['pam_permit.so', 'pam_deny.so', '']))}"
    if kind == "other":
        return draw(st.sampled_from(["", "# session", "auth required pam_deny.so", "session include nowhere"]))
    name = draw(st.sampled_from([*below, *(f"/etc/pam.d/{each}" for each in below), "nowhere"]))
    return draw(st.sampled_from(["@include", f"{head} include", f"{head} substack"])) + f" {name}"


@st.composite
def stacks(draw: st.DrawFn) -> dict[str, str]:
    names = ("session", "x", "y")
    return {
        name: "".join(
            f"{line}\n" for line in draw(st.lists(lines(names[number + 1 :]), max_size=6, min_size=number == 0))
        )
        for number, name in enumerate(names)
    }


@settings(
    max_examples=300 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(services=stacks())
def test_what_a_session_runs_is_among_what_it_may_run(sessions: RealSessions, services: dict[str, str]) -> None:  # noqa: F811
    ours = read(services)
    assert read(services, reduce=True) == ours
    code, runs = run(sessions, services)
    if code == 0:
        assert runs in ours, (runs, ours, services)


@st.composite
def open_stacks(draw: st.DrawFn) -> dict[str, str]:
    """Stacks of which pam_limits itself decides nothing, and up to three modules return what is put in for `@`."""
    left = 3
    found: dict[str, str] = {}
    for name, below in (("session", "x"), ("x", "")):
        text = ""
        for _ in range(draw(st.integers(1, 4))):
            kind = draw(st.sampled_from(["limits", "debug", "fixed", "include"]))
            if kind == "limits":
                file = draw(st.sampled_from("abc"))
                text += f"session {draw(st.sampled_from(['required', 'optional']))} pam_limits.so"
                text += f" conf=/etc/security/{file}.conf\n"
            elif kind == "debug" and left:
                left -= 1
                text += f"session {draw(controls())} pam_debug.so open_session=@\n"
            elif kind == "include" and below:
                text += f"session {draw(st.sampled_from(['include', 'substack']))} x\n"
            else:
                text += f"session {draw(controls())} {draw(st.sampled_from(['pam_permit.so', 'pam_deny.so']))}\n"
        found[name] = text
    return found


@settings(
    max_examples=15 * TIMES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(services=open_stacks())
def test_what_a_session_may_run_is_what_it_runs_in_some_case(
    sessions: RealSessions,  # noqa: F811
    services: dict[str, str],
) -> None:
    count = sum(text.count("@") for text in services.values())
    found = set()
    for returned in itertools.product(RETURNS, repeat=count):
        left = iter(returned)
        made = {name: re.sub("@", lambda _: next(left), text) for name, text in services.items()}  # noqa: B023
        code, runs = run(sessions, made)
        if code == 0:
            found.add(runs)
    # Of a session that never opens it is told what it would run.
    assert not found or set(read(services)) == found
