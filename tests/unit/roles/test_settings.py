"""plugins/modules/hosttune_settings.py: what it changes, and what it remembers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.roles.machine import BACKLOG, CONFIG, FILES, PROFILE, RECORD, RMEM, THP, VALUES, Machine, run, settings
from tests.unit.roles.machine import records as hosttune_record

STATED = "/var/lib/hosttune/stated/demo.yml"


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
    path = machine.at(CONFIG)
    path.chmod(mode)
    assert run(machine)["paths"] == [CONFIG]
    assert path.stat().st_mode & 0o777 == 0o644


def test_revert_leaves_the_host_as_it_was(machine: Machine) -> None:
    before = machine.tree()
    run(machine)
    result = run(machine, state="absent")
    assert result["changed"] and result["left"] == []
    assert machine.tree() == before


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
    machine.at(theirs).chmod(0o600)
    files = {**FILES, theirs: "ours\n"}
    run(machine, files=files)
    assert machine.text(theirs) == "ours\n"
    run(machine, state="absent", files=files)
    assert machine.text(theirs) == "theirs\n"
    assert machine.at(theirs).stat().st_mode & 0o777 == 0o600


def test_a_link_is_made_and_removed(machine: Machine) -> None:
    unit = "/etc/systemd/system/irqbalance.service"
    files = {**FILES, unit: {"link": "/dev/null"}}
    run(machine, files=files)
    assert machine.look(unit)["link"] == "/dev/null"
    assert not run(machine, files=files)["changed"]
    run(machine, state="absent", files=files)
    assert machine.look(unit) is None


def test_what_is_no_longer_asked_for_is_put_back_at_once(machine: Machine) -> None:
    run(machine)
    remaining = {CONFIG: FILES[CONFIG]}
    result = run(machine, files=remaining, values={THP: "never"})
    assert "/etc/hosttune/profile.d/demo.yml" in result["paths"]
    assert machine.value(BACKLOG) == "1000"
    assert not machine.at("/etc/hosttune").exists()
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


@pytest.mark.parametrize("tuned", [False, True])
def test_a_refused_value_leaves_nothing_half_done(machine: Machine, monkeypatch: Any, tuned: bool) -> None:
    """Nothing of it is asked of the next boot either; the values that the kernel took before and after go back."""
    if tuned:
        run(machine, files={CONFIG: "a = 0\n"}, values={RMEM: [1, 2, 3]})
    original = machine.set_value

    def refuse(path: str, wanted: str) -> None:
        if path == RMEM and wanted != "1 2 3":
            original(path, "7 7 7")  # made something else of
            raise settings.Refused(f"{path}: the kernel refused {wanted!r}: Invalid argument")
        original(path, wanted)

    before = machine.tree()
    if not tuned:
        monkeypatch.setattr(machine, "_write_value", lambda *_: None)  # nothing of the first is taken either
        with pytest.raises(settings.Refused, match="netdev_max_backlog: wrote '16384', and the kernel made it '1000'"):
            run(machine)
        assert machine.tree() == before
        return
    monkeypatch.setattr(machine, "set_value", refuse)
    with pytest.raises(settings.Refused, match="tcp_rmem: the kernel refused"):
        run(machine)
    after = machine.tree()
    assert {path: after[path] for path in before if path != RECORD} == {p: v for p, v in before.items() if p != RECORD}
    assert after.keys() == before.keys()
    monkeypatch.undo()
    run(machine)
    assert machine.text(CONFIG) == "a = 1\n"
    run(machine, state="absent")
    assert machine.value(RMEM) == "4096 131072 6291456" and machine.look(CONFIG) is None


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
    machine.at(unit).parent.mkdir(parents=True)
    machine.at(unit).symlink_to("/dev/null")
    run(machine, state="absent", files={**FILES, unit: {"link": "/dev/null"}})
    assert machine.look(unit)["link"] == "/dev/null"


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


def test_what_a_role_states_is_kept_until_the_role_takes_it_back(machine: Machine) -> None:
    """`hosttune check` compares the two: whoever removes a statement by hand is told."""
    before = machine.tree()
    asked = hosttune_record.add_statements(FILES)
    run(machine, files=asked)
    assert machine.text(STATED) == machine.text(PROFILE) == FILES[PROFILE]
    assert machine.at(STATED).stat().st_mode & 0o777 == 0o644
    machine.at(PROFILE).unlink()
    assert machine.text(STATED) == FILES[PROFILE]
    assert run(machine, files=asked)["paths"] == [PROFILE]
    changed = hosttune_record.add_statements({**FILES, PROFILE: "demo: {a: 1}\n"})
    assert run(machine, files=changed)["paths"] == [PROFILE, STATED]
    run(machine, files=changed, state="absent")
    assert machine.tree() == before


def test_the_module_itself_keeps_what_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    parameters = {"name": "demo", "state": "present", "files": FILES, "values": {}, "reload_systemd": False}

    class Module:
        check_mode = True

        def __init__(self, **_: Any) -> None:
            self.params = {**parameters, "offline": True}

        def exit_json(self, **result: Any) -> None: ...

    monkeypatch.setattr(settings, "AnsibleModule", Module)
    monkeypatch.setattr(settings, "run", lambda host, **options: asked.update(options) or {"conflicts": {}})
    settings.main()
    assert asked["files"] == {**FILES, STATED: FILES[PROFILE]}
