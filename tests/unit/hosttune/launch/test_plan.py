"""Resource limits as `--rlimit` takes them."""

from __future__ import annotations

import pytest

from hosttune.launch.plan import UNLIMITED, parse_rlimit


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("memlock=unlimited", ("memlock", (UNLIMITED, UNLIMITED))),
        ("memlock=8M", ("memlock", (8 << 20, 8 << 20))),
        ("nofile=1024:64K", ("nofile", (1024, 65536))),
        ("core=0:infinity", ("core", (0, UNLIMITED))),
    ],
)
def test_rlimit(text: str, limit: tuple[str, tuple[int, int]]) -> None:
    assert parse_rlimit(text) == limit


@pytest.mark.parametrize(
    "text",
    [
        "nofile=9223372036854775808",
        "memlock=8589934592G",
        "nofile=" + "9" * 5000,
        "memlock",
        "memlock=",
        "memlock=-1",
        "memlock=1.5",
        "nofile=2:1",
        "nofile=unlimited:1",
        "x=1",
    ],
)
def test_bad_rlimit(text: str) -> None:
    with pytest.raises(ValueError, match="="):
        parse_rlimit(text)
