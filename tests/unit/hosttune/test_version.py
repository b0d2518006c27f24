"""The version has one source, meson.build; what cannot compute is held equal here."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
import yaml

import hosttune
from hosttune.cli import main

PROJECT = Path(__file__).resolve().parents[3]


def test_the_build_hands_the_version_on(capsys: pytest.CaptureFixture[str]) -> None:
    source = re.search(r"version: '([^']+)'", (PROJECT / "meson.build").read_text())
    assert source is not None
    assert hosttune.__version__ == importlib.metadata.version("hosttune") == source[1]
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"hosttune {source[1]}\n"


def test_the_collection_has_the_same() -> None:
    assert yaml.safe_load((PROJECT / "galaxy.yml").read_text())["version"] == hosttune.__version__
    assert f"hosttune-tuning-{hosttune.__version__}.tar.gz" in (PROJECT / "roles" / "README.md").read_text()
