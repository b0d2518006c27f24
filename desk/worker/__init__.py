"""Workers: compiled functions over the records of a ring, which run without the GIL, and what hands records to them."""

from desk.worker.definition import Loaded, Prepared, Worker, WorkerError
from desk.worker.loader import built_in, include, load, prepare

__all__ = ["Loaded", "Prepared", "Worker", "WorkerError", "built_in", "include", "load", "prepare"]
