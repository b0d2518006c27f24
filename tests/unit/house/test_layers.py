"""The house's floors: an import goes down, never up, never across two rooms of one floor, never in a circle."""

from pathlib import Path

import pytest

from .source_tree import arrows, circles, imports

ROOT = Path(__file__).resolve().parents[3]

#: The floors of each package, from the top down; the rooms (folders or modules) of a floor do not know each other.
#: desk stands on agent, agent on hosttune, and neither of these knows who stands on it. A module that is on another
#: floor than its room is named with it: the strategies' C structures are what parsers fill in and the loop hands on.
FLOORS: dict[str, list[set[str]]] = {
    "desk": [
        {"__main__"},
        {"cli"},
        {"bus", "export", "ingest", "profile", "report", "status", "sync", "worker"},
        {"codec", "kafka", "redis", "service"},
        {"config"},
        {"settings", "counters", "numbers", "pauses", "stop"},
        {"errors"},
        {"__init__"},
    ],
    "agent": [
        {"__main__"},
        {"cli"},
        {"replay"},
        {"monitor", "analysis"},
        {"engine", "exchange"},
        {"config_problems"},
        {"config"},
        {"strategy", "journal", "book"},
        {"shm"},
        {"protocols"},
        {"limits", "secret", "toml_text"},
        {"strategy.abi", "errors", "symbols", "system"},
        {"__init__"},
    ],
    "hosttune": [
        {"__main__"},
        {"cli"},
        {"attest"},
        {"launch", "measure"},
        {"capture", "checker"},
        {"stated"},
        {"profile"},
        {"checks"},
        {"hops", "report"},
        {"findings"},
        {"host", "parser"},
        {"output"},
        {"descriptors", "errors", "config_errors", "files"},
        {"refusals", "patterns"},
        {"__init__"},
        {"_build"},
    ],
}


#: From the top down.
HOUSES = list(FLOORS)


def _place(path: Path, root: Path) -> tuple[str, str]:
    """Returns the package and the room of a file."""
    package, *rest = path.relative_to(root).with_suffix("").parts
    module = ".".join(rest)
    return package, module if any(module in rooms for rooms in FLOORS[package]) else rest[0]


def _floor(package: str, room: str) -> int:
    for number, rooms in enumerate(FLOORS[package]):
        if room in rooms:
            return number
    raise AssertionError(f"{package}/{room} has no floor: add the room to FLOORS in {Path(__file__).name}")


def wrong_arrows(root: Path) -> list[str]:
    """Returns a line for each import below root that goes up, or across between two rooms of a floor."""
    found = set()
    for path, ends in arrows(root, FLOORS).items():
        package, room = _place(path, root)
        for end, line in ends:
            other, its_room = _place(end, root)
            if other != package:
                wrong = HOUSES.index(other) < HOUSES.index(package)
            else:
                wrong = its_room != room and _floor(package, its_room) <= _floor(package, room)
            if wrong:
                found.add(f"{path.relative_to(root)}:{line} imports {end.relative_to(root)}")
    return sorted(found)


def test_no_import_goes_up() -> None:
    assert wrong_arrows(ROOT) == []


def test_no_circle() -> None:
    found = circles(arrows(ROOT, FLOORS))
    assert [[str(path.relative_to(ROOT)) for path in circle] for circle in found] == []


def test_every_room_exists() -> None:
    for package, floors in FLOORS.items():
        for room in set().union(*floors) - {"_build"}:  # written by the build
            places = (ROOT / package / f"{room.replace('.', '/')}{suffix}" for suffix in ("", ".py", ".pxd"))
            assert any(place.exists() for place in places), f"{package}/{room}"


# What follows shows that the tests above can fail.


def _tree(root: Path, files: dict[str, str]) -> Path:
    for package in FLOORS:
        (root / package).mkdir(parents=True)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("agent/shm/ring.py", "from agent.engine import run\n"),
        ("agent/shm/ring.py", "def late():\n    from agent.engine import run\n"),
        ("agent/shm/ring.py", "def late():\n    import agent.engine.run as r\n"),
        ("agent/shm/ring.py", "import typing\nif typing.TYPE_CHECKING:\n    from agent.engine.run import x\n"),
        ("agent/shm/ring.py", "from ..engine import run\n"),
        ("agent/shm/ring.pxd", "from agent.engine.state cimport Core\n"),
        ("agent/shm/ring.pxd", "from agent.engine.state cimport (\n    Core, Other)\n"),
        ("agent/shm/ring.pxd", "cimport agent.engine.state as state\n"),
        ("agent/shm/_ring.pyx", "cdef f():\n    from agent.engine.run import x\n"),
        ("agent/exchange/plan.py", "from agent.engine.run import x\n"),  # across
        ("hosttune/host/irq.py", "from agent.engine import run\n"),  # the wrong house
        ("agent/engine/start.py", "from desk import config\n"),
    ],
)
def test_an_arrow_up_is_found(tmp_path: Path, name: str, text: str) -> None:
    there = {"agent/engine/run.py": "x = 1\n", "agent/engine/state.pxd": "", "desk/config.py": ""}
    root = _tree(tmp_path, {**there, name: text})
    assert len(wrong_arrows(root)) == 1
    assert wrong_arrows(root)[0].startswith(f"{name}:")


@pytest.mark.parametrize(
    "text",
    [
        "from agent.shm import ring\n",
        '"""Not an import:\nfrom agent.cli import main\n"""\nimport os\n',
        "# from agent.cli import main\n",
    ],
)
def test_what_points_down_or_is_no_import_is_not_found(tmp_path: Path, text: str) -> None:
    files = {"agent/shm/ring.py": "", "agent/cli/main.py": "", "agent/engine/run.py": text, "agent/engine/a.pyx": text}
    assert wrong_arrows(_tree(tmp_path, files)) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    files = {
        "agent/shm/a.py": "from agent.shm import b\n",
        "agent/shm/b.py": "def late():\n    from agent.shm.c import x\n",
        "agent/shm/c.pyx": "from agent.shm.a import y\n",
        "agent/shm/d.py": "from agent.shm import a\n",
    }
    root = _tree(tmp_path, files)
    (circle,) = circles(arrows(root, FLOORS))
    assert [path.stem for path in circle] == ["a", "b", "c"]


def test_a_room_without_a_floor_is_named(tmp_path: Path) -> None:
    root = _tree(tmp_path, {"agent/attic/a.py": "from agent.shm import b\n", "agent/shm/b.py": ""})
    with pytest.raises(AssertionError, match="agent/attic has no floor"):
        wrong_arrows(root)


def test_every_import_of_this_tree_is_read() -> None:
    """Whatever looks like an import of ours in the text is among what was read."""
    for path in arrows(ROOT, FLOORS):
        read = {one.line for one in imports(path, ROOT)}
        for number, line in enumerate(path.read_text().splitlines(), 1):
            words = line.split()
            if len(words) > 3 and words[0] == "from" and words[2] in ("import", "cimport"):
                assert number in read, f"{path}:{number}"
