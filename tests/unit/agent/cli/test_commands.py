"""The registry of subcommands: each is one module, is documented, and shows its help."""

import importlib
import re
from pathlib import Path

import pytest

import agent
import hosttune
from agent import cli
from agent.cli.main import COMMANDS, build_parser
from hosttune.report import formats

ROOT = Path(__file__).resolve().parents[4]
#: Modules of the folder that are no subcommands.
SHARED = {"__init__", "main", "options", "output"}
FORMATTED = {
    "run": formats.list_formats(),
    "check-config": formats.list_formats(),
    "journal": formats.list_formats(),
    "replay": formats.list_formats(),
    "stats": formats.list_formats((*formats.VIEWS, "as_metrics")),
    "var": formats.list_formats(),
    "venues": formats.list_formats(),
    "exchange": formats.list_formats(),
}


def test_each_module_of_the_folder_is_a_subcommand() -> None:
    folder = Path(agent.__file__).parent / "cli"
    assert {path.stem for path in folder.glob("*.py")} - SHARED == {name.replace("-", "_") for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_subcommand_has_what_the_registry_asks_for(name: str) -> None:
    module = importlib.import_module(f"agent.cli.{name.replace('-', '_')}")
    assert callable(module.add_arguments) and callable(module.run)
    assert (module.__doc__ or "").startswith(f"`agent {name}`: ")
    defaults = build_parser(name).parse_args([name, *required_arguments(name)])
    assert defaults.run is module.run


def required_arguments(name: str) -> list[str]:
    """The least that a subcommand takes."""
    return {
        "run": ["a.toml"],
        "check-config": ["a.toml"],
        "journal": ["a.journal"],
        "replay": ["a.gz"],
        "var": ["--volatility", "0.1"],
        "exchange": ["--feed", "generated"],
    }.get(name, [])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_subcommand_is_documented(name: str) -> None:
    page = (ROOT / "docs" / "agent.md").read_text()
    (synopsis,) = re.findall(r"^# The agent\n\n((?:    .*\n)+)", page)
    assert re.search(rf"^    agent (?:[\w]+ \| )*{name}\b", synopsis, re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_subcommand_is_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: agent {name} [-h]")
    choices = "{" + ",".join(FORMATTED[name]) + "}" if name in FORMATTED else None
    assert choices in text if choices else "--format" not in text


def test_the_help_of_the_command_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--help"])
    assert caught.value.code == 0
    assert re.findall(r"^    ([\w-]+)(?: |$)", capsys.readouterr().out, re.M) == list(COMMANDS)


@pytest.mark.parametrize("columns", ["40", "60", "150", "x"])
def test_the_help_is_as_wide_as_asked_for(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        cli.main(["exchange", "--help"])
    width = max(map(len, capsys.readouterr().out.splitlines()))
    most = {"40": 60, "60": 60, "150": 150, "x": 100}[columns]
    assert most - 20 < width <= most


def test_the_version_is_hosttunes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"agent {hosttune.__version__}\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["stat"], f"invalid choice: 'stat' (choose from {', '.join(map(repr, COMMANDS))})"),
        (["stats", "--format", "xml"], "invalid choice: 'xml' (choose from 'text', 'json', 'prometheus')"),
        (["var", "--format", "prometheus", "--volatility", "1"], "invalid choice: 'prometheus'"),
        (["journal"], "the following arguments are required: file"),
        (["--set", "limits"], "unrecognized arguments: --set"),
        (["top", "--count"], "argument --count: expected one argument"),
        (["kill", "a", "b"], "unrecognized arguments: b"),
        (["exchange", "--feed", "x", "--rate", "1", "--speed", "1"], "--speed: not allowed with argument --rate"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    said = capsys.readouterr()
    assert not said.out and message in said.err
