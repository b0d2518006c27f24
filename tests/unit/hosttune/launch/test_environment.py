"""The environment that the program is given."""

from __future__ import annotations

import pytest

from hosttune.launch.environment import PATH, build_environment, parse_variable
from hosttune.launch.plan import User, parse_umask

TRADER = User("trader", 990, 990, [990], "/home/trader", "/bin/bash")
OWN = {"PATH": PATH, "HOME": "/home/trader", "USER": "trader", "LOGNAME": "trader", "SHELL": "/bin/bash"}


def test_it_is_the_accounts_and_what_was_asked_for() -> None:
    assert build_environment(TRADER, {}, None, 7) == OWN
    made = build_environment(TRADER, {"HOME": "/x", "LD_PRELOAD": "/usr/lib/libjemalloc.so"}, "/lockall.so", 7)
    assert made == OWN | {
        "HOME": "/x", "LD_PRELOAD": "/lockall.so:/usr/lib/libjemalloc.so", "HOSTTUNE_READY_FD": "7",
    }  # fmt: skip
    assert build_environment(TRADER, {"HOSTTUNE_READY_FD": "1"}, "/lockall.so", 7)["HOSTTUNE_READY_FD"] == "7"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("A=", ("A", "")),
        ("A=b=c", ("A", "b=c")),
        ("_a1=\n", ("_a1", "\n")),
        ("SET", ("SET", "here")),
        ("SET=", ("SET", "")),
    ],
)
def test_variables(text: str, found: tuple[str, str]) -> None:
    assert parse_variable(text, {"SET": "here"}) == found


@pytest.mark.parametrize("text", ["", "=", "=x", "1=x", "A B=x", "A\n=x", "A\n", "Ä=x", "a-b=x", "UNSET"])
def test_wrong_variables(text: str) -> None:
    with pytest.raises(ValueError):
        parse_variable(text, {"SET": "here", "A\n": "x"})


def test_umask() -> None:
    assert [parse_umask(text) for text in ("0", "027", "0777")] == [0, 0o027, 0o777]
    for text in ("", "8", "-1", "1000", "0o27", "27\n", "00027", "²"):
        with pytest.raises(ValueError, match="0000 to 0777"):
            parse_umask(text)
