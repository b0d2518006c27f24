"""agent.toml: what is refused, and whether the message helps."""

from pathlib import Path

import pytest

import agent
from agent import config

EXAMPLE = Path(agent.__file__).parent / "example.toml"


def test_the_example_is_complete_and_right() -> None:
    settings = config.load(EXAMPLE)
    assert settings.strategy.name == "ema_cross"
    assert settings.feed.receive_buffer == 8 << 20
    text = EXAMPLE.read_text()
    for table in (config.Feed, config.Exchange, config.Strategy, config.Risk, config.Book, config.Series,
                  config.Journal, config.Engine):  # fmt: skip
        assert all(f"{field} = " in text for field in table.__struct_fields__)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("port = 26400", "port = 0", "feed.port: found 0, allowed: int >= 1"),
        ("port = 26400", 'port = "x"', "feed.port: found 'x', allowed: int | null; got str"),
        ("port = 26400", "prot = 26400", "feed.prot: unknown key; allowed: feed.address, feed.port"),
        ("port = 26400", "", "feed.port: missing, and required (or ring)"),
        ('"127.0.0.1"       #', '"localhost" #', "feed.address: found 'localhost', allowed: an IPv4 address"),
        ("fast = 10 ", "fast = 50 ", "strategy.fast: found 50, allowed: less than slow (50)"),
        ('"BTCUSDT"', '"BTCUSDT_PERP"', "strategy.symbol: found 'BTCUSDT_PERP', allowed: str matching regex"),
        ("max_size = 10", "max_size = 1000000", "risk.max_size: found 1000000, allowed: int <= 999999"),
        ("max_size = 10", "max_size = -1", "risk.max_size: found -1, allowed: int >= 1"),
        (
            "[engine]",
            "[motor]",
            "motor: unknown key; allowed: feed, exchange, strategy, risk, book, series, journal, engine",
        ),
        ('name = "main"', 'name = "../x"', "engine.name: found '../x'"),
        ("[risk]", "[risk", "not TOML"),
        (
            'symbol = "BTCUSDT"',
            'symbols = ["A", "A"]',
            "strategy.symbols: found one twice in ['A', 'A'], allowed: each once",
        ),
        ('symbol = "BTCUSDT"', "", "strategy.symbol: found both or neither"),
        ("port = 26400", "port = 26400\nring = '/x'", "feed.ring: found with address, port, b or request"),
        (
            "port = 26400",
            "port = 26400\nb = { address = 'x', port = 1 }",
            "feed.b.address: found 'x', allowed: an IPv4",
        ),
        (
            "port = 26400",
            "port = 26400\nb = { adress = 'x', port = 1 }",
            "feed.b.adress: unknown key; allowed: feed.b.a",
        ),
        ("[risk]", "[risk]\ncollar = 11", "risk.collar: found 11, allowed: float <= 10"),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    path = tmp_path / "agent.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"none\.toml: No such file"):
        config.load(tmp_path / "none.toml")
