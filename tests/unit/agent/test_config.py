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


PORT = "an integer from 1 to 65535"


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("port = 26400", "port = 0", "port = 0", f"feed.port: found the number 0; wanted {PORT}"),
        ("port = 26400", 'port = "x"', 'port = "x"', f"feed.port: found the text 'x'; wanted {PORT}"),
        (
            "port = 26400",
            'port = "1"',
            'port = "1"',
            f"feed.port: found the text '1'; wanted {PORT} (remove the quotes)",
        ),
        (
            "port = 26400",
            "prot = 26400",
            "prot = 26400",
            "unknown key feed.prot; did you mean port? allowed: address, b, format, gap_limit_ms, gap_wait_us, "
            "interface, max_jump, port, receive_buffer, request, ring, session, silence_ms, source, start, store, "
            "timestamps",
        ),
        ("port = 26400", "", "[feed]", "feed.port: missing, and required (or ring)"),
        ("port = 26401", "", "[exchange]", f"exchange.port is missing; wanted {PORT}"),
        (
            '"127.0.0.1"       #',
            '"localhost" #',
            '"localhost" #',
            "feed.address: found 'localhost', allowed: an IPv4 address such as 127.0.0.1",
        ),
        ("fast = 10 ", "fast = 50 ", "fast = 50", "strategy.fast: found 50, allowed: less than slow (50)"),
        (
            '"BTCUSDT"',
            '"BTCUSDT_PERP"',
            '"BTCUSDT_PERP"',
            "strategy.symbol: found the text 'BTCUSDT_PERP'; wanted text matching ^[!-~]{1,8}$",
        ),
        (
            "max_size = 10",
            "max_size = 1000000",
            "max_size = 1000000",
            "risk.max_size: found the number 1000000; wanted an integer from 1 to 999999",
        ),
        (
            "max_size = 10",
            "max_size = -1",
            "max_size = -1",
            "risk.max_size: found the number -1; wanted an integer from 1 to 999999",
        ),
        (
            "[engine]",
            "[motor]",
            "[motor]",
            "unknown key motor; allowed: book, engine, exchange, feed, journal, risk, series, strategy",
        ),
        (
            "[strategy]",
            "[strategie]",
            "[strategie]",
            "unknown key strategie; did you mean strategy? allowed: book, engine, exchange, feed, journal, risk, "
            "series, strategy",
        ),
        (
            'name = "main"',
            'name = "../x"',
            'name = "../x"',
            "engine.name: found the text '../x'; wanted text matching ^[",
        ),
        (
            'symbol = "BTCUSDT"',
            'symbols = ["A", "A"]',
            "symbols =",
            "strategy.symbols: found one twice in ['A', 'A'], allowed: each once",
        ),
        (
            'symbol = "BTCUSDT"',
            "",
            "[strategy]",
            "strategy.symbol: found both or neither of symbol and symbols; allowed: one of them",
        ),
        (
            "port = 26400",
            "port = 26400\nring = '/x'",
            "ring = '/x'",
            "feed.ring: found with address, port, source, b or request; allowed: one way in",
        ),
        (
            "port = 26400",
            "port = 26400\nring = '/x\\u0000y'".replace("'", '"'),
            "ring = ",
            "feed.ring: found the text '/x\\x00y'; wanted text matching ",
        ),
        (
            "port = 26400",
            'port = 26400\nsource = "feed.example"',
            "source = ",
            "feed.source: found 'feed.example', allowed: an IPv4 address such as 127.0.0.1",
        ),
        (
            "port = 26400",
            'port = 26400\nsource = ["192.0.2.1", "239.1.1.1"]',
            "source = ",
            "feed.source: found '239.1.1.1', a multicast group; allowed: the address of a sender",
        ),
        (
            "port = 26400",
            'port = 26400\nsource = "192.0.2.1"\nb = { address = "127.0.0.2", port = 1 }',
            "source = ",
            "feed.source: found for one line of two, allowed: both source and b.source, or neither",
        ),
        (
            "port = 26400",
            'port = 26400\nrequest = { address = "127.0.0.2", port = 1, source = "192.0.2.1" }',
            "request = ",
            "feed.request: found with a source, allowed: without; answers come from its address alone",
        ),
        (
            "port = 26400",
            'port = 26400\nsession = "ELEVENCHARS"',
            "session = ",
            "feed.session: found the text 'ELEVENCHARS'; wanted text matching ",
        ),
        (
            "port = 26400",
            'port = 26400\nsession = "SESSION\\n"',
            "session = ",
            "feed.session: found the text 'SESSION\\n'; wanted text matching ",
        ),
        (
            "port = 26400",
            'port = 26400\ninterface = "eth0\\u0000"',
            "interface = ",
            "feed.interface: found the text 'eth0\\x00'; wanted text matching ",
        ),
        (
            "port = 26400",
            "port = 26400\nb = { address = 'x', port = 1 }",
            "b = {",
            "feed.b.address: found 'x', allowed: an IPv4 address such as 127.0.0.1",
        ),
        (
            "port = 26400",
            "port = 26400\nb = { adress = 'x', port = 1 }",
            "b = {",
            "unknown key feed.b.adress; did you mean address? allowed: address, interface, port, source",
        ),
        (
            "[risk]",
            "[risk]\ncollar = 11",
            "collar = 11",
            "risk.collar: found the number 11; wanted a number from 0 to 10",
        ),
    ],
)
def test_a_wrong_file_is_explained(tmp_path: Path, old: str, new: str, at: str, message: str) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    text = text.replace(old, new, 1)
    path = tmp_path / "agent.toml"
    path.write_text(text)
    with pytest.raises(config.ConfigError) as caught:
        config.load(path)
    line = 1 + text[: text.index(at)].count("\n")
    assert str(caught.value).startswith(f"{path}:{line}: {message}")


def test_what_is_not_toml_is_explained(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    text = EXAMPLE.read_text().replace("[risk]", "[risk", 1)
    path.write_text(text)
    line = 1 + text[: text.index("[risk")].count("\n")
    with pytest.raises(config.ConfigError, match=rf"^{path}: not TOML: .*line {line}, "):
        config.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(config.ConfigError, match=f"^{path}: not UTF-8 text$"):
        config.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"none\.toml: No such file"):
        config.load(tmp_path / "none.toml")
