"""plugins/modules/hosttune_settings.py: what it changes, what it remembers, and that a killed run can be repeated."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("ansible.module_utils.basic")

MODULE = Path(__file__).resolve().parents[3] / "plugins" / "modules" / "hosttune_settings.py"
CONFIG = "/etc/sysctl.d/99-zz-hosttune-demo.conf"
BACKLOG = "/proc/sys/net/core/netdev_max_backlog"
RMEM = "/proc/sys/net/ipv4/tcp_rmem"
THP = "/sys/kernel/mm/transparent_hugepage/enabled"
RECORD = "/var/lib/hosttune/demo/original.json"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hosttune_settings", MODULE)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


settings = _load()


class Machine(settings.Host):  # type: ignore[name-defined,misc]
    """A host in a directory, whose transparent_hugepage file shows a choice as the kernel does."""

    def write(self, path: str, text: str) -> None:
        real = Path(self.at(path))
        real.parent.mkdir(parents=True, exist_ok=True)
        real.write_text(text)

    def set_value(self, path: str, wanted: str) -> None:
        if path == THP:
            words = ("always", "madvise", "never")
            self.write(path, " ".join(f"[{w}]" if w == wanted else w for w in words) + "\n")
        else:
            super().set_value(path, wanted)

    def text(self, path: str) -> str:
        return Path(self.at(path)).read_text()

    def tree(self) -> dict[str, str]:
        root = Path(self.root)
        return {
            str(path.relative_to(root)): path.read_text() if path.is_file() else "directory" for path in root.rglob("*")
        }


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    machine = Machine(str(tmp_path))
    for directory in ("etc/sysctl.d", "var/lib"):
        (tmp_path / directory).mkdir(parents=True)
    machine.write(BACKLOG, "1000\n")
    machine.write(RMEM, "4096\t131072\t6291456\n")
    machine.write(THP, "[always] madvise never\n")
    return machine


FILES: dict[str, Any] = {CONFIG: "a = 1\n", "/etc/hosttune/profile.d/demo.yml": "demo: {}\n"}
VALUES: dict[str, Any] = {BACKLOG: 16384, RMEM: [4096, 131072, 67108864], THP: "never"}


def run(machine: Machine, **options: Any) -> dict[str, Any]:
    wanted: dict[str, Any] = {"name": "demo", "state": "present", "files": FILES, "values": VALUES, **options}
    result: dict[str, Any] = settings.run(machine, **wanted)
    return result


def test_first_run_writes_everything(machine: Machine) -> None:
    result = run(machine)
    assert result["changed"]
    assert result["paths"] == list(FILES)
    assert result["running"][BACKLOG] == {"before": "1000", "after": "16384"}
    assert machine.text(CONFIG) == "a = 1\n"
    assert machine.value(RMEM) == "4096 131072 67108864"
    assert machine.value(THP) == "never"


def test_second_run_changes_nothing(machine: Machine) -> None:
    run(machine)
    before = machine.tree()
    result = run(machine)
    assert not result["changed"] and not result["diff"]
    assert machine.tree() == before


def test_check_mode_writes_nothing_and_says_the_same(machine: Machine) -> None:
    before = machine.tree()
    planned = run(machine, check=True)
    assert machine.tree() == before
    assert planned == run(machine)


def test_diff_shows_files_and_running_values(machine: Machine) -> None:
    diff = {part["before_header"]: part for part in run(machine, check=True)["diff"]}
    assert diff[CONFIG]["before"] == "" and diff[CONFIG]["after"] == "a = 1\n"
    assert f"{BACKLOG} = 1000\n" in diff["running"]["before"]
    assert f"{BACKLOG} = 16384\n" in diff["running"]["after"]


def test_a_drifted_value_is_repaired_though_the_file_is_right(machine: Machine) -> None:
    run(machine)
    machine.write(BACKLOG, "1\n")
    result = run(machine)
    assert result["paths"] == [] and list(result["running"]) == [BACKLOG]
    assert machine.value(BACKLOG) == "16384"


@pytest.mark.parametrize("mode", [0o600, 0o666])
def test_a_drifted_mode_is_repaired(machine: Machine, mode: int) -> None:
    run(machine)
    path = Path(machine.at(CONFIG))
    path.chmod(mode)
    assert run(machine)["paths"] == [CONFIG]
    assert path.stat().st_mode & 0o777 == 0o644


def test_revert_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.tree()
    run(machine)
    result = run(machine, state="absent")
    assert result["changed"] and result["left"] == []
    after = machine.tree()
    assert after.pop(BACKLOG[1:]) == "1000" and before.pop(BACKLOG[1:])
    assert after.pop(RMEM[1:]).split() == before.pop(RMEM[1:]).split()
    assert after == before


def test_revert_of_an_untouched_host_changes_nothing(machine: Machine) -> None:
    before = machine.tree()
    assert not run(machine, state="absent")["changed"]
    assert machine.tree() == before


def test_the_record_is_of_the_first_run(machine: Machine) -> None:
    run(machine)
    machine.write(BACKLOG, "7\n")
    run(machine, values={**VALUES, BACKLOG: 32768})
    run(machine, state="absent")
    assert machine.value(BACKLOG) == "1000"


def test_a_file_of_someone_else_comes_back(machine: Machine) -> None:
    theirs = "/etc/default/demo"
    machine.write(theirs, "theirs\n")
    Path(machine.at(theirs)).chmod(0o600)
    files = {**FILES, theirs: "ours\n"}
    run(machine, files=files)
    assert machine.text(theirs) == "ours\n"
    run(machine, state="absent", files=files)
    assert machine.text(theirs) == "theirs\n"
    assert Path(machine.at(theirs)).stat().st_mode & 0o777 == 0o600


def test_a_link_is_made_and_removed(machine: Machine) -> None:
    unit = "/etc/systemd/system/irqbalance.service"
    files = {**FILES, unit: {"link": "/dev/null"}}
    run(machine, files=files)
    assert machine.look(unit) == {"link": "/dev/null"}
    assert not run(machine, files=files)["changed"]
    run(machine, state="absent", files=files)
    assert machine.look(unit) is None


def test_what_is_no_longer_asked_for_is_put_back_at_once(machine: Machine) -> None:
    run(machine)
    remaining = {CONFIG: FILES[CONFIG]}
    result = run(machine, files=remaining, values={THP: "never"})
    assert "/etc/hosttune/profile.d/demo.yml" in result["paths"]
    assert machine.value(BACKLOG) == "1000"
    assert not Path(machine.at("/etc/hosttune")).exists()
    assert list(json.loads(machine.text(RECORD))["values"]) == [THP]


def test_a_value_that_the_kernel_does_not_have_changes_nothing(machine: Machine) -> None:
    before = machine.tree()
    with pytest.raises(settings.Refused, match=r"core/busy_poll does not exist.*netdev_max_backlog"):
        run(machine, values={**VALUES, "/proc/sys/net/core/busy_poll": 50})
    assert machine.tree() == before


def test_a_value_that_the_kernel_turns_into_another_is_an_error(machine: Machine, monkeypatch: Any) -> None:
    monkeypatch.setattr(machine, "value", lambda path: "300")  # of 512 pages
    with pytest.raises(settings.Refused, match="wrote '512', and the kernel made it '300'"):
        run(machine, values={BACKLOG: 512})


def test_values_after_a_refused_one_are_still_written(machine: Machine, monkeypatch: Any) -> None:
    original = machine.set_value

    def refuse(path: str, wanted: str) -> None:
        if path == BACKLOG:
            raise settings.Refused(f"{path}: the kernel refused {wanted!r}: Invalid argument")
        original(path, wanted)

    monkeypatch.setattr(machine, "set_value", refuse)
    with pytest.raises(settings.Refused, match="netdev_max_backlog: the kernel refused"):
        run(machine)
    assert machine.value(THP) == "never"


def test_systemd_is_told_once_and_after_a_killed_run(machine: Machine) -> None:
    calls: list[str] = []

    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(machine, reload=killed)
    assert machine.text(CONFIG) == "a = 1\n"
    assert run(machine, reload=lambda: calls.append("reload"))["changed"]
    assert calls == ["reload"]
    assert not run(machine, reload=lambda: calls.append("reload"))["changed"]
    assert calls == ["reload"]


def test_a_killed_run_that_had_to_tell_systemd_and_one_that_has_nobody_to_tell(machine: Machine) -> None:
    def killed() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(machine, reload=killed)
    assert not run(machine)["changed"]
    calls: list[str] = []
    assert run(machine, reload=lambda: calls.append("reload"))["changed"]
    assert calls == ["reload"]


class Killed(Exception):
    pass


@pytest.mark.parametrize("state", ["present", "absent"])
def test_killed_at_any_write_and_repeated(tmp_path: Path, state: str) -> None:
    """Stop before the Nth change of the disk, for every N: the next run ends where an undisturbed one does."""
    for stop in range(1, 30):
        machine = Machine(str(tmp_path / str(stop)))
        for directory in ("etc/sysctl.d", "var/lib"):
            Path(machine.at(directory)).mkdir(parents=True)
        machine.write(BACKLOG, "1000\n")
        machine.write(RMEM, "4096 131072 6291456\n")
        machine.write(THP, "[always] madvise never\n")
        untouched = machine.tree()
        run(machine, reload=lambda: None)
        tuned = machine.tree()
        if state == "present":
            run(machine, state="absent")
        count = 0

        def counted(function: Any, stop: int = stop) -> Any:
            def wrapper(*arguments: Any) -> Any:
                nonlocal count
                count += 1
                if count == stop:
                    raise Killed
                return function(*arguments)

            return wrapper

        original = {name: getattr(machine, name) for name in ("put", "set_value", "make_parents", "drop_parents")}
        for name, function in original.items():
            setattr(machine, name, counted(function))
        try:
            run(machine, state=state, reload=lambda: None)
            finished = True
        except Killed:
            finished = False
        for name, function in original.items():
            setattr(machine, name, function)
        run(machine, state=state, reload=lambda: None)
        expected = tuned if state == "present" else untouched
        assert {path: " ".join(text.split()) for path, text in machine.tree().items()} == {
            path: " ".join(text.split()) for path, text in expected.items()
        }, f"killed before write {stop}"
        if finished:
            assert stop > 5
            return
    pytest.fail("never came to the end")


def test_offline_writes_files_only(machine: Machine) -> None:
    assert run(machine, offline=True)["paths"] == list(FILES)
    assert machine.value(BACKLOG) == "1000"
    assert machine.look(RECORD) is None


def test_revert_of_a_baked_image_says_what_only_a_reboot_puts_back(machine: Machine) -> None:
    run(machine, offline=True)
    for path, value in ((BACKLOG, "16384\n"), (RMEM, "4096 131072 67108864\n"), (THP, "always madvise [never]\n")):
        machine.write(path, value)
    assert not run(machine)["changed"]
    result = run(machine, state="absent")
    assert set(result["left"]) == set(VALUES)
    assert machine.look(CONFIG) is None
    assert machine.value(BACKLOG) == "16384"


def test_a_mask_of_the_administrator_survives_a_revert_that_had_nothing_to_do(machine: Machine) -> None:
    unit = "/etc/systemd/system/irqbalance.service"
    Path(machine.at(unit)).parent.mkdir(parents=True)
    Path(machine.at(unit)).symlink_to("/dev/null")
    run(machine, state="absent", files={**FILES, unit: {"link": "/dev/null"}})
    assert machine.look(unit) == {"link": "/dev/null"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": {"etc/x": ""}}, "'etc/x' is not an absolute path"),
        ({"files": {"/etc/x": {"text": ""}}}, "expected content and mode, or link; found .'text'."),
        ({"values": {"/etc/x": 1}}, "'/etc/x' is not below /proc or /sys"),
        ({"values": {THP: False}}, "False is a YAML boolean; quote kernel words"),
    ],
)
def test_bad_options(machine: Machine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(settings.Refused, match=message):
        run(machine, **options)
