"""The directory that holds compiled strategies between runs (Numba's on-disk cache): chosen, and filled ahead."""

import os
import time
from pathlib import Path

from agent.shm import place
from agent.strategy import loader
from agent.strategy.definition import StrategyError
from hosttune import files
from hosttune.output import escape, print_message

#: Files and directories of a cache at most: all are looked at before any is used.
_MOST_FILES = 10_000


def default_cache_dir() -> str:
    """Returns $CACHE_DIRECTORY, the service manager's (systemd.exec(5)), else $XDG_CACHE_HOME/trading_agent, else
    ~/.cache/trading_agent."""
    if given := os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]:
        return given
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, place.DIRECTORY)


def use_cache(directory: str, key: str = "engine.cache_dir", program: str = "agent") -> Path:
    """Point Numba's on-disk cache at directory, which is created (mode 0700); "": default_cache_dir(). To be called
    before Numba is imported. key, program: what a message says was configured, and who says it.

    Returns the directory. Warns on stderr of one that cannot be written. Raises StrategyError if it cannot be created,
    and unless it and all in it are this user's or root's, and nobody else can write there: it holds code.
    Source: Numba's reference manual, "Environment variables", NUMBA_CACHE_DIR and NUMBA_CACHE_LOCATOR_CLASSES.
    """
    path = Path(directory or default_cache_dir())
    try:
        place.make_directory(path)
    except OSError as error:
        raise StrategyError(f"{key}: {place.explain(error, path)}") from None
    require_cache(path, key)
    if not os.access(path, os.W_OK):
        print_message(
            escape(f"{program}: {path} cannot be written: what is not cached there yet is compiled anew at every start")
        )
    os.environ["NUMBA_CACHE_DIR"] = str(path)
    # From nowhere else: where it cannot write to this directory it would take code from other ones.
    os.environ["NUMBA_CACHE_LOCATOR_CLASSES"] = "UserProvidedCacheLocator"
    # NumPy's BLAS would start a thread per CPU on import; the process is to have one.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return path


def require_cache(path: Path, key: str = "engine.cache_dir") -> None:
    """Raise StrategyError unless a directory, and all in it, are this user's or root's, and nobody else can write
    there: it holds code."""
    try:
        os.close(place.open_directory(path))
        files.require_tree(path, _MOST_FILES)
    except OSError as error:
        raise StrategyError(f"{key}: {place.explain(error, path)}") from None


def warm(directory: str, names: list[str]) -> str:
    """Compile strategies (none named: all built-in ones that are here) into the cache directory.

    Returns one line per strategy, with its name, the directory and the time in milliseconds. Raises StrategyError when
    the directory cannot be created, or a strategy that was named cannot be loaded.
    """
    path = use_cache(directory)
    lines = []
    for name in names or loader.built_in():
        begun = time.perf_counter()
        try:
            loader.load(name)
        except StrategyError:
            if names:
                raise
            continue  # one that was not built here (Rust)
        took = 1e3 * (time.perf_counter() - begun)
        lines.append(escape(f"{name}: ready in {path} in {took:.0f} ms"))
    return "\n".join(lines) + "\n"
