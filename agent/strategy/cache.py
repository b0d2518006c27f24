"""The directory that holds compiled strategies between runs (Numba's on-disk cache): chosen, and filled ahead."""

import os
import time
from pathlib import Path

from agent.strategy import loader
from agent.strategy.definition import StrategyError
from hosttune.output import escape, print_message


def default_cache_dir() -> str:
    """Returns $CACHE_DIRECTORY, the service manager's (systemd.exec(5)), else $XDG_CACHE_HOME/hosttune-agent, else
    ~/.cache/hosttune-agent."""
    if given := os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]:
        return given
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "hosttune-agent")


def use_cache(directory: str) -> Path:
    """Point Numba's on-disk cache at directory, which is created (mode 0700); "": default_cache_dir(). To be called
    before Numba is imported.

    Returns the directory. Warns on stderr of one that cannot be written. Raises StrategyError if it cannot be created.
    Source: Numba's reference manual, "Environment variables", NUMBA_CACHE_DIR.
    """
    path = Path(directory or default_cache_dir())
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StrategyError(f"engine.cache_dir: {path}: {error.strerror}") from None
    if not os.access(path, os.W_OK):
        print_message(
            escape(
                f"agent: {path} cannot be written: "
                "a strategy that is not cached there yet is compiled anew at every start"
            )
        )
    os.environ["NUMBA_CACHE_DIR"] = str(path)
    # NumPy's BLAS would start a thread per CPU on import; the process is to have one.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    return path


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
