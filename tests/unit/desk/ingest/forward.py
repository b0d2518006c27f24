"""A program: whoever connects to one place talks to whoever listens at another.

python forward.py FROM TO      each: a port of 127.0.0.1, or the path of a Unix socket
"""

import asyncio
import contextlib
import sys


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


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forward(*sys.argv[1:]))
