"""roles/hosttune/files/wheelhouse.py: which host a wheelhouse fits, and how a refusal reads."""

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FILES = Path(__file__).resolve().parents[2] / "roles" / "hosttune" / "files"


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheelhouse", FILES / "wheelhouse.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


wheelhouse = _load()

FACTS: dict[str, Any] = {
    "implementation": "cpython",
    "python": "3.11",
    "free_threaded": False,
    "machine": "x86_64",
    "libc": "glibc 2.36",
    "cpu_flags": sorted(wheelhouse.level_flags("x86-64-v3")),
}
MANIFEST: dict[str, Any] = {
    "format": wheelhouse.FORMAT,
    "version": "0.1.0",
    "python": "3.11",
    "machine": "x86_64",
    "cpu": "x86-64-v3",
    "glibc": "2.28",
    "sources": "0" * 64,
    "wheels": {},
    "flavours": {"hosttune": {"release": "0.1.0-abc", "archive": "hosttune-0.1.0-abc.tar"}},
}


def host(**changes: object) -> Any:
    return wheelhouse.Host.parse(json.dumps({**FACTS, **changes}))


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "wheelhouse.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "hosttune-0.1.0-abc.tar").write_bytes(b"")
    return tmp_path


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
    described = wheelhouse.Host.parse(output)
    assert described.python == sys.version_info[:2]
    assert described.glibc >= (2, 17)
    assert wheelhouse.cpu_level(described.cpu_flags).startswith("x86-64") or described.machine != "x86_64"
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
        ("{}", "no 'implementation'"),
        ("not json", "not what probe.py prints"),
        (json.dumps({**FACTS, "python": "eleven"}), "'eleven' is not a version"),
        (json.dumps({**FACTS, "cpu_flags": 1}), "not what probe.py prints"),
    ],
)
def test_a_description_that_is_not_one_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wheelhouse.Host.parse(text)


def test_the_wheels_fit() -> None:
    assert wheelhouse.misfits(MANIFEST, host()) == []
    assert wheelhouse.misfits(MANIFEST, host(libc="glibc 2.41")) == []
    assert wheelhouse.misfits({**MANIFEST, "glibc": "0.0", "cpu": "x86-64"}, host(cpu_flags=["sse2"])) != []


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
            {"cpu_flags": sorted(wheelhouse.level_flags("x86-64-v3") - {"avx2"})},
            ("x86-64-v3", "x86-64-v2 (it lacks avx2)"),
        ),
    ],
)
def test_a_refusal_names_both_sides_and_what_to_do(change: dict[str, Any], both_sides: tuple[str, str]) -> None:
    reasons = wheelhouse.misfits(MANIFEST, host(**change))
    assert any(all(side in reason for side in both_sides) for reason in reasons)
    assert all(": " in reason for reason in reasons)


def test_wheels_for_the_build_machine_alone_fit_nowhere() -> None:
    assert "-Dnative=true" in wheelhouse.misfits({**MANIFEST, "cpu": "native"}, host())[0]


def test_cpu_levels_build_on_each_other() -> None:
    v4 = wheelhouse.level_flags("x86-64-v4")
    assert wheelhouse.cpu_level(v4) == "x86-64-v4"
    assert wheelhouse.cpu_level(v4 - {"sse4_2"}) == "x86-64"
    assert wheelhouse.cpu_level(frozenset()) == ""


@pytest.mark.parametrize(
    ("name", "floor"),
    [
        ("p-1-py3-none-any.whl", (0, 0)),
        ("p-1-cp311-abi3-manylinux_2_34_x86_64.whl", (2, 34)),
        # A wheel that names several runs on the oldest of them.
        ("p-1-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.manylinux_2_28_x86_64.whl", (2, 17)),
        ("p-1-cp311-cp311-manylinux1_x86_64.whl", (2, 5)),
    ],
)
def test_glibc_floor(name: str, floor: tuple[int, int]) -> None:
    assert wheelhouse.glibc_floor(name) == floor


def test_a_binary_wheel_without_a_glibc_is_not_trusted() -> None:
    with pytest.raises(wheelhouse.Broken, match="does not say which glibc"):
        wheelhouse.glibc_floor("p-1-cp311-cp311-linux_x86_64.whl")


def wheel(directory: Path, name: str, *requires: str, files: dict[str, str] | None = None) -> Path:
    path = directory / f"{name}-py3-none-any.whl"
    project = name.split("-")[0]
    with zipfile.ZipFile(path, "w") as archive:
        lines = "".join(f"Requires-Dist: {line}\n" for line in requires)
        archive.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {project}\n{lines}")
        for file, text in (files or {}).items():
            archive.writestr(file, text)
    return path


