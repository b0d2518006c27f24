"""desk.toml: what is wrong is named by file, line and key, all of it at once."""

import re
from pathlib import Path

import pytest

from desk import config
from desk.cli.main import COMMANDS, main


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "desk.toml"
    path.write_text(text)
    return path


def test_an_unknown_key_is_named_with_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "# a comment\nkafca = 1\n")
    (problem,) = config.list_problems(path.read_text(), str(path))
    assert str(problem).startswith(f"{path}:2: unknown key kafca")
    with pytest.raises(config.ConfigError, match=r"desk\.toml:2: unknown key kafca"):
        config.load(path)


@pytest.mark.parametrize(
    ("text", "wanted"), [("a = [", "not TOML"), ("a = nan\n", "unknown key a"), ("a" * 5000, "found a longer line")]
)
def test_what_is_no_configuration(tmp_path: Path, text: str, wanted: str) -> None:
    with pytest.raises(config.ConfigError, match=wanted):
        config.load(write(tmp_path, text))


def test_the_command_answers_1_for_what_is_wrong_and_2_for_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", str(write(tmp_path, ""))]) == 0
    assert "every key is known" in capsys.readouterr().out
    assert main(["check-config", str(write(tmp_path, "x = 1\ny = 2\n"))]) == 1
    assert capsys.readouterr().out.count("unknown key") == 2
    assert main(["check-config", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_the_page_has_a_configuration_and_all_commands() -> None:
    page = (Path(__file__).parents[3] / "docs" / "desk.md").read_text()
    (table,) = re.findall(r"^```toml\n(.*?)^```$", page, re.M | re.S)
    assert config.list_problems(table, "desk.toml") == []
    found = config.parse(table, "desk.toml")
    assert found.ingest is not None and found.sync is not None
    assert [topic.ring for topic in found.ingest.topics][1] == found.worker["geo"].input
    assert set(COMMANDS) == set(re.findall(r"\bdesk ([a-z-]+)", page)) & set(COMMANDS)
