"""The recipes of docs/contributing.md: what there is already was made by them."""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agent.protocols import formats as feed_formats
from hosttune.report import formats as output_formats

# Each package hands on its function main() under the module's name.
desk_cli = importlib.import_module("desk.cli.main")
agent_cli = importlib.import_module("agent.cli.main")
hosttune_cli = importlib.import_module("hosttune.cli.main")

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "contributing.md"

KEY, ROLE, OUTPUT, FEED = "A sysctl key", "A tuning role", "An output format", "A feed format"
STRATEGY, SUBCOMMAND = "A built-in strategy", "A subcommand"
#: The most files that a recipe may take.
MOST = {KEY: 5, OUTPUT: 1, FEED: 3}


def read_recipes(text: str) -> dict[str, list[str]]:
    """Returns the paths of each recipe, in order, with NAME and PROGRAM in them: by its heading."""
    found = {}
    for part in re.split(r"^### ", text, flags=re.M)[1:]:
        part = re.split(r"^## ", part, flags=re.M)[0]
        found[part.partition("\n")[0]] = re.findall(r"^\d+\. `([^`]+)`:", part, re.M)
    return found


RECIPES = read_recipes(PAGE.read_text())


def lacks(root: Path, recipe: list[str], name: str, program: str = "") -> list[str]:
    """Returns the paths of a recipe that are not there for NAME, or that do not name it."""
    found = []
    for entry in recipe:
        path = entry.replace("PROGRAM", program)
        places = sorted(root.glob(path.replace("NAME", name.replace("-", "_"))))
        named = "NAME" in path or any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", p.read_text()) for p in places)
        if not places or not named:
            found.append(entry)
    return found


def _instances() -> Iterator[tuple[str, str, str]]:
    """Yields recipe, NAME and PROGRAM of all that there is."""
    for key in yaml.safe_load((ROOT / "roles/net_buffers/defaults/main.yml").read_text())["net_buffers_sysctl"]:
        yield KEY, key, ""
    for path in sorted((ROOT / "hosttune/checks").glob("[a-z]*.py")):
        yield ROLE, path.stem, ""
    for name in output_formats.list_formats(("as_data", "as_text", "as_metrics")):
        yield OUTPUT, name, ""
    for row in feed_formats.FORMATS:
        if row.ticks:
            yield FEED, row.name, ""
    for path in sorted((ROOT / "agent/strategy/builtin").glob("[a-z]*.*")):
        if path.suffix in (".py", ".pyx", ".rs"):
            yield STRATEGY, path.stem, ""
    for program, module in (("hosttune", hosttune_cli), ("agent", agent_cli), ("desk", desk_cli)):
        for name in module.COMMANDS:
            yield SUBCOMMAND, name, program


INSTANCES = list(_instances())


@pytest.mark.parametrize(("recipe", "name", "program"), INSTANCES, ids=[f"{p or r}-{n}" for r, n, p in INSTANCES])
def test_what_is_there_keeps_its_recipe(recipe: str, name: str, program: str) -> None:
    assert lacks(ROOT, RECIPES[recipe], name, program) == []


def test_each_recipe_has_something_that_keeps_it() -> None:
    assert {recipe for recipe, _, _ in INSTANCES} == set(RECIPES)


def test_recipes_stay_short() -> None:
    assert {recipe: len(paths) for recipe, paths in RECIPES.items() if len(paths) > MOST.get(recipe, 99)} == {}
    assert all(RECIPES.values())


def test_each_tuning_role_is_listed_by_its_folder() -> None:
    """A role that writes a section of the profile has a check of that name, and the other way round."""
    roles = {path.parts[-3] for path in ROOT.glob("roles/*/templates/profile.yml.j2")}
    assert roles == {name for recipe, name, _ in INSTANCES if recipe == ROLE}


def test_the_built_in_profile_wants_what_the_role_sets() -> None:
    """Else a host that the role tuned would fail the profile that any host is first looked at with."""
    profile = yaml.safe_load((ROOT / "hosttune/profiles/trading.yml").read_text())["net_buffers"]["sysctl"]
    role = yaml.safe_load((ROOT / "roles/net_buffers/defaults/main.yml").read_text())["net_buffers_sysctl"]
    assert {key: role[key] for key in profile} == profile


def test_a_file_that_is_missing_is_found(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("other_thing")
    recipe = ["room/NAME.py", "list.txt"]
    assert lacks(tmp_path, recipe, "thing") == recipe
    (tmp_path / "room").mkdir()
    (tmp_path / "room/thing.py").touch()
    (tmp_path / "list.txt").write_text("other_thing, thing")
    assert lacks(tmp_path, recipe, "thing") == []


def test_one_file_is_an_output_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shout.py").write_text('NEEDS = "as_text"\n\n\ndef write(document, page):\n    return "!"\n')
    monkeypatch.setattr(output_formats, "__path__", [*output_formats.__path__, str(tmp_path)])
    assert agent_cli.main(["venues", "--format", "shout"]) == 0
    assert capsys.readouterr().out == "!"
    assert hosttune_cli.main(["check", "--profile", "trading", "--format", "shout"]) in (0, 1, 3)
    assert capsys.readouterr().out == "!"
