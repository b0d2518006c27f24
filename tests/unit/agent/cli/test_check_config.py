"""`agent check-config`: all that is wrong, at once, with its place; what it takes starts, what it refuses does not."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import agent
from agent import config
from agent.cli.main import main
from agent.engine import run as engine
from agent.journal import file as journal
from hosttune import config_errors

EXAMPLE = (Path(agent.__file__).parent / "example.toml").read_text().replace('"ema_cross"', '"every_tick_cython"')


def put(table: str, lines: str, text: str = EXAMPLE) -> str:
    """Returns a configuration with lines at the begin of a table."""
    assert f"\n[{table}]\n" in text
    return text.replace(f"[{table}]\n", f"[{table}]\n{lines}\n")


class OpenedError(BaseException):
    """`agent run` got as far as the sockets."""


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host with a password, and directories of this user's."""
    credentials = tmp_path / "credentials"
    credentials.mkdir(mode=0o700)
    (credentials / "exchange_password").write_text("secret\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    for name in ("NUMBA_CACHE_DIR", "NUMBA_CACHE_LOCATOR_CLASSES", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)

    def open_feed(*arguments: object) -> None:
        raise OpenedError

    monkeypatch.setattr(engine, "open_feed", open_feed)
    # A busy machine finds each line, too.
    monkeypatch.setattr(config_errors, "_PATIENCE", 60.0)


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Runs `agent check-config` on a text, and `agent run`; the problems."""
    path = tmp_path / "agent.toml"

    def check(text: str, *arguments: str) -> list[dict[str, Any]]:
        path.write_text(text)
        code = main(["check-config", str(path), "--format", "json", *arguments])
        out, errors = capsys.readouterr()
        assert errors == ""
        said = json.loads(out)
        problems: list[dict[str, Any]] = said["problems"]
        assert code == int(not said["ok"]) == int(bool(problems))
        assert all("\n" not in problem["message"] for problem in problems)
        try:
            started = main(["run", str(path), *arguments])
        except OpenedError:
            # What `agent run` makes later than it opens the sockets.
            assert all(p["key"].startswith(("journal", "series.", "engine.shm", "feed.ring")) for p in problems)
        else:
            errors = capsys.readouterr().err
            assert (started, errors) == (2, f"agent: {problems[0]['message']}\n")
        return problems

    return check


def line_of(text: str, wanted: str) -> int:
    return 1 + text[: text.index(wanted)].count("\n")


def change(*changes: tuple[str, str]) -> str:
    text = EXAMPLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_the_example_is_fine(check: Callable[..., list[dict[str, Any]]], capsys: pytest.CaptureFixture[str]) -> None:
    assert check(EXAMPLE) == []
    assert main(["check-config", "agent.toml"]) == 0
    assert capsys.readouterr().out == "agent.toml: an engine can start with it\n"


def test_a_ring_that_is_not_there_is_said_with_who_makes_it(
    check: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    ring = tmp_path / "none.ring"
    lines = ('address = "127.0.0.1" ', f'ring = "{ring}"\n# '), ("port = 26400\n", "")
    (problem,) = check(change(*lines))
    wanted = f"feed.ring: {ring}: No such file or directory; the process that writes to it makes it, and starts first"
    assert problem["message"].endswith(wanted)


def test_all_that_is_wrong_is_said_at_once(check: Callable[..., list[dict[str, Any]]]) -> None:
    text = change(
        ("port = 26400", "prot = 26400"),
        ('username = "trader"', 'username = "much_longer"\npassword = "hunter2!"'),
        ("size = 1 ", 'size = "1" '),
        ("fast = 10 ", "fast = 60 "),
        ('symbol = "BTCUSDT"', 'symbols = ["A", "A"]'),
        ("max_size = 10\n", "max_size = 0\n"),
        ("[engine]", '[engine]\nshm = "/run/\\u0000"\nstamsp = true'),
    )
    problems = check(text)
    assert "hunter2!" not in json.dumps(problems)
    found = {(p["key"], p["line"]) for p in problems}
    assert {p["file"] for p in problems} == {str(Path.cwd() / "agent.toml")}
    assert found == {
        ("feed.prot", line_of(text, "prot =")),
        ("feed.port", line_of(text, "[feed]")),
        ("exchange.password", line_of(text, "password = ")),
        ("exchange.username", line_of(text, "username = ")),
        ("strategy.size", line_of(text, "size = ")),
        ("strategy.fast", line_of(text, "fast = ")),
        ("strategy.symbols", line_of(text, 'symbols = ["A"')),
        ("risk.max_size", line_of(text, "max_size = ")),
        ("engine.shm", line_of(text, "shm = ")),
        ("engine.stamsp", line_of(text, "stamsp = ")),
    }


def test_each_limit_that_the_size_cannot_pass_is_said(check: Callable[..., list[dict[str, Any]]]) -> None:
    text = change(
        ("size = 1 ", "size = 9 "), ("max_size = 10\n", "max_size = 2\nmax_position = 8\nmax_notional = 1e-4\n")
    )
    keys = re.compile(r"(?m)^(max_position|max_notional) = .*\n")
    head, tail = text.split("max_notional = 1e-4\n")
    text = f"{head}max_notional = 1e-4\n{keys.sub('', tail)}"
    size, notional = line_of(text, "size = 9"), line_of(text, "max_notional = ")
    assert [(p["key"], p["line"], p["found"], p["allowed"]) for p in check(text)] == [
        ("strategy.size", size, "9", "at most risk.max_size (2)"),
        ("strategy.size", size, "9", "at most risk.max_position (8)"),
        ("risk.max_notional", notional, "0.0001", "at least 0.0009, strategy.size (9) at the lowest price"),
    ]


#: Key, value, and how the message goes on behind file, line and key.
WRONG = [
    ("strategy.size", "11", "found 11, allowed: at most risk.max_size (10)"),
    ("risk.max_notional", "0.00005", "found 5e-05, allowed: at least 0.0001, strategy.size (1) at the lowest price"),
    (
        "strategy.size",
        "9223372036854775808",
        "found the number 9223372036854775808; wanted an integer from 1 to 999999",
    ),
    ("strategy.size", "true", "found true; wanted an integer from 1 to 999999"),
    ("strategy.slow", "nan", "found the number nan; wanted a number from 1 to 1000000000.0"),
    ("strategy.name", '"none"', "found 'none', allowed: ema_cross, "),
    ("strategy.values", "[0.0, inf]", "found "),
    ("engine.shm", '"/a\\nb"', "found the text '/a\\nb'; wanted printable characters"),
    ("engine.shm", '"/a\\u0000b"', "found the text '/a\\x00b'; wanted text matching"),
    ("engine.shm", '"/dev/null/x"', "/dev/null: Not a directory"),
    ("exchange.username", '"trader0"', "found 'trader0', allowed: at most 6 characters"),
    ("feed.interface", '"none0"', "found 'none0', allowed: an interface of this host: "),
    ("feed.address", '"192.0.2.77"', "found '192.0.2.77', allowed: an address of this host, or a multicast group"),
    ("journal.directory", '"/dev/null/x"', "/dev/null/x: Not a directory"),
]


@pytest.mark.parametrize(("key", "value", "message"), WRONG)
def test_what_is_wrong_has_its_key_and_line(
    check: Callable[..., list[dict[str, Any]]], key: str, value: str, message: str
) -> None:
    text = set_key(*key.split("."), value)
    (problem,) = check(text)
    line = text.count("\n")
    shown = f"{key}[1]" if value.startswith("[") else key
    assert problem["message"].startswith(f"{problem['file']}:{line}: {shown}: {message}")
    assert (problem["key"], problem["line"]) == (key, line)


@pytest.mark.parametrize("value", ['["A", ""]', '["\u20ac"]', "5", '["A", "1000PEPEUSDT"]', '["A", "A"]'])
def test_symbols_that_are_wrong_are_not_missing_too(check: Callable[..., list[dict[str, Any]]], value: str) -> None:
    (problem,) = check(change(('symbol = "BTCUSDT"', f"symbols = {value} ")))
    assert problem["key"] == "strategy.symbols"


def test_what_is_not_toml_has_its_line(check: Callable[..., list[dict[str, Any]]]) -> None:
    text = change(("[risk]", "[risk"))
    (problem,) = check(text)
    assert problem["message"].startswith(
        f"{problem['file']}:{line_of(text, '[risk')}: not TOML: Expected ']' at the end"
    )
    (problem,) = check("[feed]\nport = ")
    assert problem["message"].startswith(f"{problem['file']}:2: not TOML: ")


def test_a_shard_has_its_own_username_and_symbols(check: Callable[..., list[dict[str, Any]]]) -> None:
    text = change(('"trader"', '"tra{shard}"'), ('symbol = "BTCUSDT"', f"symbols = {[f'S{i}' for i in range(200)]}"))
    assert check(text, "--shard", "1/150") == []
    assert check(change(('"trader"', '"trade{shard}"')), "--shard", "0/1") == []
    assert check(text.replace("tra{", "trade{"), "--shard", "10/150")[0]["found"] == "'trade10'"
    none, shared = check(EXAMPLE, "--shard", "1/2")
    assert none["message"] == "--shard: found 1/2 with 1 symbols: none would be left"
    assert shared["key"] == "exchange.username" and shared["found"] == "'trader' for 2 shards"


def test_a_strategys_lines_are_named(
    check: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("numba")
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "loud_one.py").write_text(
        "from agent.strategy import Strategy\n"
        "def init(state, params):\n    assert params.size > 1\n    return -3\n"
        "def on_event(state, event, orders):\n    print(event.bid)\n    return 0\n"
        "STRATEGY = Strategy(on_event, [('a', 'i8')], init)\n"
        "def quiet(state, event, orders):\n    return 0\n"
        "def refuse(state, params):\n    return -3\n"
        "REFUSED = Strategy(quiet, [('a', 'i8')], refuse)\n"
    )
    text = change(('"every_tick_cython"', '"loud_one:STRATEGY"'))
    path = tmp_path / "agent.toml"
    path.write_text(text)
    from agent.engine.start_problems import find_problems

    found = find_problems(path, engine.Shard()).problems
    assert [(p.file, p.line, p.key) for p in found] == [
        (str(tmp_path / "loud_one.py"), 3, "strategy.name"), (str(tmp_path / "loud_one.py"), 6, "strategy.name"),
    ]  # fmt: skip
    text = text.replace(":STRATEGY", ":REFUSED")
    (problem,) = check(text)
    line = line_of(text, '"loud_one')
    assert problem["message"] == f"{path}:{line}: strategy loud_one: init returned -3"


def test_a_journal_of_other_symbols_is_refused(check: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    journal.create(tmp_path / "trading_agent" / "main.journal", ["ETHUSDT", "BTCUSDT"])
    (problem,) = check(EXAMPLE)
    assert problem["message"].endswith(
        "main.journal: is for the symbols ETHUSDT, BTCUSDT; allowed: these first, in this order, or another "
        "journal.directory"
    )


def test_no_file_of_an_engine_is_another_one(check: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    """Of each two that the configuration gives one path, also by another way to it."""
    (tmp_path / "way").symlink_to(tmp_path)
    segment, kept = tmp_path / "x.segment", tmp_path / "trading_agent/main.journal"
    for key, path, taken in (
        ("series.path", segment, "the segment"),
        ("series.path", tmp_path / "way/x.segment", "the segment"),
        ("series.path", tmp_path / "x.journal-ring", "the journal's ring"),
        ("series.path", kept, "the journal"),
        ("series.path", journal.snapshot_of(kept), "the journal's snapshot"),
        ("engine.shm", kept, "the journal"),
    ):
        text = put("engine", f'shm = "{path if key == "engine.shm" else segment}"')
        if key == "series.path":
            text = put("series", f'capacity = 16\npath = "{path}"', text)
        messages = [problem["message"] for problem in check(text)]
        assert any(taken in message and str(path) in message for message in messages), (key, path, messages)


def test_what_is_no_segment_and_no_ring_is_refused(check: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    segment = tmp_path / "x.segment"
    text = put("engine", f'shm = "{segment}"')
    assert check(text) == []
    segment.mkdir()
    assert [problem["key"] for problem in check(text)] == ["engine.shm"]
    segment.rmdir()
    segment.symlink_to(tmp_path / "elsewhere")
    assert [problem["key"] for problem in check(text)] == ["engine.shm"]
    segment.unlink()
    (tmp_path / "x.journal-ring").write_bytes(bytes(4096))  # of an engine that was killed before it wrote
    assert check(text) == []
    (tmp_path / "x.journal-ring").write_bytes(b"damaged" * 100)
    (problem,) = check(text)
    assert "x.journal-ring" in problem["message"]


def test_each_symbol_that_is_wrong_is_named(check: Callable[..., list[dict[str, Any]]]) -> None:
    symbols = ["1000PEPEUSDT", "1000SHIBUSDT", "ETHUSDT"]
    text = change(('symbol = "BTCUSDT"', f"symbols = {symbols}"))
    assert [problem["found"].split(",")[0] for problem in check(text)] == ["'1000PEPEUSDT'", "'1000SHIBUSDT'"]
    told = [problem["message"] for problem in check(put("exchange", 'symbols = {NOPE = "A", ALSO = "B"}'))]
    assert ["'NOPE'" in told[0], "'ALSO'" in told[1], len(told)] == [True, True, 2]


def test_one_line_twice_is_refused(check: Callable[..., list[dict[str, Any]]]) -> None:
    address = re.search(r'^address = "(.*)"', EXAMPLE, re.M)
    port = re.search(r"^port = (\d+)", EXAMPLE, re.M)
    assert address and port
    second = f'b = {{address = "{address[1]}", port = {port[1]}}}'
    (problem,) = check(put("feed", second))
    assert problem["key"] == "feed.b"
    assert check(put("feed", second.replace(port[1], str(int(port[1]) + 1)))) == []


def test_nothing_is_made(tmp_path: Path) -> None:
    (tmp_path / "agent.toml").write_text(EXAMPLE.replace("every_tick_cython", "every_tick"))
    before = sorted(tmp_path.rglob("*"))
    assert main(["check-config", "agent.toml"]) == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_what_systemd_will_make_need_not_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "agent.toml").write_text(EXAMPLE)
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.setenv(name, "/proc/none/trading_agent")
    assert main(["check-config", "agent.toml"]) == 0
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert main(["check-config", "agent.toml"]) == 0
    line = line_of(EXAMPLE, "[exchange]")
    assert f"warning: agent.toml:{line}: exchange.password_file: missing, so the password is" in capsys.readouterr().out
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    assert main(["check-config", "agent.toml"]) == 1


TABLES: dict[str, Any] = {
    "feed": config.Feed, "feed.b": config.Line, "feed.request": config.Line, "exchange": config.Exchange,
    "strategy": config.Strategy, "risk": config.Risk, "book": config.Book, "series": config.Series,
    "journal": config.Journal, "engine": config.Engine,
}  # fmt: skip
HOSTILE = [
    "-1", "0", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "4294967296", "1" + "0" * 400,
    "0x7fffffffffffffff", "1e308", "inf", "-inf", "nan", "0.5", "-0.0", "true", '""', '" "', '"\\u0000"',
    '"/a\\u0000b"',
    '"/a\\nb"', '"\\u001b[2J"', '"\\u202e"', '"relative/path"', '"../../etc/passwd"', '"/dev/null"', '"/proc/self/mem"',
    f'"/{"x" * 300}"', f'"{"/y" * 1500}"', f'"{"z" * 4000}"', '"ü"', '"{shard}"', '"%s%n"', "[]", "{}", "[[]]",
    "[1, 'x']", "[nan]", "['A', 'A']", "1979-05-27", "{ a = 1 }",
]  # fmt: skip


@pytest.mark.parametrize("table", TABLES)
def test_no_value_of_any_key_ends_in_a_traceback(check: Callable[..., list[dict[str, Any]]], table: str) -> None:
    """Each hostile value is taken by both commands, or refused by both with the key and its line."""
    refused = 0
    keys = [name for name in TABLES[table].__struct_fields__ if f"{table}.{name}" not in TABLES]
    for name in keys:
        for value in HOSTILE:
            problems = check(set_key(table, name, value))
            refused += bool(problems)
            for problem in problems:
                assert problem["key"] and problem["line"], problem["message"]
    assert refused > 10 * len(keys), "the test would show nothing"


def set_key(table: str, name: str, value: str) -> str:
    """The example with this key as its last line."""
    lines, inside, rest, moved = EXAMPLE.splitlines(), False, list[str](), list[str]()
    top = table.partition(".")[0]
    for line in lines:
        if line.startswith("["):
            inside = line.startswith(f"[{top}]")
        if not inside:
            rest.append(line)
        elif table != top or not line.startswith(f"{name} = "):
            moved.append(line)
    if table != top:
        moved += [f"[{table}]", *(f"{k} = {v}" for k, v in (("address", '"127.0.0.1"'), ("port", "1")) if k != name)]
    return "\n".join([*rest, *moved, f"{name} = {value}"]) + "\n"


def test_a_password_that_cannot_be_read_is_said(
    check: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", os.devnull)
    (problem,) = check(EXAMPLE)
    assert problem["key"] == "exchange.password_file" and "Not a directory" in problem["message"]
