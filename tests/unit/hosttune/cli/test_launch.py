"""The arguments of `hosttune launch`."""

from __future__ import annotations

import argparse

import pytest

from hosttune.cli import launch as launch_command
from hosttune.errors import UsageError
from hosttune.launch.plan import Plan


class TestArguments:
    def plan(self, *words: str) -> Plan:
        parser = argparse.ArgumentParser()
        launch_command.add_command(parser.add_subparsers())
        return launch_command.build_plan(parser.parse_args(["launch", *words, "--", "agent", "--flag", "x"]))

    def test_everything_after_the_dashes_is_the_command(self) -> None:
        assert self.plan().command == ["agent", "--flag", "x"]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--policy", "fifo"], "needs --priority"),
            (["--policy", "fifo", "--priority", "99"], "watchdog and migration"),
            (["--policy", "rr", "--priority", "0"], "wanted 1 to 98"),
            (["--priority", "5"], "needs --policy"),
            (["--nice", "20"], "wanted -20 to 19"),
            (["--cpus", "1-x"], "not a CPU number"),
            (["--cpus", ""], "names no CPU"),
            (["--user", "no-such-user-here"], "no such user"),
            (["--rlimit", "memory=1"], "memlock"),
            (["--umask", "888"], "0000 to 0777"),
            (["--setenv", "NO_SUCH_VARIABLE_HERE"], "not set here"),
            (["--setenv", "1=x"], "no digit first"),
        ],
    )
    def test_wrong_ones_are_usage_errors(self, words: list[str], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            self.plan(*words)
