"""wheelhouse.py: the command line, its output and its exit status."""

import json
import os
from pathlib import Path

import pytest

from tests.unit.roles.wheelhouse.examples import FACTS, MANIFEST, wheelhouse

FLAVOUR = MANIFEST["flavours"]["hosttune"]


@pytest.fixture
def built(tmp_path: Path) -> Path:
    (tmp_path / "wheelhouse.json").write_text(json.dumps(MANIFEST))
    (tmp_path / "hosttune-0.1.0-abc.tar").write_bytes(b"")
    return tmp_path


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
        (json.dumps({**MANIFEST, "flavours": {"agent": {**FLAVOUR, "archive": "gone.tar"}}}), "lacks gone.tar"),
        (json.dumps(MANIFEST).replace("e3b0c442", "e3b0c443"), "hosttune-0.1.0-abc.tar is not what was built"),
        (json.dumps({**MANIFEST, "files": {"sbom.cdx.json": "0" * 64}}), "lacks sbom.cdx.json"),
        ("[1]", "found list, allowed: an object"),
        ("null", "found NoneType, allowed: an object"),
        ("[" * 100_000, "too deep"),
        ('{"format": ' + "9" * 5000 + "}", "wheelhouse.json: "),
        ("{" + " " * (4 << 20) + "}", "more than 4,194,304 bytes"),
        (json.dumps({"format": 2}), "version: found None"),
        (json.dumps({**MANIFEST, "python": None}), "python: found None"),
        (json.dumps({**MANIFEST, "glibc": "9" * 9000 + ".1"}), "glibc: found '999"),
        (json.dumps({**MANIFEST, "flavours": []}), "flavours: found list"),
        (json.dumps({**MANIFEST, "flavours": {}}), "flavours: found dict"),
        (json.dumps({**MANIFEST, "flavours": {"agent": 1}}), "flavours.'agent': found 1"),
        (
            json.dumps({**MANIFEST, "flavours": {"agent": {**FLAVOUR, "archive": "/etc/hostname"}}}),
            "archive: found '/etc",
        ),
        (json.dumps({**MANIFEST, "flavours": {"agent": {**FLAVOUR, "archive": "../.."}}}), "archive: found '../..'"),
        (
            json.dumps({**MANIFEST, "flavours": {"agent": {**FLAVOUR, "release": "../x; touch /pwn"}}}),
            "release: found '..",
        ),
        (json.dumps({**MANIFEST, "files": {"../x": "0" * 64}}), "files: found the name '../x'"),
    ],
)
def test_a_damaged_wheelhouse_is_named(
    built: Path, capsys: pytest.CaptureFixture[str], manifest: str, message: str
) -> None:
    (built / "wheelhouse.json").write_text(manifest)
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert (code, out) == (2, "")
    assert message in err and err.count("\n") == 1 and len(err) < 500


@pytest.mark.parametrize("name", ["wheelhouse.json", "hosttune-0.1.0-abc.tar"])
def test_a_fifo_in_a_wheelhouse_makes_nobody_wait(built: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    (built / name).unlink()
    os.mkfifo(built / name)
    code, out, err = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert (code, out) == (2, "") and name in err


def test_an_archive_that_is_a_link_is_not_taken(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (built / "hosttune-0.1.0-abc.tar").rename(built / "elsewhere")
    (built / "hosttune-0.1.0-abc.tar").symlink_to("elsewhere")
    assert run(capsys, "check", str(built), "--host", json.dumps(FACTS))[0] == 2


def test_the_bill_of_materials_is_compared(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (built / "wheelhouse.json").write_text(json.dumps({**MANIFEST, "files": {"sbom.cdx.json": FLAVOUR["sha256"]}}))
    (built / "sbom.cdx.json").write_text("")
    assert run(capsys, "check", str(built), "--host", json.dumps(FACTS))[0] == 0
    (built / "sbom.cdx.json").write_text("{}")
    code, _, err = run(capsys, "check", str(built), "--host", json.dumps(FACTS))
    assert code == 2 and "sbom.cdx.json is not what was built" in err


@pytest.mark.parametrize(
    "facts",
    ['{"python": ' + "[" * 100_000, json.dumps({**FACTS, "machine": "../x"}), json.dumps({**FACTS, "cpu_flags": [[]]}),
     json.dumps({**FACTS, "python": "9" * 9000 + ".1"})],
)  # fmt: skip
def test_a_host_that_says_something_else_is_refused(
    built: Path, capsys: pytest.CaptureFixture[str], facts: str
) -> None:
    code, out, err = run(capsys, "check", str(built), "--host", facts)
    assert (code, out, err.count("\n")) == (2, "", 1) and len(err) < 500


@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_a_lock_that_somebody_else_made_empties_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    victim, place = tmp_path / "victim", tmp_path / "place"
    victim.write_text("precious")
    place.mkdir()
    if kind == "link":
        (place / ".lock").symlink_to(victim)
    else:
        os.mkfifo(place / ".lock")
    code, _, err = run(capsys, "wheel", str(place), "--source", str(tmp_path))
    assert code == 2 and ".lock" in err
    assert victim.read_text() == "precious"


def test_a_lock_is_not_emptied_and_a_directory_of_a_group_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".lock").write_text("precious")
    assert "not the project's source tree" in run(capsys, "wheel", str(tmp_path), "--source", str(tmp_path))[2]
    assert (tmp_path / ".lock").read_text() == "precious"
    tmp_path.chmod(0o775)
    code, _, err = run(capsys, "wheel", str(tmp_path), "--source", str(tmp_path))
    assert code == 2 and "mode 0775" in err


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


def test_what_a_host_or_an_index_says_gives_no_order(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = json.dumps({**FACTS, "implementation": "py\x1b[2J\x9b\u202e"})
    code, _, err = run(capsys, "check", str(built), "--host", facts)
    assert code == 1 and "\\x1b[2J" in err
    assert all(character.isprintable() or character in "\n\t" for character in err)
