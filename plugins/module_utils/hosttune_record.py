# SPDX-License-Identifier: Apache-2.0
"""What a concern found and wrote on a host, kept so that it can be undone, and the lock under which that changes."""

from __future__ import annotations

import base64
import fcntl
import gc
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .hosttune_files import LABEL, SAFE, Host, Refused

if TYPE_CHECKING:
    from .hosttune_files import Entry

    # What was written at a path, without its content: {"sha256": ..., "mode": ...} or {"link": ...}, and the owner.
    Mark = dict[str, Any]

RECORDS = "/var/lib/hosttune"
#: Where a role says what must be true, and where that is kept for the day on which somebody removes it there: the check
#: compares the two directories. A file of the second has the name and the text of the first's.
STATEMENTS, STATED = "/etc/hosttune/profile.d/", f"{RECORDS}/stated/"
#: Seconds that a run waits for another one.
WAIT = 60.0
#: Bytes of a record.
MOST = 4 << 20

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MODE = re.compile(r"0?[0-7]{3,4}")


def check_path(path: Any, below: tuple[str, ...] = ("/",)) -> str:
    """Returns an absolute path without `.`, `..`, empty parts and control characters. Raises ValueError."""
    if not isinstance(path, str) or not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    if not path.startswith(below):
        raise ValueError(f"{path!r} is not below {' or '.join(part.rstrip('/') for part in below)}")
    path.encode("utf-8", "surrogateescape")
    if re.search(r"[\x00-\x1f\x7f]", path) or {"", ".", ".."} & set(path.split("/")[1:]):
        raise ValueError(f"{path!r} has an empty part, `.`, `..` or a control character in it")
    return path


