"""Files with names in them that give a terminal orders, and files of such names, through the real commands."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent import cli
from agent.journal import _record
from agent.journal.layout import MAGIC, OLD_MAGIC
from agent.journal.record import ENTERED, Record
from hosttune import cli as hosttune
from hosttune.findings import Report
from tests.unit.house.hostile import WORDS, fill, find_orders

from ..conftest import Hand

#: Eight bytes, as a symbol has.
SYMBOLS = [b"\x1b[2J\x07\rAB", b"\x9b2JA\x7f\x00BC", b"A\nB\nC\nD\n", b"\xe2\x80\xaeABCDE"]


def show(run: Callable[[list[str]], int], words: list[str], capfd: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Returns the exit status and all that was printed, which has no orders and no traceback."""
    code = run(words)
    out, said = capfd.readouterr()
    assert not find_orders(out + said), (words, out + said)
    assert "Traceback" not in said
    assert code in (0, 1, 2, 3)
    assert code != 2 or said.count("\n") == 1
    return code, out


@pytest.fixture(params=[word.replace("/", "") for word in WORDS], ids=ascii)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A directory with a hostile name."""
    made = tmp_path / request.param[:60]
    made.mkdir()
    return made


@pytest.mark.parametrize("symbol", SYMBOLS, ids=ascii)
def test_a_segment(symbol: bytes, folder: Path, hand: Callable[..., Hand], capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "segment"
    data = bytes(hand().segment)
    assert b"BTCUSDT " in data
    path.write_bytes(data.replace(b"BTCUSDT ", symbol))
    for form in ("text", "json", "prometheus"):
        show(cli.main, ["stats", str(path), "--format", form], capfd)
    for words in (["top", "--count", "1", "--interval", "0.01"], ["limits"], ["kill"], ["resume"]):
        show(cli.main, [words[0], str(path), *words[1:]], capfd)


@pytest.mark.parametrize("symbol", SYMBOLS, ids=ascii)
def test_a_journal(symbol: bytes, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "x.journal"
    record = _record.pack(dict.fromkeys(Record.__struct_fields__, 1) | {"kind": ENTERED, "symbol": 0})
    for header in (
        OLD_MAGIC + (1).to_bytes(8, "little") + symbol,
        MAGIC + struct.pack("<IIQQ", 1, len(record), 1, 0) + symbol.rstrip().ljust(24, b"\0"),
    ):
        path.write_bytes(header + record)
        for form in ("text", "json"):
            show(cli.main, ["journal", str(path), "--format", form], capfd)


@pytest.mark.parametrize("line", ["{},{},{},1,2", "{},{},{},x,2", "{}"])
def test_venues(line: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "venues.csv"
    for name in (folder.name.replace("\udcff", ""), '"a\x1b[2J"', "\x9b\u202e"):
        path.write_text(f"{line.replace('{}', name)}\nother,city,venues,1,2\n")
        for form in ("text", "json"):
            show(cli.main, ["venues", "--file", str(path), "--format", form], capfd)


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x9b = 1\n", "[feed]\n'\x7f\x85\u202e' = 1\n", "[feed\x1b]\n", "name = '\u2028'\n"]
)
def test_a_configuration(text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "agent.toml"
    path.write_text(text)
    for words in (["run", str(path)], ["warm", "--config", str(path)]):
        assert show(cli.main, words, capfd)[0] == 2


@pytest.mark.parametrize("text", WORDS[:3], ids=ascii)
def test_two_reports(text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from tests.unit.house.test_printers import GIVEN

    path = folder / "report.json"
    path.write_bytes(msgspec.json.encode(fill(Report, text, GIVEN)))
    for form in ("text", "json"):
        code, out = show(hosttune.main, ["diff", str(path), str(path), "--format", form], capfd)
        assert code == 0 and (form == "text" or json.loads(out)["before"]["host"]["hostname"] == text)


@pytest.mark.parametrize(
    "text", ["{", '{"format": "\x1b[2J"}', '{"format": "\\u001b[2J\\u009b"}', "\x1b[2J: \x9b\n- \x85"]
)
@pytest.mark.parametrize("words", [["check", "--snapshot"], ["check", "--profile"], ["diff", "/dev/null"]])
def test_what_is_no_such_file(words: list[str], text: str, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "file"
    path.write_text(text)
    assert show(hosttune.main, [*words, str(path)], capfd)[0] == 2


@pytest.mark.parametrize("values", [{"net_buffers": {"sysctl": {"net.core.rmem_max": "a\x1b[2J\n\x9b"}}},
                                    {"irq_affinity": {"housekeeping": "0", "queues": {"\x1b[2J": "0"}}},
                                    {"rt_limits": {"users": {"\x1b]0;x\x07": {"rtprio": 1}}}},
                                    {"\x1b[2J": {"\x9b": 1}}])  # fmt: skip
def test_a_profile(values: Any, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = folder / "profile.yml"
    path.write_text(json.dumps(values))
    for form in ("text", "json"):
        show(hosttune.main, ["check", "--profile", str(path), "--format", form], capfd)
