"""The explanation of a configuration that does not convert, and the line that TOML's reader does not tell."""

from __future__ import annotations

import tomllib
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hosttune.config_errors import Key, allow_names, describe_type, explain_toml, find_toml_line

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class Line(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    port: Port


class Feed(msgspec.Struct, forbid_unknown_fields=True):
    address: str = ""
    port: Port | None = None
    ring: str = ""
    format: Literal["itch", "csv"] = "itch"
    b: Line | None = None
    share: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        if self.ring and self.address:
            raise ValueError("ring: found with address; allowed: one way in")
        if not self.ring and not self.address:
            raise ValueError("port: missing, and required")
        if self.ring == "bad":
            raise ValueError("a ring of this name is never there")


class Config(msgspec.Struct, forbid_unknown_fields=True):
    feed: Feed
    symbols: Annotated[list[Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")]], msgspec.Meta(max_length=2)] = []
    limits: dict[str, int] = {}
    venues: list[Line] = []
    on: bool = False
    pair: tuple[int, str] = (0, "")


def refusal(text: str) -> str:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert(tomllib.loads(text), Config)
    return explain_toml(caught.value, Config, text, "a.toml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[feed]\nadress = 'x'\n", "a.toml:2: unknown key feed.adress; did you mean address? allowed: address, b,"),
        ("# c\n\nfeeds = 1\n", "a.toml:3: unknown key feeds; did you mean feed? allowed: feed, limits,"),
        ("on = true\n", "a.toml: feed is missing; wanted a mapping with the keys address, b, format"),
        ("[feed]\nring = 'x'\n[feed.b]\nport = 1\n", "a.toml:3: feed.b.address is missing; wanted text"),
        ("[feed]\nring = 'x'\nport = 99999\n", "a.toml:3: feed.port: found the number 99999; wanted an integer from"),
        ("[feed]\nport = '7'\n", "a.toml:2: feed.port: found the text '7'; wanted an integer from 1 to 65535 (remove"),
        ("[feed]\naddress = 7\n", "a.toml:2: feed.address: found the number 7; wanted text (quote it: '7')"),
        ("[feed]\naddress = true\n", "a.toml:2: feed.address: found true; wanted text"),
        ("[feed]\nformat = 'ich'\n", "a.toml:2: feed.format: found the text 'ich'; wanted one of csv, itch"),
        ("[feed]\nshare = 1\n", "feed.share: found the number 1; wanted a number of at least 0 and less than 1"),
        ("[feed]\nshare = '1'\n", "feed.share: found the text '1'; wanted a number of at least 0 and less than 1 (rem"),
        ("feed.b = [\n 1\n]\n", "a.toml:1: feed.b: found a list; wanted a mapping with the keys address, port"),
        ("feed = 2020-01-31\n", "a.toml:1: feed: found the date 2020-01-31; wanted a mapping"),
        ("feed.ring = 'x'\nsymbols = [\n 'A',\n 'b',\n]\n", "a.toml:2: symbols[1]: found the text 'b'; wanted text"),
        ("feed.ring = 'x'\nsymbols = ['A', 'B', 'C']\n", "a.toml:2: symbols: Expected `array` of length <= 2"),
        ("feed.ring = 'x'\n[limits]\na = 1\nb = 'x'\n", "a.toml:4: limits.b: found the text 'x'; wanted an integer"),
        ("feed.ring = 'x'\npair = [1, 2]\n", "a.toml:2: pair[1]: found the number 2; wanted text (quote it: '2')"),
        (
            "feed.ring = 'x'\n[[venues]]\naddress = 'a'\nport = 1\n[[venues]]\naddress = 'b'\nport = 0\n",
            "a.toml:7: venues[1].port: found the number 0; wanted an integer from 1 to 65535",
        ),
        ("\n[feed]\naddress = 'a'\nring = 'b'\n", "a.toml:4: feed.ring: found with address; allowed: one way in"),
        ("\n[feed]\nport = 1\n", "a.toml:3: feed.port: missing, and required"),
        ("\n[feed]\n", "a.toml:2: feed.port: missing, and required"),
        ("\n[feed]\nring = 'bad'\n", "a.toml:2: feed: a ring of this name is never there"),
    ],
)
def test_one_line_says_where_what_and_what_instead(text: str, words: str) -> None:
    line = refusal(text)
    assert words in line
    assert "\n" not in line


def test_the_error_is_kept_where_no_value_is_to_blame() -> None:
    assert explain_toml("it went wrong", Config, "feed.ring = 'x'", "a.toml") == "a.toml: it went wrong"


def test_a_guess_only_if_a_name_is_close() -> None:
    assert allow_names("x", ["b", "a"]) == "allowed: a, b"
    assert describe_type(dict[str, list[int]]) == "a mapping of text to a list of: an integer"


# --- lines of TOML ---

NAMES = st.sampled_from(["a", "b", "c-d", '"e f"', "'g.h'", '"#"'])
VALUES = st.sampled_from(
    [
        "1",
        "'x'",
        '"a = 1"',
        "2020-01-31",
        "[1, 2]",
        "[\n  1,\n  # x = 2\n  2,\n]",
        "{ x = 1, y.z = [2] }",
        '"""\nb = 1\n[c]\n"""',
        "'''\n[[a]]\n\n'''",
        '"""one\\\n   two"""',
        "[[1], [\n[2]]]",
        '"""x" # "" \n"""',
    ]
)
GAPS = st.lists(st.sampled_from(["", "# a = 1", "  # [t]", "\t"]), max_size=3)


def list_keys(data: Any, key: Key = ()) -> list[Key]:
    """All ways to a value, tables and elements too."""
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    found = [key] if key else []
    for part, item in items:
        found += list_keys(item, (*key, part))
    return found


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Key, int]]:
    """TOML text, and for each key the first line of the statement that brings it about."""
    lines: list[str] = []
    wanted: dict[Key, int] = {}
    data: dict[str, Any] = {}

    def add(statement: str) -> None:
        """A statement goes in if tomllib, the model, takes it."""
        nonlocal data
        gap = draw(GAPS)
        text = "\n".join([*lines, *gap, statement])
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError:
            return
        start = len(lines) + len(gap) + 1
        lines.extend([*gap, *statement.split("\n")])
        for key in list_keys(data):
            wanted.setdefault(key, start)

    for _ in range(draw(st.integers(0, 3))):
        add(f"{'.'.join(draw(st.lists(NAMES, min_size=1, max_size=2)))} = {draw(VALUES)}")
    for _ in range(draw(st.integers(0, 4))):
        name = ".".join(draw(st.lists(NAMES, min_size=1, max_size=2)))
        add(draw(st.sampled_from([f"[{name}]", f"[[{name}]]", f"  [ {name} ] # t"])))
        for _ in range(draw(st.integers(0, 3))):
            add(f"{draw(NAMES)} = {draw(VALUES)} {draw(st.sampled_from(['', '# end']))}")
    return "\n".join([*lines, *draw(GAPS)]), wanted


@settings(max_examples=300)
@given(document=documents(), newline=st.sampled_from(["\n", "\r\n"]))
def test_each_key_has_the_line_of_its_statement(document: tuple[str, dict[Key, int]], newline: str) -> None:
    text, wanted = document
    assert set(wanted) == set(list_keys(tomllib.loads(text)))
    for key, line in wanted.items():
        assert find_toml_line(text.replace("\n", newline), key) == line
    assert find_toml_line(text, ("no such key",)) is None
