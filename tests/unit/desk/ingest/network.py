"""Hosts that share no network: namespaces, in each of which the broker is at the address at which it is here.

python network.py FROM TO      each end: a port of 127.0.0.1, or the path of a Unix socket
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _forward(place: str, to: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            others = await (
                asyncio.open_connection("127.0.0.1", int(to)) if to.isdecimal() else asyncio.open_unix_connection(to)
            )
        except OSError:
            writer.close()
            return
        await asyncio.gather(_copy(reader, others[1]), _copy(others[0], writer))

    server = await (
        asyncio.start_server(serve, "127.0.0.1", int(place))
        if place.isdecimal()
        else asyncio.start_unix_server(serve, place)
    )
    await server.serve_forever()


@contextlib.contextmanager
def make_hosts(names: list[str], servers: str, folder: Path) -> Iterator[dict[str, list[str]]]:
    """Yields for each name the words by which a command runs in that host. Needs root."""
    port = servers.rpartition(":")[2]
    with contextlib.ExitStack() as held:

        def forward(*words: str) -> None:
            child = subprocess.Popen([*words[2:], sys.executable, __file__, *words[:2]])
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
        until = time.monotonic() + 20
        while not all(_listens(words, port) for words in found.values()):
            assert time.monotonic() < until
            time.sleep(0.1)
        yield found


def _listens(words: list[str], port: str) -> bool:
    done = subprocess.run([*words, "cat", "/proc/net/tcp"], capture_output=True, text=True, timeout=20, check=True)
    return any(
        line.split()[1].endswith(f":{int(port):04X}") and line.split()[3] == "0A"
        for line in done.stdout.splitlines()[1:]
    )


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forward(*sys.argv[1:]))
