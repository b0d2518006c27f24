"""Break, check, apply each fix as it is printed, and check again, round by round. Runs on the host, as root.

Reads the rounds as JSON from its first argument: name to finding to shell command. Prints JSON: for each round the
findings before it, the broken ones with how their fix ended, and the findings after it.
"""

import json
import subprocess
import sys
from typing import Any


def shell(command: str) -> "dict[str, Any]":
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL
    )
    return {"status": done.returncode, "said": (done.stdout + done.stderr)[-400:]}


def check() -> "dict[str, dict[str, Any]]":
    done = subprocess.run(["hosttune", "check", "--format", "json"], capture_output=True, text=True, timeout=120)
    return {finding["id"]: finding for finding in json.loads(done.stdout)["findings"]}


def run(round_: "dict[str, str]", before: "dict[str, dict[str, Any]]") -> "dict[str, Any]":
    """Break all of a round, apply the fix of each finding that passed before, and return what was found."""
    broke = {finding: shell(command) for finding, command in round_.items()}
    broken = {key: each for key, each in check().items() if each["status"] != before.get(key, {}).get("status")}
    fixed = {key: shell(each["fix"]) for key, each in broken.items()}
    return {"broke": broke, "broken": broken, "fixed": fixed, "after": check()}


def main() -> None:
    before = check()
    rounds = {name: run(round_, before) for name, round_ in json.loads(sys.argv[1]).items()}
    print(json.dumps({"before": before, "rounds": rounds}))


if __name__ == "__main__":
    main()