def test_closure_is_that_of_the_host_not_of_the_controller(tmp_path: Path) -> None:
    wheels = {
        "own": wheel(
            tmp_path,
            "own-1",
            'old; python_version < "3.12"',
            'fast>=2; extra == "agent"',
            'w; os_name == "nt"',
        ),
        "old": wheel(tmp_path, "old-1"),
        "fast": wheel(tmp_path, "fast-2"),
    }
    assert wheelhouse.closure(wheels, "own", (), host(python="3.11")) == ["old", "own"]
    assert wheelhouse.closure(wheels, "own", (), host(python="3.12")) == ["own"]
    assert wheelhouse.closure(wheels, "own", ("agent",), host(python="3.12")) == ["fast", "own"]
    wheels["fast"] = wheel(tmp_path, "fast-1")
    with pytest.raises(wheelhouse.Broken, match=r"own needs 'fast>=2.*downloaded: fast-1"):
        wheelhouse.closure(wheels, "own", ("agent",), host())
    del wheels["old"]
    with pytest.raises(wheelhouse.Broken, match="no such wheel"):
        wheelhouse.closure(wheels, "own", (), host(python="3.11"))


def test_our_wheel_says_what_cpu_it_is_for(tmp_path: Path) -> None:
    build = {"hosttune/_build.py": '"""What."""\n\nCPU = "x86-64-v3"\n', "hosttune/x.so": ""}
    assert wheelhouse.built_for(wheel(tmp_path, "own-1", files=build)) == "x86-64-v3"
    with pytest.raises(wheelhouse.Broken, match="no compiled module"):
        wheelhouse.built_for(wheel(tmp_path, "own-2"))
    with pytest.raises(wheelhouse.Broken, match=r"no hosttune/_build\.py"):
        wheelhouse.built_for(wheel(tmp_path, "own-3", files={"hosttune/x.so": ""}))


def test_sources_decide_whether_to_build_again(tmp_path: Path) -> None:
    (tmp_path / "hosttune").mkdir()
    (tmp_path / "hosttune" / "a.py").write_text("1")
    before = wheelhouse.sources_digest(tmp_path, host())
    (tmp_path / "README.md").write_text("changes nothing that runs")
    (tmp_path / "hosttune" / "__pycache__").mkdir()
    (tmp_path / "hosttune" / "__pycache__" / "a.pyc").write_text("x")
    assert wheelhouse.sources_digest(tmp_path, host()) == before
    assert wheelhouse.sources_digest(tmp_path, host(python="3.12")) != before
    (tmp_path / "hosttune" / "a.py").rename(tmp_path / "hosttune" / "b.py")
    assert wheelhouse.sources_digest(tmp_path, host()) != before


def test_our_wheel_is_compiled_once_for_all_who_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree, kept = tmp_path / "tree", tmp_path / "kept"
    (tree / "hosttune").mkdir(parents=True)
    kept.mkdir()
    (tree / "pyproject.toml").write_text("[project]")

    def build_own(tree: Path, work: Path) -> Path:
        if (tree / "hosttune" / "wrong.py").exists():
            raise wheelhouse.Broken("it does not compile")
        (work / "own").mkdir()
        return wheel(work / "own", "hosttune-0.1.0")

    monkeypatch.setattr(wheelhouse, "build_own", build_own)
    first, compiled = wheelhouse.own_wheel(tree, kept)
    assert compiled and first.is_file()
    assert wheelhouse.own_wheel(tree, kept) == (first, False)
    (tree / "hosttune" / "wrong.py").touch()
    with pytest.raises(wheelhouse.Broken):
        wheelhouse.own_wheel(tree, kept)
    assert first.is_file() and os.listdir(kept) == [first.parent.name]
    (tree / "hosttune" / "wrong.py").rename(tree / "hosttune" / "right.py")
    second, compiled = wheelhouse.own_wheel(tree, kept)
    assert compiled and second.is_file() and os.listdir(kept) == [second.parent.name] != [first.parent.name]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = wheelhouse.main(list(arguments))
    output = capsys.readouterr()
    return code, output.out, output.err


def test_check_prints_what_to_install(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert code == 0
    assert json.loads(out)["flavours"]["hosttune"]["archive"] == str(built / "hosttune-0.1.0-abc.tar")


def test_check_refuses_before_anything_is_copied(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps({**FACTS, "python": "3.13"}))
    assert (code, out) == (1, "")
    assert "for Python 3.11, the host's is 3.13" in err


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", "wheelhouse.json"),
        (json.dumps({**MANIFEST, "format": 99}), "format 99"),
        (json.dumps({**MANIFEST, "flavours": {"agent": {"archive": "gone.tar"}}}), "lacks gone.tar"),
    ],
)
def test_a_damaged_wheelhouse_is_named(
    built: Path, capsys: pytest.CaptureFixture[str], manifest: str, message: str
) -> None:
    (built / "wheelhouse.json").write_text(manifest)
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert (code, out) == (2, "")
    assert message in err


def test_building_on_another_machine_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "machine": "riscv64"})
    code, _, err = run(capsys, "build", str(tmp_path), "--host", facts, "--source", str(tmp_path))
    assert code == 1
    assert "the host is riscv64" in err and "hosttune_wheelhouse" in err


def test_building_needs_the_sources(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "machine": os.uname().machine})
    code, _, err = run(capsys, "build", str(tmp_path), "--host", facts, "--source", str(tmp_path))
    assert code == 2
    assert "not the project's source tree" in err


def test_a_dry_run_builds_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("build", str(tmp_path), "--host", json.dumps(FACTS), "--source", str(tmp_path), "--dry-run")
    code, out, _ = run(capsys, *arguments)
    assert code == 0
    assert json.loads(out)["changed"] is True
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
