"""A Numba worker compiled to the functions of a struct desk_worker, or taken out of the cache directory."""

import functools
from typing import Any, cast

from agent.strategy.compile_numba import Compiled, Unit, compile_unit
from desk.worker import _table
from desk.worker.definition import Loaded, Worker, WorkerError

_GLUE = """from numba import carray

def init(state, parameters, count):
    return inner_init(carray(state, 1)[0], carray(parameters, count))

def work(state, records, count, size, results, capacity):
    return inner_work(carray(state, 1)[0], carray(records, count), carray(results, capacity))

def report(state, numbers):
    inner_report(carray(state, 1)[0], carray(numbers, 16))

def fini(state):
    inner_fini(carray(state, 1)[0])
"""


def compile_worker(worker: Worker) -> Loaded:
    """Compile the functions of a Numba worker, or take their machine code out of the cache directory. Returns the
    worker, not yet initialised. Raises WorkerError: as agent.strategy.compile_numba.compile_unit(), and for layouts,
    names or numbers that the table cannot have."""
    record = _read_layout(worker, "record", worker.record)
    result = None if worker.result is None else _read_layout(worker, "result", worker.result)
    unit = Unit(
        noun="worker",
        name=worker.name,
        state=worker.state,
        functions=worker.functions,
        glue=_GLUE,
        layout=(_table.ABI, worker.record, worker.result),
        orders={},
        engines={},
        signatures=functools.partial(_sign, record, record if result is None else result),
        error=WorkerError,
    )

    def build(compiled: Compiled) -> Loaded:
        result_size = 0 if result is None else result.itemsize
        table = _table.Table.build(
            compiled.state_size, record.itemsize, result_size, worker.most_results, worker.numbers, **compiled.addresses
        )
        return Loaded(worker.name, table, compiled.owner)

    return cast(Loaded, compile_unit(unit, build))


def _read_layout(worker: Worker, name: str, fields: Any) -> Any:
    """Returns the NumPy dtype of records. Raises WorkerError unless it is of numbers, a sequence first."""
    try:
        import numpy as np
    except ImportError as error:
        raise WorkerError(f"worker {worker.name}: needs NumPy ({error}): pip install hosttune[agent]") from None
    try:
        dtype = np.dtype(fields, align=True) if isinstance(fields, list) else np.dtype(fields)
        names = dtype.names or ()
        if dtype.hasobject or not names or dtype[names[0]] != np.dtype("u8"):
            raise ValueError(f"found {dtype}, allowed: fields of numbers, the first of them the sequence, u8")
    except (TypeError, ValueError) as error:
        raise WorkerError(f"worker {worker.name}: {name}: {error}") from None
    return dtype


def _sign(record: Any, result: Any, state: Any) -> dict[str, Any]:
    """Returns Numba's signatures of a worker's functions, for its layouts."""
    import numba
    from numba import types

    def pointer(dtype: Any) -> Any:
        return types.CPointer(numba.from_dtype(dtype))

    s, doubles = types.CPointer(state), types.CPointer(types.float64)
    return {
        "init": types.int32(s, doubles, types.uint32),
        "work": types.int32(s, pointer(record), types.uint32, types.uint32, pointer(result), types.uint32),
        "report": types.void(s, doubles),
        "fini": types.void(s),
    }
