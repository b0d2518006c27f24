"""Profiles of TuneD: what we read of them is what TuneD's own loader makes of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hosttune.host import owners

PYTHON = "/usr/bin/python3"
#: Prints what TuneD's loader makes of profiles: name to the sections of the two types, null for one that it refuses.
LOADER = """
import json, logging, sys
from tuned.profiles import Factory, Loader, Locator, Merger
from tuned.profiles.variables import Variables
logging.disable(logging.CRITICAL)
found = {}
for name in sys.argv[2:]:
    try:
        loader = Loader(Locator(json.loads(sys.argv[1])), Factory(), Merger(), None, Variables())
        units = loader.load(name).units.values()
    except Exception:
        found[name] = None
        continue
    found[name] = [
        [unit.type, dict(unit.options)]
        for unit in units
        if unit.enabled and not unit.cpuinfo_regex and not unit.uname_regex and unit.type in ("sysctl", "vm")
    ]
print(json.dumps(found))
"""
CASES = {
    "overrides": "[main]\ninclude=base\n[vm]\ntransparent_hugepages=always\n[sysctl]\nnet.core.busy_poll=1\n",
    "replaces": "[main]\ninclude=base\n[sysctl]\nreplace=1\nnet.core.busy_read=1\n",
    "drops": "[main]\ninclude = base\n[sysctl]\ndrop=net.core.busy_poll ; net.core.x\nnet.core.y=1\n",
    "disables": "[main]\ninclude=base\n[vm]\nenabled=0\n",
    "two": "[main]\ninclude=base, other\n",
    "optional": "[main]\ninclude=base,-nothing\n",
    "missing": "[main]\ninclude=nothing\n",
    "circle": "[main]\ninclude=circle\n[sysctl]\nnet.core.busy_poll=5\n",
    "comments": "# [x]\n[sysctl] \n net.core.busy_poll = 3 # three\n;net.core.busy_read=4\nnet.core.z=\n",
    "larger": "[sysctl]\nnet.core.busy_poll=>3\nnet.core.busy_read = >4\n",
    "twice": "[sysctl]\nnet.core.busy_poll=1\n[sysctl]\nnet.core.busy_poll=2\n",
    "named": "[mine]\ntype=sysctl\nnet.core.busy_poll=8\n[also]\ntype=vm\ntransparent_hugepage=madvise\n",
    "loose": "net.core.busy_poll=8\n",
    "words": "[sysctl]\nnet.core.busy_poll\n",
    "some": "[vm]\nuname_regex=x\ntransparent_hugepages=always\n",
    "quoted": '[sysctl]\nnet.ipv4.tcp_rmem="1 2 3"\n',
    "empty": "",
}
BASE = "[vm]\ntransparent_hugepages=never\n[sysctl]\nnet.core.busy_poll=50\nnet.core.x=2\n"


def ask_tuned(directories: list[str], names: list[str]) -> dict[str, Any]:
    command = [PYTHON, "-c", LOADER, json.dumps(directories), *names]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "ModuleNotFoundError" in done.stderr:
        pytest.skip("TuneD is not installed for /usr/bin/python3 (Debian: tuned)")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def list_settings(units: list[list[Any]]) -> dict[str, str]:
    """Returns the knobs of the merged sections of TuneD's own."""
    found = {}
    for kind, options in units:
        for option, value in options.items():
            if kind == "sysctl":
                found[f"sysctl {option}"] = value.strip("\"' ")
            elif option in ("transparent_hugepages", "transparent_hugepage"):
                found[owners.TRANSPARENT] = value
    return {knob: value for knob, value in found.items() if "$" not in value}


def compare(directories: list[Path], names: list[str]) -> None:
    expected = ask_tuned([str(directory) for directory in reversed(directories)], names)
    places = dict(zip(("/etc/tuned", "/usr/lib/tuned"), directories, strict=False))

    def read(path: str) -> str | None:
        for top, directory in places.items():
            file = directory / path.removeprefix(f"{top}/")
            if path.startswith(f"{top}/") and file.is_file():
                return file.read_text()
        return None

    for name in names:
        made = owners.read_tuned(lambda path, name=name: name if path == owners.ACTIVE_PROFILE else read(path))
        if expected[name] is None:
            # What only TuneD's variables refuse cannot be known here.
            assert made.problem or name.startswith(("cpu-", "realtime")), name
            continue
        if "which only TuneD can work out" in made.problem:
            continue  # an include with a function in it
        assert made.problem == "", name
        known = {k: s.value for k, s in made.settings.items() if s.value is not None and k != owners.ISOLATION}
        assert known == list_settings(expected[name]), name


def test_profiles_are_merged_as_tuned_merges_them(tmp_path: Path) -> None:
    local, vendor = tmp_path / "etc", tmp_path / "lib"
    cases = {**CASES, "base": BASE, "other": "[sysctl]\nnet.core.busy_poll=60\n"}
    for name, text in cases.items():
        (vendor / name).mkdir(parents=True)
        (vendor / name / "tuned.conf").write_text(text)
    # One of the administrator's that adds to the vendor's of the same name.
    (local / "base").mkdir(parents=True)
    (local / "base/tuned.conf").write_text("[main]\ninclude=base\n[sysctl]\nnet.core.x=9\n")
    compare([local, vendor], list(cases))


def test_the_profiles_that_come_with_tuned_are_read(tmp_path: Path) -> None:
    vendor = Path("/usr/lib/tuned")
    names = sorted(path.parent.name for top in (vendor, vendor / "profiles") for path in top.glob("*/tuned.conf"))
    if not names:
        pytest.skip("TuneD is not installed (Debian: tuned)")
    compare([tmp_path, vendor if (vendor / names[0]).is_dir() else vendor / "profiles"], names)


@pytest.mark.parametrize(
    ("knob", "wanted", "value", "overruled"),
    [
        ("x", "50", "50", False),
        ("x", "50", "0", True),
        ("x", "1 2 3", "1  2\t3", False),
        ("x", "50", None, None),
        ("x", "50", ">40", False),
        ("x", "50", "=>60", True),
        ("x", "50", "<60", False),
        ("x", "50", "=<40", True),
        ("x", "bbr", ">40", True),
    ],
)
def test_what_is_overruled(knob: str, wanted: str, value: str | None, overruled: bool | None) -> None:
    assert owners.is_overruled(knob, wanted, owners.Setting(value, "f")) is overruled
