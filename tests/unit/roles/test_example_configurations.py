"""The configurations that this repository shows are such that an engine starts with them: `agent check-config`."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("ansible.plugins.action")

import agent
from agent.cli.main import main

from .rendering import load, render

ROOT = Path(__file__).resolve().parents[3]
README = ROOT / "roles/trading_agent/README.md"


def list_inventories() -> list[Path]:
    """Returns the files of inventories that have a configuration of the agent."""
    paths = [path for folder in ("inventory", "molecule") for path in (ROOT / folder).rglob("*.yml")]
    return sorted(path for path in paths if re.search(r"(?m)^ *trading_agent_config:", path.read_text()))


def read_readme() -> dict[str, Any]:
    """Returns the variables that the role's page begins with."""
    (block,) = re.findall(r"(?m)^    trading_agent_cpus: .*\n(?:(?:    .*)?\n)+", README.read_text())
    found: dict[str, Any] = yaml.safe_load(block)
    return found


def check(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Returns what keeps an engine from starting with a configuration."""
    code = main(["check-config", str(path), "--format", "json"])
    problems: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["problems"]
    assert code == int(bool(problems))
    return [problem["message"] for problem in problems]


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directories that the unit gives."""
    for name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "trading_agent"))
    # What the command changes of it comes back.
    monkeypatch.setattr(os, "environ", os.environ.copy())


def test_there_are_examples() -> None:
    names = {str(path.relative_to(ROOT)) for path in list_inventories()}
    assert names >= {f"inventory/{name}/group_vars/trading.yml" for name in ("demo", "example")}


@pytest.mark.parametrize("path", list_inventories(), ids=lambda path: str(path.relative_to(ROOT)))
def test_an_inventorys_configuration_starts(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = load(path)
    # The password of the example is in a vault.
    given |= {"trading_agent_cpus": "3", "trading_agent_exchange_password": "x"}
    (tmp_path / "agent.toml").write_text(render("trading_agent", given)["agent.toml"])
    assert check(tmp_path / "agent.toml", capsys) == []


def test_the_roles_page_shows_one_that_starts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = read_readme()
    assert given["trading_agent_config"]["feed"].pop("interface") == "eth1"
    given["trading_agent_config"]["feed"]["address"] = "127.0.0.1"  # of the desk's own host, as the interface
    given["trading_agent_exchange_password"] = "x"
    (tmp_path / "agent.toml").write_text(render("trading_agent", given)["agent.toml"])
    assert check(tmp_path / "agent.toml", capsys) == []


def test_the_packages_example_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(Path(agent.__file__).parent / "example.toml", capsys) == []
