"""The bill of materials: every wheel of a wheelhouse, valid by the CycloneDX schema, and always the same bytes."""

import hashlib
import json
from pathlib import Path

import pytest

from tests.unit.roles.wheelhouse.examples import FACTS, build, host, wheel, wheelhouse

LICENCES = {
    "alpha": "License-Expression: MIT OR Apache-2.0\n",
    "beta": "License: BSD 3-Clause\nClassifier: License :: OSI Approved :: BSD License\n"
    "Classifier: License :: OSI Approved\nClassifier: Topic :: Internet\n",
    "gamma": "License: Some Licence\n",
    "delta": "License: A whole text\n        of several lines\n",
    "epsilon": "",
}


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Path]:
    made = {name: wheel(tmp_path, f"{name}-1", fields=fields) for name, fields in LICENCES.items()}
    made["hosttune"] = wheel(tmp_path, "hosttune-0.1.0", "alpha", 'beta; extra == "agent"', 'w; os_name == "nt"')
    made["gamma"] = wheel(tmp_path, "gamma-1", "delta>=1", fields=LICENCES["gamma"])
    return made


def test_every_wheel_is_there(found: dict[str, Path]) -> None:
    document = json.loads(build.list_parts(found, "hosttune", host()))
    own = document["metadata"]["component"]
    assert (own["name"], own["version"], own["type"]) == ("hosttune", "0.1.0", "application")
    parts = {part["name"]: part for part in (*document["components"], own)}
    assert parts.keys() == found.keys()
    for name, path in found.items():
        assert parts[name]["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}]
        assert parts[name]["purl"] == parts[name]["bom-ref"] == f"pkg:pypi/{name}@{parts[name]['version']}"
        assert parts[name]["properties"] == [{"name": "hosttune:wheel", "value": path.name}]
    assert {name: part.get("licenses") for name, part in parts.items()} == {
        "hosttune": None,
        "alpha": [{"expression": "MIT OR Apache-2.0"}],
        "beta": [{"license": {"name": "BSD License"}}],
        "gamma": [{"license": {"name": "Some Licence"}}],
        "delta": None,
        "epsilon": None,
    }
    needs = {each["ref"]: each["dependsOn"] for each in document["dependencies"]}
    assert needs["pkg:pypi/hosttune@0.1.0"] == ["pkg:pypi/alpha@1", "pkg:pypi/beta@1"]
    assert needs["pkg:pypi/gamma@1"] == ["pkg:pypi/delta@1"]


@pytest.mark.parametrize("epoch", [None, "0", "1790000000"])
def test_it_is_valid_by_the_schema(found: dict[str, Path], epoch: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    if epoch:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    text = build.list_parts(found, "hosttune", host())
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert ("timestamp" in text) is (epoch is not None)
    assert validator.validate_str(text.replace('"SHA-256"', '"SHA-0"')) is not None


def test_the_same_wheels_are_the_same_bytes(found: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    other_order = dict(sorted(found.items(), reverse=True))
    assert build.list_parts(found, "hosttune", host()) == build.list_parts(other_order, "hosttune", host())


def test_a_wheelhouse_has_it_beside_its_archives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Built as the role builds it, of wheels that hold hardly anything; a changed archive is built anew."""
    tree, cache, made = tmp_path / "tree", tmp_path / "cache", tmp_path / "made"
    (tree / "requirements").mkdir(parents=True)
    (tree / "pyproject.toml").write_text("[project]")
    for file in ("deployed.txt", "build.txt"):
        (tree / "requirements" / file).write_text("")
    made.mkdir()
    compiled = {"hosttune/_build.py": 'CPU = "x86-64"\n', "hosttune/x.so": ""}
    own = wheel(made, "hosttune-0.1.0", "alpha", files=compiled)
    others = {name: wheel(made, f"{name}-1") for name in ("alpha", "pip")}
    monkeypatch.setattr(build, "own_wheel", lambda tree, directory: (own, False))
    monkeypatch.setattr(build, "download", lambda entries, host, into: others)
    monkeypatch.setattr(build.platform, "machine", lambda: "x86_64")
    arguments = ["build", str(cache), "--host", json.dumps(FACTS), "--source", str(tree)]
    assert wheelhouse.main(arguments) == 0
    told = json.loads(capsys.readouterr().out)
    directory = Path(told["directory"])
    document = json.loads((directory / "sbom.cdx.json").read_text())
    parts = [*document["components"], document["metadata"]["component"]]
    listed = {part["properties"][0]["value"]: part["hashes"][0]["content"] for part in parts}
    assert listed == build.load(directory)["wheels"] != {}
    assert wheelhouse.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is False
    archive = Path(told["flavours"]["hosttune"]["archive"])
    archive.write_bytes(archive.read_bytes().replace(b"METADATA", b"METADATE"))
    assert wheelhouse.main(["check", str(directory), "--host", json.dumps(FACTS)]) == 2
    assert "is not what was built" in capsys.readouterr().err
    assert wheelhouse.main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["changed"] is True
