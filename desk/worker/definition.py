"""What a worker is, for its author and for those that run one: a Numba worker's functions, errors.

Nothing here imports NumPy, Numba or a compiled module but the table, so that a native worker starts fast.
"""

from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, NamedTuple

from desk.errors import DeskError
from desk.worker import _table


class WorkerError(DeskError):
    """A worker cannot be found, compiled, started or gone on with. problems: a line for each thing that is wrong; the
    message is the first, and says how many more there are."""

    def __init__(self, *problems: str) -> None:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(problems[0] + more)
        self.problems = problems


class Worker:
    """A Numba worker: Python functions over records, and the layouts of the records.

    work(state, records, results) -> int: how many of `results` it filled in, or a negative error code.
    init(state, parameters) -> int prepares the zeroed state: 0, or a negative error code; report(state, numbers) writes
    the numbers to show, in the order of the names in `numbers`; fini(state) ends it.
    record, result, state: NumPy dtypes, or lists of fields for them; the first field of a record, and of a result, is
    its sequence, "u8". result None: the worker has no results. most_results: how many a record may have.

    Only arithmetic belongs into the functions: code that can raise, print, allocate or call Python does not compile
    (agent/strategy/forbidden.py). An index past the end of `results` writes over other memory.
    """

    def __init__(
        self,
        work: Callable[..., int],
        record: Any,
        result: Any = None,
        state: Any = (("unused", "u8"),),
        *,
        init: Callable[..., int] | None = None,
        report: Callable[..., None] | None = None,
        fini: Callable[..., None] | None = None,
        numbers: Sequence[str] = (),
        most_results: int = 1,
    ) -> None:
        if not isinstance(work, FunctionType):
            raise TypeError(f"work: found {type(work).__name__}, allowed: a function")
        self.name = work.__module__.rpartition(".")[2]
        self.record, self.result = record, result
        self.state = list(state) if isinstance(state, tuple) else state
        self.numbers = list(numbers)
        self.most_results = 0 if result is None else most_results
        self.functions = {"init": init, "work": work, "report": report, "fini": fini}


class Loaded(NamedTuple):
    """A worker, ready to be initialised: its name, its table of functions, and the object that owns their code.

    owner must live as long as the functions of the table are called.
    """

    name: str
    table: _table.Table
    owner: object


class Prepared(NamedTuple):
    """An initialised worker. state: its address; loaded, memory: the objects that own what is called and what the
    address points to, which must live as long as the worker runs."""

    state: int
    loaded: Loaded
    memory: bytearray

    def read_numbers(self) -> dict[str, float]:
        """Returns what the worker shows, by name. Not while it works."""
        return self.loaded.table.call_report(self.state)
