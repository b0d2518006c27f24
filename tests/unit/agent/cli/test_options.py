"""The types of arguments: each word is taken as what it says, or refused with what was found and what is allowed."""

import argparse
import math
import os
import re
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent import cli
from agent.cli import exchange, options
from agent.cli.main import COMMANDS, build_parser
from agent.symbols import MAX_EXCHANGE_NAME, MAX_SYMBOLS

from .test_commands import required_arguments

WORDS = (
    st.text()
    | st.text(string.digits + string.punctuation + "einfa²٣", max_size=12)
    | st.integers().map(str)
    | st.floats().map(str)
    | st.tuples(st.integers(-1, 300), st.integers(-1, 300)).map(lambda pair: "{}/{}".format(*pair))
    | st.tuples(st.ip_addresses(v=4), st.integers(-1, 70_000)).map(lambda pair: "{}:{}".format(*pair))
    | st.tuples(st.text(), st.integers()).map(lambda pair: "{}={}".format(*pair))
    | st.lists(st.tuples(st.text(max_size=20), st.text(max_size=9)).map("=".join), max_size=3).map(",".join)
)

#: What a type may return.
TYPES: dict[Callable[[str], Any], Callable[[Any], bool]] = {
    options.parse_positive: lambda value: 0 < value <= options.MOST,
    options.parse_share: lambda value: 0 <= value < 1,
    options.parse_count: lambda value: 0 < value <= options.MOST,
    options.parse_seed: lambda value: 0 <= value < 1 << 64,
    options.parse_engine: lambda value: value != "",
    options.parse_shard: lambda value: 0 <= value[0] < value[1] <= MAX_SYMBOLS,
    options.parse_endpoint: lambda value: value[0].count(".") == 3 and 1 <= value[1] <= 65535,
    exchange.parse_exchange_symbols: lambda value: (
        all(symbol and 1 <= len(name) <= MAX_EXCHANGE_NAME for symbol, name in value.items()) and len(value) > 0
    ),
    exchange.parse_cpu: lambda value: value in os.sched_getaffinity(0),
}


@pytest.mark.parametrize("parse", TYPES, ids=lambda parse: parse.__name__)
@given(word=WORDS)
@example(word="9" * 5000)
@example(word="1e999")
@example(word="nan")
@example(word="")
def test_a_word_is_taken_or_refused(parse: Callable[[str], Any], word: str) -> None:
    try:
        assert TYPES[parse](parse(word))
    except argparse.ArgumentTypeError as error:
        assert str(error).startswith(f"found {word!r}, allowed: ")


@given(st.floats(min_value=1e-9, max_value=options.MOST))
def test_a_positive_number_is_taken(value: float) -> None:
    assert options.parse_positive(repr(value)) == value


@given(st.integers(1, options.MOST))
def test_a_count_is_taken(value: int) -> None:
    assert options.parse_count(str(value)) == value and options.parse_seed(str(value)) == value


@given(st.floats(0, 1, exclude_max=True))
def test_a_share_is_taken(value: float) -> None:
    assert math.isclose(options.parse_share(repr(value)), value, rel_tol=0, abs_tol=0)


@given(st.integers(1, MAX_SYMBOLS), st.data())
def test_a_shard_is_taken(count: int, data: st.DataObject) -> None:
    number = data.draw(st.integers(0, count - 1))
    assert options.parse_shard(f"{number}/{count}") == (number, count)


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_an_endpoint_is_taken(address: Any, port: int) -> None:
    assert options.parse_endpoint(f"{address}:{port}") == (str(address), port)


def typed_options() -> list[tuple[str, str]]:
    """(subcommand, option) of every option of the command line that has a type."""
    found = []
    for name in COMMANDS:
        parser = build_parser(name)
        (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
        for action in commands.choices[name]._actions:
            if action.type not in (None, Path):
                assert action.type in TYPES, f"agent {name} {action.option_strings}: a type without a test"
                found += [(name, option) for option in action.option_strings[-1:]]
    return found


@pytest.mark.parametrize(("name", "option"), typed_options())
@pytest.mark.parametrize("word", ["", "x", "-1", "1e999", "nan", "9" * 30, "²"])
def test_each_option_says_what_it_found_and_what_is_allowed(
    name: str, option: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([name, *required_arguments(name), f"{option}={word}"])
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert re.search(rf"argument {option}: found {re.escape(repr(word))}, allowed: \S", said), said
