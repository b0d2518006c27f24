"""Each compiled module of hosttune has a stub, and the stub names what the module has."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import inspect
from pathlib import Path

import pytest

import hosttune

ROOT = Path(hosttune.__file__).parent
SUFFIXES = tuple(importlib.machinery.EXTENSION_SUFFIXES)
COMPILED = [
    path for path in sorted(ROOT.rglob("*.so")) if path.name.endswith(SUFFIXES) and path.parent.name != "preload"
]


def test_there_are_some() -> None:
    assert [path.parent.name for path in COMPILED] == ["measure"]


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.name)
def test_a_stub_has_the_functions_of_its_module_and_their_parameters(path: Path) -> None:
    name = path.name.partition(".")[0]
    module = importlib.import_module(".".join(["hosttune", *path.parent.relative_to(ROOT).parts, name]))
    tree = ast.parse(path.with_name(f"{name}.pyi").read_text())
    functions = {node.name: [a.arg for a in node.args.args] for node in tree.body if isinstance(node, ast.FunctionDef)}
    public = {each for each, value in vars(module).items() if each[0] != "_" and callable(value)}
    assert public == set(functions)
    for each, parameters in functions.items():
        assert list(inspect.signature(getattr(module, each)).parameters) == parameters
