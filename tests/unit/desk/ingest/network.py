"""Hosts that share no network: namespaces, in each of which the broker is at the address at which it is here."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ...waiting import wait

_FORWARD = Path(__file__).with_name("forward.py")


@contextlib.contextmanager
def make_hosts(names: list[str], servers: str, folder: Path) -> Iterator[dict[str, list[str]]]:
    """Yields for each name the words by which a command runs in that host. Needs root."""
    port = servers.rpartition(":")[2]
    with contextlib.ExitStack() as held:

        def forward(*words: str) -> None:
            child = subprocess.Popen([*words[2:], sys.executable, str(_FORWARD), *words[:2]])
            held.callback(child.wait, 10)
            held.callback(child.kill)

        path = folder / "broker"
        forward(str(path), port)
        found = {}
        for name in names:
            space = f"desk-{folder.parent.name[-8:]}-{name}"
            subprocess.run(["ip", "netns", "add", space], check=True, timeout=20)
            held.callback(subprocess.run, ["ip", "netns", "del", space], check=True, timeout=20)
            found[name] = ["ip", "netns", "exec", space]
            subprocess.run([*found[name], "ip", "link", "set", "lo", "up"], check=True, timeout=20)
            forward(port, str(path), *found[name])
        wait(lambda: all(_listens(words, port) for words in found.values()), "the ways to the broker are not there", 20)
        yield found


def _listens(words: list[str], port: str) -> bool:
    done = subprocess.run([*words, "cat", "/proc/net/tcp"], capture_output=True, text=True, timeout=20, check=True)
    return any(
        line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"
        for line in done.stdout.splitlines()[1:]
    )
