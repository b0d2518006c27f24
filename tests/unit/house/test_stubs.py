"""Each extension has a type stub, and the stub names what the extension has: no more, no less."""

import ast
import importlib
import re
import types
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: The packages with extensions, and those whose extensions are compiled beside their sources.
FOLDERS = ("agent", "desk", "hosttune", "tests/compiled", "benchmarks")
EXTENSIONS = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.pyx"))


def _named(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Returns what the statements of a stub define: name to statement."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def _public(names: dict[str, Any]) -> set[str]:
    """Returns the public names of a namespace that are its own: no modules, and nothing from elsewhere in Python."""
    return {
        name
        for name, value in names.items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType | types.FunctionType)
    }


def _is_typing_only(node: ast.stmt) -> bool:
    """Returns whether a statement of a stub names a type that exists for type checkers alone: the shape of a dict."""
    return isinstance(node, ast.ClassDef) and any(isinstance(b, ast.Name) and b.id == "TypedDict" for b in node.bases)


def differences(stub: str, module: types.ModuleType) -> list[str]:
    """Returns a line for each name that only the stub has, or only the module."""
    named = _named(ast.parse(stub).body).items()
    declared = {name: node for name, node in named if not name.startswith("_") and not _is_typing_only(node)}
    found = [f"only in the stub: {name}" for name in declared if not hasattr(module, name)]
    found += [f"not in the stub: {name}" for name in _public(vars(module)) - declared.keys()]
    for name, node in declared.items():
        if isinstance(node, ast.ClassDef) and hasattr(module, name):
            has = vars(getattr(module, name))
            members = {m for m in _named(node.body) if not m.startswith("__")}
            found += [f"only in the stub: {name}.{m}" for m in members - has.keys()]
            found += [f"not in the stub: {name}.{m}" for m in has if not m.startswith("_") and m not in members]
    return sorted(found)


@pytest.mark.parametrize("path", EXTENSIONS, ids=[str(path.relative_to(ROOT)) for path in EXTENSIONS])
def test_each_stub_is_true(path: Path) -> None:
    stub = path.with_suffix(".pyi")
    assert stub.is_file(), f"{path.relative_to(ROOT)} has no stub"
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    assert differences(stub.read_text(), importlib.import_module(module)) == []


def test_a_fuzzer_has_a_stub() -> None:
    """Fuzzers are compiled with sanitizers by their own tests only: what they define is read as text."""
    for path in (ROOT / "tests/fuzz").glob("*.pyx"):
        defined = set(re.findall(r"^def (\w+)\(|^([A-Z]\w*) = ", path.read_text(), re.M))
        stub = path.with_suffix(".pyi")
        assert stub.is_file(), path.name
        assert set(_named(ast.parse(stub.read_text()).body)) == {a or b for a, b in defined}, path.name


def test_a_difference_is_found() -> None:
    module = types.ModuleType("m")
    module.there = len  # type: ignore[attr-defined]
    module.kind = type("kind", (), {"a": 1, "_b": 2})  # type: ignore[attr-defined]
    assert differences("class kind:\n    a: int\ndef there() -> int: ...\n", module) == []
    assert differences("class kind:\n    def c(self) -> int: ...\ndef gone() -> int: ...\n", module) == [
        "not in the stub: kind.a",
        "not in the stub: there",
        "only in the stub: gone",
        "only in the stub: kind.c",
    ]
