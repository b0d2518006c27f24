"""The audit: a line of JSON for each change of a limit that was asked for, confirmed, not confirmed or refused."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import msgspec

from desk.errors import DeskError
from hosttune import files


class Audit:
    """A file that is only appended to, mode 0600. Raises DeskError where it cannot be opened, and where another user
    could have written it, or could put another one there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        #: Lines that could not be written, a full disk, say.
        self.lost = 0
        #: Why the last line could not be written, "" where it could.
        self.problem = ""
        self._cut = False
        try:
            files.make_directory(path.parent, 0o750)
            self._descriptor = files.open_file(files.find_name(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        except OSError as error:
            raise DeskError(f"sync.audit: {path}: {error.strerror}") from None

    @classmethod
    def find(cls, path: str) -> Self:
        """Returns the audit at path; "": desk-sync.audit in the state directory. Raises DeskError."""
        if path:
            return cls(Path(path))
        given = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        base = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
        return cls((Path(given) if given else Path(base).expanduser() / "desk") / "desk-sync.audit")

    def write(self, engine: str, what: str, values: Mapping[str, Any], source: str) -> None:
        """Append a line."""
        line = {"time_ns": time.time_ns(), "engine": engine, "what": what, "values": dict(values), "source": source}
        data = msgspec.json.encode(line) + b"\n"
        try:
            if self._cut:
                data = b"\n" + data
            written = os.write(self._descriptor, data)
            self._cut, self.problem = written != len(data), ""
            if self._cut:
                self._lose("a line was cut")
        except OSError as error:
            self._lose(error.strerror or str(error))

    def _lose(self, why: str) -> None:
        self.lost += 1
        self.problem = f"audit {self.path}: {why}"

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
