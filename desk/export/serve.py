"""The exporter as a process: from its configuration to its end."""

import gc
import signal
import threading
from collections.abc import Callable
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector

from agent.engine.systemd import notify
from desk.counters import Counters
from desk.export.collect import HostCollector
from desk.export.server import Counts, open_server
from desk.settings.export import Export


def serve(settings: Export, say: Callable[[str], None]) -> int:
    """Answer until SIGTERM or SIGINT. say: gets the line that says where, once it listens. Returns the number of that
    signal. Raises DeskError where it cannot begin."""
    counts = Counts()
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    collector = HostCollector(settings, counts)
    registry.register(collector)
    ended: list[int] = []
    server = open_server(settings, registry, counts)

    def end(number: int, frame: Any) -> None:
        ended.append(number)
        # shutdown() waits for the loop, which this thread runs.
        threading.Thread(target=server.shutdown, daemon=True).start()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with server, Counters.open("export", "export") as published:

            def publish() -> None:
                if published.due():
                    published.publish({**counts.values, **{f"errors[{k}]": v for k, v in collector.errors.items()}})

            publish()  # before the first answer, which reads this file as well
            server.look = publish
            host, port = server.server_address[:2]
            shown = f"[{host!s}]" if ":" in str(host) else str(host)
            say(f"ready: {'https' if settings.certificate else 'http'}://{shown}:{port}/metrics")
            gc.collect()
            gc.freeze()
            notify("READY=1")
            server.run()
            notify("STOPPING=1")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return ended[0] if ended else 0
