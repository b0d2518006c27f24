"""A thread that makes one call after the other for the loop."""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any


class Worker:
    """A thread, from its first call on. A daemon: a call that never returns does not keep the process from ending, as
    one of concurrent.futures would. busy: whether a call is being made."""

    def __init__(self, name: str) -> None:
        self.busy = False
        self._calls: queue.SimpleQueue[tuple[asyncio.Future[Any], Callable[..., Any], tuple[Any, ...]]]
        self._calls = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Returns what the function returns, or raises what it raises."""
        if not self._thread.is_alive():
            self._thread.start()
        future = asyncio.get_running_loop().create_future()
        self._calls.put((future, function, arguments))
        result, error = await future
        if error is not None:
            raise error
        return result

    def _run(self) -> None:
        while True:
            future, function, arguments = self._calls.get()
            result: tuple[Any, BaseException | None]
            self.busy = True
            try:
                result = function(*arguments), None
            except BaseException as error:
                result = None, error
            self.busy = False
            with contextlib.suppress(RuntimeError):  # the loop is closed
                future.get_loop().call_soon_threadsafe(_settle, future, result)
            del future, function, arguments, result


def _settle(future: "asyncio.Future[Any]", result: tuple[Any, BaseException | None]) -> None:
    if not future.done():  # else nobody waits any more
        future.set_result(result)
