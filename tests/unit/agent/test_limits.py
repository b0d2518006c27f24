"""The limits' words and units: there and back, the same refusals everywhere, and what is documented."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent import cli, limits
from agent.errors import UsageError
from agent.limits import LIMITS
from agent.shm import request, segment

from .conftest import Hand, order

ROOT = Path(__file__).parents[3]

#: The switches of the states that orders pass in.
ALLOWED = {word: 0 for word in LIMITS if word.startswith("allow_")} | {"allow_quoting": 1}

#: As an engine has them whose agent.toml says: 1,000 orders a second, 100,000.00, 5 %, a position of 500, 20 ms.
WORDS = {
    "kill": 0, "max_size": 10, "max_notional": 1_000_000_000, "collar_ppm": 50_000, "max_position": 500,
    "max_open_orders": 0, "rate_interval_ns": 1_000_000, "rate_burst_ns": 1_000_000_000, "duplicate_ns": 20_000_000,
    "max_tick_age_ns": 5_000_000, "max_orders_per_day": 100_000, "refuse_self_match": 1, "max_loss": 1_000_000,
    "max_drawdown": 5_000, "max_symbol_loss": 0, "max_symbol_drawdown": 1,
} | ALLOWED  # fmt: skip
VALUES = {
    "kill": 0, "max_size": 10, "max_orders_per_second": 1_000, "burst": 1_000, "max_notional": 100_000.0,
    "collar": 0.05, "max_position": 500, "max_open_orders": 0, "duplicate_ms": 20,
    "max_tick_age_us": 5_000, "max_orders_per_day": 100_000, "refuse_self_match": 1, "max_loss": 100.0,
    "max_drawdown": 0.5, "max_symbol_loss": 0.0, "max_symbol_drawdown": 0.0001,
} | ALLOWED  # fmt: skip


def test_what_the_words_mean() -> None:
    assert limits.from_words(WORDS) == VALUES and list(VALUES) == list(LIMITS)
    assert limits.to_words(VALUES) == WORDS
    assert limits.to_words(VALUES | {"burst": 0}) == WORDS


@given(
    st.fixed_dictionaries(
        {
            "kill": st.integers(0, 1),
            "max_size": st.integers(1, 999_999),
            "max_orders_per_second": st.integers(1, 31_622),
            "burst": st.integers(1, 10_000_000),
            "max_notional": st.integers(0, 10**15).map(lambda n: n / 10_000),
            "collar": st.integers(0, 10**7).map(lambda n: n / 1_000_000),
            "max_position": st.integers(0, 1 << 40),
            "max_open_orders": st.integers(0, 65_536),
            "duplicate_ms": st.integers(0, 60_000),
            "max_tick_age_us": st.integers(0, 60_000_000),
            "max_orders_per_day": st.integers(0, (1 << 32) - 1),
            "refuse_self_match": st.integers(0, 1),
            **dict.fromkeys(
                ("max_loss", "max_drawdown", "max_symbol_loss", "max_symbol_drawdown"),
                st.integers(0, 10**15).map(lambda n: n / 10_000),
            ),
        }
        | {word: st.integers(0, 1) for word in ALLOWED}
    )
)
def test_there_and_back(values: dict[str, Any]) -> None:
    words = limits.to_words(values)
    found = limits.from_words(words)
    # Of two rates with the same ns for an order the gate makes no difference.
    assert 10**9 // int(found["max_orders_per_second"]) == 10**9 // values["max_orders_per_second"]
    assert found == values | {"max_orders_per_second": found["max_orders_per_second"]}
    assert limits.to_words(found) == words


@given(st.integers(1, 10_000_000))
def test_a_rate_with_a_burst_of_a_seconds_worth_is_shown_as_it_was_written(rate: int) -> None:
    words = WORDS | limits.to_words({"max_orders_per_second": rate})
    found = limits.from_words(words)
    assert (found["max_orders_per_second"], found["burst"]) == (rate, rate)


def test_only_what_changes_is_written() -> None:
    assert limits.change_words(WORDS, {"max_notional": 2.5, "kill": 1}) == {"max_notional": 25_000, "kill": 1}
    # A second's worth of orders stays that, a burst of 5 stays 5.
    assert limits.change_words(WORDS, {"max_orders_per_second": 10}) == {
        "rate_interval_ns": 100_000_000, "rate_burst_ns": 1_000_000_000,
    }  # fmt: skip
    five = WORDS | limits.change_words(WORDS, {"burst": 5})
    assert five == WORDS | {"rate_burst_ns": 5_000_000}
    assert limits.change_words(five, {"max_orders_per_second": 10})["rate_burst_ns"] == 500_000_000
    assert limits.change_words(five, {"burst": 0}) == {"rate_interval_ns": 1_000_000, "rate_burst_ns": 1_000_000_000}
    with pytest.raises(UsageError, match="burst: found 5, allowed: with max_orders_per_second, which is not set"):
        limits.change_words(WORDS | {"rate_interval_ns": 0}, {"burst": 5})


@given(
    st.floats(min_value=0, max_value=1e-3, exclude_min=True),
    st.sampled_from([name for name, limit in LIMITS.items() if limit.kind is float]),
)
def test_a_limit_that_is_set_is_never_none(value: float, name: str) -> None:
    """0 in the segment is no limit at all: a limit below the word's unit must not become that."""
    (word,) = limits.to_words({name: value}).values()
    assert word >= 1


