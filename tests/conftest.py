"""What holds for every test: where the code comes from, the locale, and what a run leaves and says at its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

# `testhost` and the tools come from the checkout; `hosttune` and `agent` are tested as installed: hence the end of the
# path. `python -m pytest` puts it first, where hosttune/ and agent/ are sources without their compiled modules.
sys.path[:] = [path for path in sys.path if path not in ("", str(ROOT))] + [str(ROOT), str(ROOT / "tools")]

# Ansible refuses to start with an encoding other than UTF-8, and tests compare what programs say in English.
os.environ["LC_ALL"] = "C.UTF-8"

# What runs the tests may have these ignored (nohup, a job of a shell in the background), and so would all children.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long an example takes says more about the machine's other load than about the code.
settings.register_profile("project", deadline=None)
settings.load_profile("project")


def explain_skips(reports: list[pytest.TestReport | pytest.CollectReport]) -> list[str]:
    """Returns a line for each reason why tests were skipped: how many, the reason, and which tests they are."""
    skipped: dict[str, Counter[str]] = defaultdict(Counter)
    for report in reports:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        skipped[reason.removeprefix("Skipped: ")][report.nodeid.partition("[")[0]] += 1
    return [
        f"{names.total()} skipped: {reason}: "
        + ", ".join(name if count == 1 else f"{name} ({count})" for name, count in sorted(names.items()))
        for reason, names in sorted(skipped.items())
    ]


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in explain_skips(terminalreporter.stats.get("skipped", [])):
        terminalreporter.write_line(line)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give what runs under sudo made in the tree (byte code, pytest's cache) to the tree's owner."""
    owner = ROOT.stat()
    if os.geteuid() or not owner.st_uid or hasattr(config, "workerinput"):
        return
    for directory, below, names in os.walk(ROOT):
        for path in (os.path.join(directory, name) for name in (*below, *names)):
            with contextlib.suppress(FileNotFoundError):
                found = os.lstat(path)
                if found.st_uid == 0:
                    os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