def add_statements(files: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the files that a role asks for, and of each statement among them the copy that is kept."""
    copies = {
        f"{STATED}{path[len(STATEMENTS) :]}": wanted for path, wanted in files.items() if path.startswith(STATEMENTS)
    }
    return {**files, **copies}


def same(found: Entry, past: Entry) -> bool:
    """Tell whether what is at a path is what is described; what a description leaves out does not count."""
    if found is None or past is None:
        return found is past
    if set(found) & {"link", "content", "kind"} != set(past) & {"link", "content", "kind"}:
        return False
    for key, value in past.items():
        there = found.get(key)
        if key == "xattrs":
            there, value = (
                {name: text for name, text in (one or {}).items() if name != LABEL} for one in (there, value)
            )
        if there != value:
            return False
    return True


def mark(entry: dict[str, Any]) -> Mark:
    """Returns what tells a file that was written from what somebody made of it: the digest, mode and owner."""
    owner = {"uid": entry.get("uid"), "gid": entry.get("gid")}
    if "content" in entry:
        content = entry["content"].encode("utf-8", "surrogateescape")
        return {"sha256": hashlib.sha256(content).hexdigest(), "mode": entry["mode"], **owner}
    return {"link": entry.get("link"), **owner}


class Record:
    """What was there before the first change, and what was written since.

    files: path to what was there. applied: path to the marks of what may be there since: two between the start and the
    end of a change; none for a path of a record of a release that kept none. values, written: the same for kernel
    values (None in values: not known). directories: those made. left: path to what was there before, of files that
    somebody else changed since, and that were therefore not put back. pending: files were changed, and systemd was not
    told yet.
    """

    def __init__(self, host: Host, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise Refused(f"name: found {name!r}, allowed: small letters, digits and _, a letter first")
        self.host = host
        self.path = f"{RECORDS}/{name}/original.json"
        self._text = _read(host, self.path)
        data = {} if self._text is None else _parse(self.path, self._text)
        self.files: dict[str, Entry] = data.get("files", {})
        self.applied: dict[str, list[Mark]] = data.get("applied", {})
        self.values: dict[str, str | None] = data.get("values", {})
        self.written: dict[str, list[str]] = data.get("written", {})
        self.directories: list[str] = data.get("directories", [])
        self.left: dict[str, Entry] = data.get("left", {})
        self.pending: bool = data.get("pending", False)

    @property
    def exists(self) -> bool:
        return self._text is not None

    def save(self) -> None:
        """Have the record on the disk, if it is another than the one there."""
        data = {name: getattr(self, name) for name in _SECTIONS}
        text = json.dumps(data, indent=1, sort_keys=True) + "\n"
        if text == self._text:
            return
        if len(text) > MOST:
            raise Refused(f"{self.path}: what was there before comes to {len(text):,} bytes, allowed: {MOST:,}")
        self.host.make_parents(self.path)
        self.host.put(self.path, {"content": text, "mode": "0600"})
        self._text = text

    def delete(self) -> None:
        """Forget everything; last, so that a killed revert can be repeated."""
        if self.exists:
            self.host.put(self.path, None)
        self._text = None
        self.host.drop_directory(os.path.dirname(self.path))

    def whose(self, path: str, found: Entry) -> str:
        """Returns `original` if what was there before the first change is there, `ours`, or `theirs`."""
        if same(found, self.files[path]):
            return "original"
        if found is not None and "kind" in found:
            return "theirs"
        if path not in self.applied:  # by a release that kept no marks
            return "ours"
        return "ours" if found is not None and mark(found) in self.applied[path] else "theirs"

    def whose_value(self, path: str, found: str) -> str:
        """Returns the same for a kernel value."""
        if found == self.values[path]:
            return "original"
        return "ours" if found in self.written.get(path, [found]) else "theirs"


def _read(host: Host, path: str) -> str | None:
    entry = host.look(path, MOST)
    if entry is None:
        return None
    if "content" not in entry:
        raise Refused(f"{path}: found {entry.get('kind', 'a symbolic link')}, allowed: a regular file")
    if entry["uid"] not in host.owners or int(entry["mode"], 8) & 0o022:
        raise Refused(
            f"{path}: found a file of user {entry['uid']}, mode {entry['mode']}, allowed: of user 0, mode 0600"
        )
    content: str = entry["content"]
    return content


def _parse(path: str, text: str) -> dict[str, Any]:
    """Returns the sections of a record, of this release or an earlier one. Raises Refused."""
    collects = gc.isenabled()
    gc.disable()  # nothing here is garbage yet, and looking through a million lists, again and again, takes seconds
    try:
        data = json.loads(text, parse_int=_parse_id, parse_float=_refuse_number, parse_constant=_refuse_number)
        _require(isinstance(data, dict), "", data, "an object")
        for name, content in data.items():
            _require(name in _SECTIONS, name, content, f"one of {', '.join(_SECTIONS)}")
            _SECTIONS[name](name, content)
    except (ValueError, RecursionError) as error:
        reason = "found values too deep in each other" if isinstance(error, RecursionError) else error
        raise Refused(
            f"{path} is not a record of what was there before: {reason}. Nothing was changed. Put the file back from a "
            "backup; or remove it, and what is there now is taken for what was there before"
        ) from None
    finally:
        if collects:
            gc.enable()
    result: dict[str, Any] = data
    return result


def _parse_id(digits: str) -> int:
    if len(digits) > 10 or not 0 <= int(digits) < 0xFFFFFFFF:
        raise ValueError(f"found the number {digits[:10]}..., allowed: the id of a user or group")
    return int(digits)


def _refuse_number(text: str) -> Any:
    raise ValueError(f"found the number {text[:10]}, allowed: the id of a user or group")


def _require(holds: bool, where: str, found: Any, allowed: str) -> None:
    if not holds:
        raise ValueError(f"{where or 'the file'}: found {json.dumps(found)[:60]}, allowed: {allowed}")


def _each(check: Callable[[str, Any], None], below: tuple[str, ...] = ("/",)) -> Callable[[str, Any], None]:
    def section(where: str, found: Any) -> None:
        _require(isinstance(found, dict), where, found, "an object with paths")
        for path, content in found.items():
            check(f"{where}: {check_path(path, below)}", content)

    return section


def _check_entry(where: str, found: Any) -> None:
    if found is None:
        return
    _require(isinstance(found, dict), where, found, "an object or null")
    keys = set(found) - {"uid", "gid", "xattrs"}
    _require(keys in ({"link"}, {"content", "mode"}), where, sorted(found), "link, or content and mode")
    for key in keys:
        _require(isinstance(found[key], str), f"{where}: {key}", found[key], "text")
    mode = found.get("mode", "0644")
    _require(_MODE.fullmatch(mode) is not None, f"{where}: mode", mode, "octal digits")
    for key in {"uid", "gid"} & set(found):
        _require(type(found[key]) is int, f"{where}: {key}", found[key], "an id")
    # What no file can hold: other surrogates than those that stand for bytes, and a null in a target.
    found.get("content", "").encode("utf-8", "surrogateescape")
    target = found.get("link", "/")
    _require(
        target != "" and b"\0" not in target.encode("utf-8", "surrogateescape"), f"{where}: link", target, "a path"
    )
    attributes = found.get("xattrs", {})
    _require(isinstance(attributes, dict), f"{where}: xattrs", attributes, "an object")
    for name, value in attributes.items():
        _require(isinstance(value, str) and "\0" not in name, f"{where}: {name}", value, "base64")
        base64.b64decode(value, validate=True)


def _check_marks(where: str, found: Any) -> None:
    _require(isinstance(found, list) and all(isinstance(one, dict) for one in found), where, found, "a list of objects")


def _check_text(where: str, found: Any) -> None:
    _require(found is None or (isinstance(found, str) and found.isascii()), where, found, "ASCII text or null")


def _check_texts(where: str, found: Any) -> None:
    _require(isinstance(found, list) and all(isinstance(one, str) for one in found), where, found, "a list of texts")


def _check_paths(where: str, found: Any) -> None:
    _check_texts(where, found)
    for path in found:
        check_path(path)


def _check_flag(where: str, found: Any) -> None:
    _require(isinstance(found, bool), where, found, "true or false")


_KERNEL = ("/proc/", "/sys/")
#: The first four are those of every release.
_SECTIONS: dict[str, Callable[[str, Any], None]] = {
    "files": _each(_check_entry),
    "values": _each(_check_text, _KERNEL),
    "directories": _check_paths,
    "pending": _check_flag,
    "applied": _each(_check_marks),
    "written": _each(_check_texts, _KERNEL),
    "left": _each(_check_entry),
}


@contextmanager
def lock(host: Host, name: str, *, check: bool = False, wait: float = WAIT) -> Iterator[None]:
    """Be the only run on this host, of whatever concern, from before the record is read until everything is written.

    check: change nothing; a run that is under way is waited for all the same. Raises Refused, which names the run that
    has the lock, after `wait` seconds.
    """
    path = f"{RECORDS}/lock"
    try:
        descriptor = _acquire(host, path, not check, wait)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    if descriptor is None:
        yield
        return
    try:
        if not check:
            _write_holder(descriptor, name)
        yield
    finally:
        # The name goes while it is locked: whoever waits for this file sees that it is no longer the one of that name.
        try:
            if not check and _has_name(host, path, descriptor):
                host.put(path, None)
                host.drop_directory(RECORDS)
        finally:
            os.close(descriptor)


def _acquire(host: Host, path: str, create: bool, wait: float) -> int | None:
    """Returns a descriptor of the lock, locked; None if nobody has it, and none is to be made."""
    until = time.monotonic() + wait
    while True:
        holder = "another run of hosttune_settings"
        try:
            descriptor = _open_lock(host, path, create)
        except FileNotFoundError:
            if not create:
                return None
        else:  # or the run before this one removed the directory just now
            try:
                if _take(host, path, descriptor):
                    return descriptor
                holder = _read_holder(descriptor) or holder
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
        if time.monotonic() > until:
            raise Refused(f"{path} is held by {holder}: waited {wait:g} s for it. Run again when it has ended")
        time.sleep(0.05)


def _open_lock(host: Host, path: str, create: bool) -> int:
    if create:
        host.make_parents(path)
    with host.directory(os.path.dirname(path)) as directory:
        flags = os.O_RDWR | SAFE | (os.O_CREAT if create else 0)
        descriptor = os.open(os.path.basename(path), flags, 0o600, dir_fd=directory)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid not in host.owners or found.st_mode & 0o077:
        os.close(descriptor)
        raise Refused(
            f"{path}: found mode {found.st_mode:o}, user {found.st_uid}, allowed: a file of user 0, mode 0600"
        )
    return descriptor


def _take(host: Host, path: str, descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return _has_name(host, path, descriptor)


def _has_name(host: Host, path: str, descriptor: int) -> bool:
    """Tell whether the lock is still the file at its path: somebody may have removed that."""
    try:
        with host.directory(os.path.dirname(path)) as directory:
            there = os.stat(os.path.basename(path), dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))


def _write_holder(descriptor: int, name: str) -> None:
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {name} {time.strftime('%H:%M:%S')}\n".encode(), 0)
    except OSError:  # a full disk: the lock holds without a name in it
        pass


def _read_holder(descriptor: int) -> str | None:
    found = re.fullmatch(rb"([0-9]+) (\w+) ([0-9:]+)\n", os.pread(descriptor, 200, 0))
    return found and f"process {int(found[1])}, which settles {found[2].decode()} since {found[3].decode()}"