def _burst_of(words: dict[str, int]) -> float:
    """Returns how many orders may pass at once."""
    if words["kill"]:
        return 0
    if not words["rate_interval_ns"]:
        return math.inf
    return max(0, words["rate_burst_ns"] // words["rate_interval_ns"])


_WORDS = st.fixed_dictionaries({"kill": st.sampled_from([0, 1]), "rate_interval_ns": st.integers(0, 10**9),
                                "rate_burst_ns": st.integers(0, 10**10), "max_size": st.integers(1, 999)})  # fmt: skip


@given(_WORDS, _WORDS)
def test_between_two_writes_the_gate_is_no_wider_than_before_or_after(
    before: dict[str, int], after: dict[str, int]
) -> None:
    words = dict(before)
    for name in request.order_writes(after, before):
        words[name] = after[name]
        assert _burst_of(words) <= max(_burst_of(before), _burst_of(after))
        if not words["kill"] and before["kill"]:
            assert words == after


def test_a_limit_that_is_off_is_zero() -> None:
    assert set(limits.from_words(dict.fromkeys(WORDS, 0)).values()) == {0}


@pytest.mark.parametrize(
    ("text", "value"),
    [("max_size=5", 5), ("max_notional=100000", 100_000), ("max_notional=1e6", 1e6), ("collar=0.05", 0.05),
     ("max_position=1_000", 1_000), ("kill=1", 1), ("duplicate_ms = 20", 20)],
)  # fmt: skip
def test_settings_are_read_as_toml_is(text: str, value: float) -> None:
    assert limits.parse_setting(text) == (text.partition("=")[0].strip(), value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("max_size", "found 'max_size'; wanted LIMIT=NUMBER"),
        (
            "max_szie=1",
            "unknown limit max_szie; did you mean max_size? allowed: allow_closed, allow_crossed, ",
        ),
        ("collar_ppm=1", "unknown limit collar_ppm; did you mean collar?"),
        ("max_size=0", "max_size: found the number 0; wanted an integer from 1 to 999999"),
        ("max_size=1000000", "max_size: found the number 1000000; wanted an integer from 1 to 999999"),
        ("max_size=1.5", "max_size: found the number 1.5; wanted an integer from 1 to 999999"),
        ("max_size=ten", "max_size: found the text 'ten'; wanted an integer from 1 to 999999"),
        ("max_size=true", "max_size: found true; wanted an integer"),
        ("kill=2", "kill: found the number 2; wanted an integer from 0 to 1"),
        ("refuse_self_match=2", "refuse_self_match: found the number 2; wanted an integer from 0 to 1"),
        ("max_loss=-1", "max_loss: found the number -1; wanted a number from 0"),
        ("max_loss=nan", "max_loss: found the number nan; wanted a number from 0"),
        ("max_drawdown=-0.01", "max_drawdown: found the number -0.01; wanted a number from 0"),
        ("max_tick_age_us=0.5", "max_tick_age_us: found the number 0.5; wanted an integer from 0"),
        ("collar=11", "collar: found the number 11; wanted a number from 0"),
        ("collar=nan", "collar: found the number nan; wanted a number from 0"),
        ("max_notional=inf", "max_notional: found the number inf; wanted a number from 0"),
        ("max_size=1\nkill=0", "max_size: found the text"),
    ],
)
def test_a_wrong_setting_is_explained(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        limits.parse_setting(text)
    assert str(caught.value).startswith(f"--set: {message}") and "\n" not in str(caught.value)


@given(st.sampled_from([*LIMITS, "", "x"]), st.text() | st.integers().map(str) | st.floats().map(str))
@example("max_size", "9" * 5000)
@example("max_size", "[" * 5000)
@example("max_notional", "-" + "9" * 4000)
def test_any_setting_is_taken_or_refused(word: str, value: str) -> None:
    try:
        name, number = limits.parse_setting(f"{word}={value}")
    except UsageError as error:
        assert str(error).startswith("--set: ") and str(error).isprintable()
    else:
        assert name == word and LIMITS[word].low <= number <= LIMITS[word].high


def test_the_command(tmp_path: Path, hand: Callable[..., Hand], capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "s"
    path.write_bytes(hand(limits=WORDS).segment)
    assert cli.main(["limits", str(path)]) == 0
    shown = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines()}
    assert shown == {word: [limits.show_value(value), LIMITS[word].unit] for word, value in VALUES.items()}
    assert shown["max_notional"] == ["100,000", "currency"] and shown["collar"] == ["0.05", "share of the price"]
    # One wrong setting, and none is written.
    assert cli.main(["limits", str(path), "--set", "max_size=5", "--set", "max_position=-1"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("agent: --set: max_position: found the number -1; wanted an integer from 0 to 10995")
    assert captured.out == "" and segment.read(path).limits["max_size"] == 10
    path.write_bytes(b"x" * 4096)
    assert cli.main(["limits", str(path), "--set", "max_size=5"]) == 2
    assert capsys.readouterr().err == f"agent: {path}: not an agent's segment (no HTAGENT at its start)\n"


@given(st.integers(1, 2_000), st.integers(1, 2_000), st.integers(0, 2_000), st.sampled_from([0.0, 0.01, 0.1, 5.0]))
def test_a_size_that_can_never_pass_is_found(size: int, most: int, position: int, notional: float) -> None:
    """Named with both keys; and what is not found does pass: at the lowest price, from no position."""
    risk = limits.Risk(max_size=most, max_orders_per_second=1, max_position=position, max_notional=notional)
    found = risk.find_conflicts(size)
    assert all("strategy.size" in text and "risk." in text and str(size) in text for text in found)
    h = Hand(limits=risk.words)
    h.orders = [order(0.0001, size)]
    with h.connect():
        h.tick(1)
    assert h.counters.get("orders_sent", 0) == (not found)


def test_how_a_size_that_can_never_pass_is_explained() -> None:
    risk = limits.Risk(max_size=10, max_orders_per_second=1, max_position=5, max_notional=0.001)
    assert risk.find_conflicts(50) == [
        "strategy.size: found 50, allowed: at most risk.max_size (10)",
        "strategy.size: found 50, allowed: at most risk.max_position (5)",
        "risk.max_notional: found 0.001, allowed: at least 0.005, strategy.size (50) at the lowest price",
    ]


def test_the_documented_table_is_this_one() -> None:
    text = (ROOT / "docs" / "agent.md").read_text()
    rows = [
        f"| `{word}` | {limit.unit} | {limits.show_value(limit.low)} to {limits.show_value(limit.high)} |"
        f" {limit.text} |"
        for word, limit in LIMITS.items()
    ]
    assert "| limit | unit | range | what it bounds |\n| --- | --- | --- | --- |\n" + "\n".join(rows) + "\n" in text


@given(
    st.integers(1, 999_999), st.integers(1, 999_999), st.integers(0, 1 << 40) | st.integers(0, 10),
    st.floats(0, 1e14) | st.floats(0, 200),
)  # fmt: skip
def test_a_conflict_is_a_size_of_which_no_order_can_pass(
    size: int, max_size: int, max_position: int, max_notional: float
) -> None:
    risk = limits.Risk(max_size=max_size, max_orders_per_second=1, max_position=max_position, max_notional=max_notional)
    # As the gate does it, from no position and at the lowest price: a ten-thousandth.
    words = risk.words
    passes = (
        size <= words["max_size"],
        not words["max_position"] or size <= words["max_position"],
        not words["max_notional"] or size <= words["max_notional"],
    )
    found = risk.find_conflicts(size)
    if abs(max_notional * 10_000 - size) > 1:  # the word is rounded
        assert len(found) == passes.count(False)
    assert all(f"{size}" in words and "allowed: at " in words for words in found)
