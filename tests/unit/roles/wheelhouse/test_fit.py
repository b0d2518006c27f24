"""hosttune_wheelhouse/fit.py: which host a wheelhouse fits, and how a refusal reads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.roles.wheelhouse.examples import FACTS, FILES, MANIFEST, fit, host


def test_probe_describes_this_machine(tmp_path: Path) -> None:
    releases = tmp_path / "releases"
    for name in ("1.0-b", "1.0-a", "1.0-c"):
        (releases / name).mkdir(parents=True)
    (releases / "1.0-b" / ".complete").touch()
    (releases / "1.0-a" / ".complete").touch()
    (tmp_path / "current").symlink_to("releases/1.0-a")
    output = subprocess.run(
        [sys.executable, "-", tmp_path], stdin=(FILES / "probe.py").open(), capture_output=True, check=True, timeout=30
    ).stdout.decode()
    described = fit.Host.parse(output)
    assert described.python == sys.version_info[:2]
    assert described.glibc >= (2, 17)
    assert fit.cpu_level(described.cpu_flags).startswith("x86-64") or described.machine != "x86_64"
    found = json.loads(output)["releases"]
    assert found == {
        "current": "1.0-a",
        "previous": "",
        "complete": ["1.0-b", "1.0-a"],
        "broken": ["1.0-c"],
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "no 'cpu_flags'"),
        ("not json", "not what probe.py prints"),
        (json.dumps({**FACTS, "python": "eleven"}), "'eleven' is not a version"),
        (json.dumps({**FACTS, "cpu_flags": 1}), "not what probe.py prints"),
    ],
)
def test_a_description_that_is_not_one_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        fit.Host.parse(text)


def test_the_wheels_fit() -> None:
    assert fit.misfits(MANIFEST, host()) == []
    assert fit.misfits(MANIFEST, host(libc="glibc 2.41")) == []
    assert fit.misfits({**MANIFEST, "glibc": "0.0", "cpu": "x86-64"}, host(cpu_flags=["sse2"])) != []


@pytest.mark.parametrize(
    ("change", "both_sides"),
    [
        ({"python": "3.13"}, ("Python 3.11", "3.13")),
        ({"machine": "aarch64"}, ("x86_64", "aarch64")),
        ({"libc": "glibc 2.17"}, ("glibc 2.28", "glibc 2.17")),
        ({"libc": "glibc 2.9"}, ("glibc 2.28", "glibc 2.9")),  # as numbers: 9 < 28
        ({"libc": ""}, ("glibc 2.28", "none")),
        ({"implementation": "pypy"}, ("CPython", "pypy")),
        ({"free_threaded": True}, ("with the GIL", "free-threaded")),
        (
            {"cpu_flags": sorted(fit.level_flags("x86-64-v3") - {"avx2"})},
            ("x86-64-v3", "x86-64-v2 (it lacks avx2)"),
        ),
    ],
)
def test_a_refusal_names_both_sides_and_what_to_do(change: dict[str, Any], both_sides: tuple[str, str]) -> None:
    reasons = fit.misfits(MANIFEST, host(**change))
    assert any(all(side in reason for side in both_sides) for reason in reasons)
    assert all(": " in reason for reason in reasons)


def test_wheels_for_the_build_machine_alone_fit_nowhere() -> None:
    assert "-Dnative=true" in fit.misfits({**MANIFEST, "cpu": "native"}, host())[0]


def test_cpu_levels_build_on_each_other() -> None:
    v4 = fit.level_flags("x86-64-v4")
    assert fit.cpu_level(v4) == "x86-64-v4"
    assert fit.cpu_level(v4 - {"sse4_2"}) == "x86-64"
    assert fit.cpu_level(frozenset()) == ""
