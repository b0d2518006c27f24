"""agent.toml: what is refused, and whether the message helps."""

import os
import time
from pathlib import Path

import pytest

import agent
from agent import config
from tests.cpu_time import is_soon

EXAMPLE = Path(agent.__file__).parent / "example.toml"


def test_the_example_is_complete_and_right() -> None:
    settings = config.load(EXAMPLE)
    assert settings.strategy.name == "ema_cross"
    assert settings.feed.receive_buffer == 8 << 20
    assert settings.exchange.password_file == ""
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
            "interface, market, max_jump, port, receive_buffer, request, ring, session, silence_ms, source, start, "
            "store, time_unit, timestamps",
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
            '"TWENTYONECHARACTERSUP"',
            '"TWENTYONECHARACTERSUP"',
            "strategy.symbol: found the text 'TWENTYONECHARACTERSUP'; wanted text matching ^[!-~]{1,20}\\Z",
        ),
        (
            'symbol = "BTCUSDT"',
            'symbol = "1000PEPEUSDT"',
            "symbol =",
            "strategy.symbol: found '1000PEPEUSDT', 12 characters, and orders have 8; wanted the exchange's name of "
            'it: exchange.symbols = {"1000PEPEUSDT" = "1000PEPE"}, say',
        ),
        (
            'symbol = "BTCUSDT"',
            'symbols = ["BTCUSDT", "1000PEPEUSDT"]',
            "symbols = [",
            "strategy.symbols[1]: found '1000PEPEUSDT', 12 characters, and orders have 8; wanted ",
        ),
        (
            "port = 26401",
            'port = 26401\nsymbols = { "BTCUSD" = "BTC" }',
            "symbols =",
            "exchange.symbols: found 'BTCUSD', which is no symbol of the strategy; did you mean BTCUSDT? "
            "allowed: BTCUSDT",
        ),
        (
            "port = 26401",
            'port = 26401\nsymbols = { "BTCUSDT" = "NINECHARS" }',
            "symbols =",
            "exchange.symbols.BTCUSDT: found the text 'NINECHARS'; wanted text matching ^[!-~]{1,8}\\Z",
        ),
        (
            'format = "binance"',
            'time_unit = "s"',
            "time_unit =",
            "feed.time_unit: found the text 's'; wanted ",
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
            "symbols = [",
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
            "feed.ring: found with address, port, source or b; allowed: one way in, and request",
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
            '"trader"',
            '"trader\\n"',
            "username =",
            "exchange.username: found the text 'trader\\n'; wanted text matching ^[ -~]{1,12}\\Z",
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
    with pytest.raises(config.ConfigError, match=rf"^{path}:{line}: not TOML: .*line {line}, "):
        config.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(config.ConfigError, match=f"^{path}: not UTF-8 text$"):
        config.load(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match=r"none\.toml: No such file"):
        config.load(tmp_path / "none.toml")


SECRET = "hunter2!"


@pytest.mark.parametrize(
    ("line", "key"),
    [
        (f'password = "{SECRET}"', "password"),
        (f'password = ["{SECRET}"]', "password"),
        (f'password_file = "{SECRET}"', "password_file"),
        ("password_file = 86420", "password_file"),
        (f'password_file = {{ path = "{SECRET}" }}', "password_file"),
    ],
)
def test_a_password_in_the_configuration_is_refused_and_not_shown(tmp_path: Path, line: str, key: str) -> None:
    path = tmp_path / "agent.toml"
    text = EXAMPLE.read_text().replace('username = "trader"', f'username = "trader"\n{line}', 1)
    path.write_text(text)
    number = 1 + text[: text.index(line)].count("\n")
    with pytest.raises(
        config.ConfigError, match=rf"^{path}:{number}: exchange\.{key}: found .* allowed: the password in"
    ) as e:
        config.load(path)
    assert SECRET not in str(e.value) and "86420" not in str(e.value)


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.touch(mode=0o600)
    path.write_text(SECRET + "\n")
    return path


def exchange(path: Path | str = "") -> config.Exchange:
    return config.Exchange(address="127.0.0.1", port=1, username="u", password_file=str(path))


def test_the_password_is_in_a_file(password_file: Path) -> None:
    assert config.read_password(exchange(password_file)) == SECRET.encode()


def test_the_password_is_a_credential(password_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(password_file.parent))
    credential = password_file.rename(password_file.with_name("exchange_password"))
    for mode in (0o400, 0o440):  # systemd's; the latter where it lets the service's user in by an access control list
        credential.chmod(mode)
        assert config.read_password(exchange()) == SECRET.encode()


def test_no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(config.ConfigError, match=r"^exchange\.password_file: missing, and required where systemd"):
        config.read_password(exchange())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(
        config.ConfigError, match=rf"^exchange\.password_file: {tmp_path}/exchange_password: No such file"
    ):
        config.read_password(exchange())


@pytest.mark.parametrize("content", ["", "\n", "98765432101", "QZ\nQZ", "QZ\n\n", "QZä", "QZ\t", "QZ\0", "QZ" * 50_000])
def test_what_is_no_password_is_refused_and_not_shown(password_file: Path, content: str) -> None:
    password_file.write_text(content)
    with pytest.raises(config.ConfigError) as e:
        config.read_password(exchange(password_file))
    assert str(e.value).startswith(f"exchange.password_file: {password_file}: found ")
    assert "QZ" not in str(e.value) and "9876" not in str(e.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_password_that_others_can_read_is_refused(password_file: Path, mode: int) -> None:
    password_file.chmod(mode)
    with pytest.raises(config.ConfigError, match=rf"found mode {mode:04o}, allowed: no more than 0[46]00$"):
        config.read_password(exchange(password_file))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give files away")
def test_a_password_in_a_directory_of_another_user_is_refused(password_file: Path) -> None:
    theirs = password_file.with_name("theirs")
    theirs.mkdir()
    path = password_file.rename(theirs / "password")
    os.chown(theirs, 12345, 12345)
    with pytest.raises(config.ConfigError, match=rf"^exchange\.password_file: {theirs}: found a file of user 12345"):
        config.read_password(exchange(path))


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make files of another user")
def test_a_password_of_another_user_is_refused(password_file: Path) -> None:
    os.chown(password_file, 12345, 12345)
    with pytest.raises(config.ConfigError, match=r"found a file of user 12345, allowed: one of user 0$"):
        config.read_password(exchange(password_file))


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_what_is_not_a_regular_file_is_refused_at_once(password_file: Path, kind: str) -> None:
    real = password_file.rename(password_file.with_name("real"))
    if kind == "fifo":
        os.mkfifo(password_file, 0o600)
    elif kind == "link":
        password_file.symlink_to(real)
    else:
        password_file.mkdir(mode=0o700)
    begun = time.monotonic()
    with pytest.raises(config.ConfigError, match=f"^exchange.password_file: {password_file}: found a "):
        config.read_password(exchange(password_file))
    assert time.monotonic() - begun < 1


def test_a_configuration_that_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path, Path("/dev/zero")):
        begun = time.monotonic()
        with pytest.raises(config.ConfigError, match=f"^{path}: found .*, allowed: a regular file$"):
            config.load(path)
        assert time.monotonic() - begun < 1


BOMBS = {
    "ten megabytes": "# " + "x" * 10_000_000,
    "many lines": "[feed]\n" + "# x\n" * 15_000,
    "a long text": '[feed]\nport = """' + "\n" * 60_000 + '"""',
    "deep lists": "a = " + "[" * 60_000,
    "deep tables": "a = " + "{a = " * 10_000 + "1" + "}" * 10_000,
    "a dotted key": "a" + ".a" * 30_000 + " = 1",
    "dotted keys": "".join(f"a{i}" + ".a" * 300 + " = 1\n" for i in range(105)),
    "dotted tables": "".join(f"[a{'.a' * i}]\n" for i in range(200)),
    "a long number": "[feed]\nport = " + "1" * 5_000,
    "many keys": "[feed]\n" + "".join(f"k{i} = 1\n" for i in range(6_000)),
    "many wrong values": "[strategy]\nsize = 1\nvalues = [" + '"x", ' * 10_000 + "]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_line_and_soon(tmp_path: Path, name: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(BOMBS[name])

    def load() -> None:
        with pytest.raises(config.ConfigError, match=rf"^{path}[^\n]*\Z") as e:
            config.load(path)
        assert len(str(e.value)) < 1000

    assert is_soon(load, 2)


def names(strategy: str, exchange: str = "", form: str = "binance") -> str:
    """Returns the example with these symbols, and what it says of their names at the exchange."""
    text = (
        EXAMPLE.read_text().replace('symbol = "BTCUSDT"', strategy).replace('format = "binance"', f'format = "{form}"')
    )
    return text.replace("port = 26401", f"port = 26401\n{exchange}")


@pytest.mark.parametrize(
    "given",
    [
        {"1000PEPEUSDT": "PEPE", "BTCUSDT": "PEPE"},
        {"1000PEPEUSDT": "BTCUSDT"},
        {"1000PEPEUSDT": "PEPE", "1000PEPEUSDC": "PEPE"},
    ],
)
def test_two_symbols_of_one_name_at_the_exchange_are_refused(given: dict[str, str]) -> None:
    table = ", ".join(f'"{symbol}" = "{name}"' for symbol, name in ({"1000PEPEUSDC": "PEPEUSDC"} | given).items())
    text = names('symbols = ["BTCUSDT", "1000PEPEUSDT", "1000PEPEUSDC"]', f"symbols = {{ {table} }}")
    with pytest.raises(
        config.ConfigError, match=r"a\.toml:\d+: exchange\.symbols: found '\w+' for both '\w+' and '"
    ) as error:
        config.parse(text, "a.toml")
    assert text.split("\n")[int(str(error.value).split(":")[1]) - 1].startswith("symbols = {")


def test_names_may_be_exchanged_for_one_another() -> None:
    table = 'symbols = { "AAPL" = "MSFT", "MSFT" = "AAPL" }'
    assert config.parse(names('symbols = ["AAPL", "MSFT"]', table), "a.toml").exchange.symbols["AAPL"] == "MSFT"


def test_itch_has_names_of_8_characters() -> None:
    text = names('symbols = ["AAPL", "NINECHARS"]', 'symbols = { "NINECHARS" = "NINE" }', "itch")
    with pytest.raises(config.ConfigError) as error:
        config.parse(text, "a.toml")
    line = next(i for i, found in enumerate(text.split("\n"), 1) if "NINECHARS" in found and "AAPL" in found)
    assert str(error.value) == (
        f"a.toml:{line}: strategy.symbols[1]: found 'NINECHARS', allowed: at most 8 characters (feed.format itch)"
    )
