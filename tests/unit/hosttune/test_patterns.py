"""hosttune/patterns.py: patterns that are compiled when they are first used."""

import importlib
import pkgutil
import re
import subprocess
import sys

import pytest

import agent
import hosttune
from hosttune import patterns
from hosttune.patterns import late_pattern


def test_it_is_what_re_compiles() -> None:
    found, wanted = late_pattern(r"(a)(?P<n>b)?", re.IGNORECASE), re.compile(r"(a)(?P<n>b)?", re.IGNORECASE)
    assert [m.groups() for m in found.finditer("abAb a")] == [m.groups() for m in wanted.finditer("abAb a")]
    assert found.pattern == wanted.pattern and found.flags == wanted.flags and found.fullmatch == wanted.fullmatch
    assert late_pattern(b"[0-9]+").findall(b"1 22") == [b"1", b"22"]
    with pytest.raises(AttributeError):
        found.nonesuch  # type: ignore[attr-defined] # noqa: B018


def test_a_wrong_one_is_an_error_when_it_is_used() -> None:
    wrong = late_pattern("(")
    with pytest.raises(re.error):
        wrong.match("")


def test_each_of_a_module_compiles() -> None:
    """What is compiled late would be found wrong late."""
    count = 0
    for package in (hosttune, agent):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            spec = module.module_finder.find_spec(module.name, None)  # type: ignore[call-arg]
            if spec is not None and (spec.origin or "").endswith(".py") and not module.name.endswith("__main__"):
                for value in vars(importlib.import_module(module.name)).values():
                    if isinstance(value, patterns._LatePattern):
                        assert isinstance(re.compile(*value._arguments), re.Pattern)
                        count += 1
    assert count > 50


def test_none_is_compiled_by_an_import() -> None:
    code = "import re; before = dict(vars(re)['_cache']); import hosttune.checker, hosttune.checks.rt_limits; "
    code += "print(*{key[1] for key in vars(re)['_cache'] if key not in before}, sep='\\n')"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=60, check=True)
    from hosttune.host import commands, pam

    for module in (commands, pam):
        for value in vars(module).values():
            if isinstance(value, patterns._LatePattern):
                assert value._arguments[0] not in done.stdout.splitlines()
