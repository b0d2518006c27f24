"""Each role's argument_specs, defaults and README name the same variables, with the same defaults."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
OWN = {path.stem for path in (ROLES.parent / "plugins/modules").glob("hosttune_*.py")}
NAMES = sorted({"boot", "other_owners", *(path.parts[-3] for path in ROLES.glob("*/templates/profile.yml.j2"))})


def load(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


@pytest.fixture(params=NAMES)
def role(request: pytest.FixtureRequest) -> Path:
    return ROLES / str(request.param)


def test_specs_equal_defaults(role: Path) -> None:
    options = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    assert {name: option.get("default") for name, option in options.items()} == load(role / "defaults/main.yml")
    assert all(option["description"] and option["type"] for option in options.values())


def test_each_public_variable_has_the_role_as_prefix(role: Path) -> None:
    assert all(name.startswith(f"{role.name}_") for name in load(role / "defaults/main.yml"))


def test_each_private_variable_is_marked(role: Path) -> None:
    private = load(role / "vars/main.yml") if (role / "vars").exists() else {}
    assert all(name.startswith(f"__{role.name}_") for name in private)


def test_the_readme_lists_each_variable(role: Path) -> None:
    listed = re.findall(r"^\| `(\w+)`", (role / "README.md").read_text(), re.MULTILINE)
    assert listed == list(load(role / "defaults/main.yml"))


def test_only_builtin_modules_and_our_own(role: Path) -> None:
    keywords = {"name", "when", "loop", "loop_control", "vars", "register", "notify", "check_mode", "block"}
    keywords |= {"changed_when", "failed_when", "ignore_unreachable", "until", "retries", "delay"}

    def modules(tasks: list[dict[str, Any]]) -> list[str]:
        own = [key for task in tasks for key in task if key not in keywords]
        return own + [name for task in tasks if "block" in task for name in modules(task["block"])]

    for path in [*role.glob("tasks/*.yml"), *role.glob("handlers/*.yml")]:
        for module in modules(yaml.safe_load(path.read_text())):
            assert module.startswith("ansible.builtin.") or module in OWN, path
