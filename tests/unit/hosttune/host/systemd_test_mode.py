"""Asks the real systemd, in its test mode, what files say of a unit: usage systemd_test_mode.py TREE.

In a mount namespace of its own, in which the directories below TREE are those of the host. Each line of standard input
is a case, {"unit": NAME, "files": {PATH: TEXT}, "links": {PATH: TARGET}}; each line of standard output its answer,
{"found": {KEY: [VALUE, ...]}}: what the unit comes to. Without a unit it is {"manager": [PATH, ...]}, the files of
system.conf in their order.
"""

import json
import os
import shutil
import subprocess
import sys

tree = sys.argv[1]
PLACES = ("/etc/systemd", "/usr/local/lib", "/usr/lib/systemd/system", "/run")
TARGETS = ("basic", "sysinit", "shutdown", "umount")
for place in PLACES:
    os.makedirs(tree + place, exist_ok=True)
    subprocess.run(["mount", "--bind", tree + place, place], check=True)
# It refuses to be root.
COMMAND = ["unshare", "--user", "--map-user=1000", "--map-group=1000", "/usr/lib/systemd/systemd", "--test", "--system"]


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(tree + path), exist_ok=True)
    with open(tree + path, "w", encoding="utf-8", newline="") as file:
        file.write(text)


for line in sys.stdin:
    case = json.loads(line)
    for place in PLACES:
        for name in os.listdir(tree + place):
            path = f"{tree}{place}/{name}"
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    for name in TARGETS:
        write(f"/usr/lib/systemd/system/{name}.target", "[Unit]\nDefaultDependencies=no\n")
    for path, text in case["files"].items():
        write(path, text)
    for path, target in case["links"].items():
        os.makedirs(os.path.dirname(tree + path), exist_ok=True)
        os.symlink(target, tree + path)
    if case["unit"] is None:
        command = ["systemd-analyze", "--no-pager", "cat-config", "systemd/system.conf"]
        listing = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.splitlines()
        print(
            json.dumps({"manager": [each.removeprefix("# ") for each in listing if each.startswith("# /")]}), flush=True
        )
        continue
    run = subprocess.run(
        [*COMMAND, f"--unit={case['unit']}", "--no-pager"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin", "SYSTEMD_LOG_LEVEL": "crit"},
        timeout=60,
        check=False,
    )
    found: dict[str, list[str]] = {}
    current = ""
    for each in run.stdout.splitlines():
        if each.startswith("\t-> Unit "):
            current = each.removeprefix("\t-> Unit ").rstrip(":")
        elif current == case["unit"] and each.startswith("\t\t"):
            key, colon, value = each.strip().partition(": ")
            if colon:
                found.setdefault(key, []).append(value)
    print(json.dumps({"found": found, "error": run.stderr[-2000:]}), flush=True)
