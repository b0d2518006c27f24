# SPDX-License-Identifier: Apache-2.0
"""Files and kernel values of a host, as root changes them: each reached by descriptors, and believed for what it is.

Nothing is followed or opened in a directory in which another user than root can make names. Standard library only, and
Python 3.9, since hosts run it. Sources: open(2), openat(2), inode(7), rename(2), fsync(2), xattr(7).
"""

from __future__ import annotations

import base64
import errno
import functools
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:  # Python 3.9 on a host would not evaluate this
    # What is at a path: nothing, {"link": target} or {"content": text, "mode": "0644"}, each with "uid" and "gid"; with
    # "xattrs" (name: base64) if it has any. Content that is not UTF-8 is in surrogates, so that each byte comes back.
    # {"kind": "a FIFO"} is what can neither be kept nor replaced.
    Entry = dict[str, Any] | None

#: Of every open here: no symbolic link at the name, no waiting for the other end of a FIFO, no way into a program.
SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# Where systemd mounts it (sys-kernel-debug.mount).
DEBUGFS = "/sys/kernel/debug"
#: Bytes of a file that can be kept.
MOST = 1 << 20
#: What a killed run may leave: a file or a link.
DRAFT = re.compile(r"\.hosttune-[0-9a-f]{8}")
#: What one of an earlier release may leave: a directory with nothing but a link of the name `link` in it.
_OLD_DRAFT = re.compile(r"\.hosttune-[a-z0-9_]{8}")
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a directory"}
#: The kernel works these out itself.
_OF_THE_KERNEL = frozenset({"security.evm", "security.ima"})
#: The label is the policy's: relabelling is nobody's edit.
LABEL = "security.selinux"

_Method = TypeVar("_Method", bound=Callable[..., Any])


class Refused(Exception):
    """The host cannot hold what is wanted; the message is for the user."""


def _named(method: _Method) -> _Method:
    """Have a method that fails with OSError raise Refused, which names the path that was its first argument."""

    @functools.wraps(method)
    def named(self: Host, path: str, *arguments: Any, **options: Any) -> Any:
        try:
            return method(self, path, *arguments, **options)
        except OSError as error:
            raise Refused(f"{path}: {error.strerror or error}") from None

    return cast("_Method", named)


class Host:
    """Files of a host below `root`, which is `/` except in tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.owners = frozenset({0, self.uid})

    @contextmanager
    def directory(self, path: str, links: bool = True) -> Iterator[int]:
        """Hold a descriptor of a directory that nobody but root can make names in, nor in any above it.

        links: whether a link of root's in such a directory is followed. Raises FileNotFoundError, and Refused.
        """
        here = os.open(self.root, _DIRECTORY)
        left, followed, shown = path.split("/")[::-1], 0, ""
        try:
            self._require_trusted(here, "/")
            while left:
                part = left.pop()
                if part in ("", "."):
                    continue
                try:
                    below = os.open(part, _DIRECTORY | SAFE, dir_fd=here)
                except OSError as error:
                    if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                        raise
                    target = _read_link(part, here)
                    followed += 1
                    if target is None or not links or followed > 40:
                        raise Refused(f"{path}: {shown}/{part} is not a directory") from None
                    left += target.split("/")[::-1]
                    if target.startswith("/"):
                        shown = ""
                    below = os.open(self.root if target.startswith("/") else ".", _DIRECTORY, dir_fd=here)
                else:
                    shown = f"{shown}/{part}"
                os.close(here)
                here = below
                self._require_trusted(here, shown)
            yield here
        finally:
            os.close(here)

    def _require_trusted(self, descriptor: int, shown: str) -> None:
        found = os.fstat(descriptor)
        if found.st_uid not in self.owners or found.st_mode & 0o022:
            raise Refused(
                f"{shown}: found a directory of user {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}, in which "
                "others than root can make names; allowed: of user 0, written to by its owner alone"
            )

    @_named
    def look(self, path: str, most: int = MOST) -> Entry:
        """Returns what is at `path`; None also where its directory is not there. most: bytes that a file may have."""
        try:
            with self.directory(os.path.dirname(path)) as directory:
                return _look(directory, path, most)
        except FileNotFoundError:
            return None

    @_named
    def put(self, path: str, wanted: Entry) -> None:
        """Make `path` what :meth:`look` shall return: the old or the new file at each moment, and durable at the end.

        What has no owner becomes this process's, and is given no special rights (setuid).
        """
        name = os.path.basename(path)
        with self.directory(os.path.dirname(path)) as directory:
            if wanted is None:
                os.unlink(name, dir_fd=directory)
            else:
                draft = self._draft(directory, wanted)
                try:
                    os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
                except OSError:
                    os.unlink(draft, dir_fd=directory)
                    raise
            os.fsync(directory)

    def _draft(self, directory: int, wanted: dict[str, Any]) -> str:
        """Returns the name of a new file or link that is as wanted; none is left where that fails."""
        draft = f".hosttune-{os.urandom(4).hex()}"
        owner = wanted.get("uid", self.uid), wanted.get("gid", self.gid)
        if "link" in wanted:
            os.symlink(wanted["link"], draft, dir_fd=directory)
        else:
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | SAFE, 0o600, dir_fd=directory)
        try:
            if "link" in wanted:
                os.chown(draft, *owner, dir_fd=directory, follow_symlinks=False)
                return draft
            try:
                left = wanted["content"].encode("utf-8", "surrogateescape")
                while left:
                    left = left[os.write(descriptor, left) :]
                os.fchown(descriptor, *owner)
                _drop_access_list(descriptor)
                # After the owner, whose change takes setuid away; and before an access list, which says it again.
                os.fchmod(descriptor, int(wanted["mode"], 8) & (0o7777 if "uid" in wanted else 0o777))
                for attribute, value in wanted.get("xattrs", {}).items():
                    _set_attribute(descriptor, attribute, base64.b64decode(value))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except BaseException:
            os.unlink(draft, dir_fd=directory)
            raise
        return draft

    @_named
    def has_directory(self, path: str) -> bool:
        try:
            with self.directory(path):
                return True
        except FileNotFoundError:
            return False

    def missing_parents(self, path: str) -> list[str]:
        """Returns the directories above `path` that are not there, outermost first."""
        missing: list[str] = []
        directory = os.path.dirname(path)
        while not self.has_directory(directory):
            missing.insert(0, directory)
            directory = os.path.dirname(directory)
        return missing

    def make_parents(self, path: str) -> None:
        for directory in self.missing_parents(path):
            self._make_directory(directory)

    @_named
    def _make_directory(self, path: str) -> None:
        with self.directory(os.path.dirname(path)) as parent:
            mask = os.umask(0o022)  # and no chmod afterwards, before which a run may be killed
            try:
                os.mkdir(os.path.basename(path), 0o755, dir_fd=parent)
            except FileExistsError:  # of another run's, which waits for the lock
                return
            finally:
                os.umask(mask)
            os.fsync(parent)

    @_named
    def drop_directory(self, path: str) -> bool:
        """Remove a directory if it is empty. Returns whether it is gone."""
        try:
            with self.directory(os.path.dirname(path)) as parent:
                os.rmdir(os.path.basename(path), dir_fd=parent)
                os.fsync(parent)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.ENOTDIR):
                return False
            raise
        return True

    def drop_directories(self, paths: Iterable[str]) -> list[str]:
        """Remove those that are empty, innermost first. Returns those that are left."""
        return [path for path in sorted(set(paths), reverse=True) if not self.drop_directory(path)][::-1]

    @_named
    def sweep(self, path: str) -> None:
        """Remove from a directory what killed runs left there."""
        try:
            with self.directory(path) as directory:
                left = [name for name in os.listdir(directory) if _OLD_DRAFT.fullmatch(name)]
                for name in left:
                    self._remove_draft(directory, name)
                if left:
                    os.fsync(directory)
        except FileNotFoundError:
            return

    def _remove_draft(self, directory: int, name: str) -> None:
        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode) and found.st_uid == self.uid:
            inner = os.open(name, _DIRECTORY | SAFE, dir_fd=directory)
            try:
                if os.listdir(inner) == ["link"] and _read_link("link", inner) is not None:
                    os.unlink("link", dir_fd=inner)
                    os.rmdir(name, dir_fd=directory)
            finally:
                os.close(inner)
        # The draft of what belonged to another user has that owner already.
        elif DRAFT.fullmatch(name) and (
            stat.S_ISLNK(found.st_mode) or (stat.S_ISREG(found.st_mode) and found.st_nlink == 1)
        ):
            os.unlink(name, dir_fd=directory)

    def value(self, path: str) -> str:
        """Returns a kernel value as words, or raises :class:`Refused` saying how far the path exists."""
        try:
            text = self._read_value(path)
        except FileNotFoundError:
            parent = os.path.dirname(path)
            while not self.has_directory(parent):
                parent = os.path.dirname(parent)
            with self.directory(parent) as directory:
                names = sorted(os.listdir(directory))
            there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise Refused(f"{path} does not exist on this host ({parent} holds: {there})") from None
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from None
        choice = re.search(r"\[(\S+)\]", text)
        return choice.group(1) if choice else " ".join(text.split())

    def set_value(self, path: str, wanted: str) -> None:
        """Write a kernel value and read it back."""
        try:
            with self._kernel_file(path, os.O_WRONLY) as descriptor:
                self._write_value(descriptor, wanted.encode("ascii"))
        except OSError as error:
            raise Refused(f"{path}: the kernel refused {wanted!r}: {error.strerror}") from None
        found = self.value(path)
        if found != wanted:
            raise Refused(f"{path}: wrote {wanted!r}, and the kernel made it {found!r}")

    def _write_value(self, descriptor: int, value: bytes) -> None:
        os.write(descriptor, value)  # at once: the kernel takes a value as a whole

    def _read_value(self, path: str) -> str:
        with self._kernel_file(path, os.O_RDONLY) as descriptor:
            return os.read(descriptor, 1 << 16).decode("ascii", "replace")

    @contextmanager
    def _kernel_file(self, path: str, flags: int) -> Iterator[int]:
        """Hold a descriptor of a file of procfs, sysfs or debugfs: without a link, of the file system mounted there."""
        with self.directory(os.path.dirname(path), links=False) as directory:
            descriptor = os.open(os.path.basename(path), flags | SAFE, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise Refused(f"{path} is not a regular file")
            mount = find_kernel_mount(path)
            top = os.stat(os.path.join(self.root, mount[1:]))
            # Each of these file systems gives its root the number 1.
            if self.root == "/" and (top.st_ino, top.st_dev) != (1, found.st_dev):
                raise Refused(f"{path} is not of the kernel's file system at {mount}")
            yield descriptor
        finally:
            os.close(descriptor)


def find_kernel_mount(path: str) -> str:
    """Return where the kernel's file system is mounted that a path is of: debugfs is below sysfs."""
    return DEBUGFS if path.startswith(f"{DEBUGFS}/") else f"/{path.split('/')[1]}"


def _look(directory: int, path: str, most: int) -> Entry:
    name = os.path.basename(path)
    found = os.stat(name, dir_fd=directory, follow_symlinks=False)
    owner = {"uid": found.st_uid, "gid": found.st_gid}
    if stat.S_ISLNK(found.st_mode):
        return {"link": os.readlink(name, dir_fd=directory), **owner}
    if not stat.S_ISREG(found.st_mode):
        return {"kind": _KINDS.get(stat.S_IFMT(found.st_mode), "a special file"), **owner}
    descriptor = os.open(name, os.O_RDONLY | SAFE, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        content = b""
        while part := os.read(descriptor, most + 1 - len(content)):
            content += part
        if len(content) > most:
            return {"kind": f"a file of more than {most:,} bytes", **owner}
        entry: dict[str, Any] = {
            "content": content.decode("utf-8", "surrogateescape"),
            "mode": f"{stat.S_IMODE(found.st_mode):04o}",
            "uid": found.st_uid,
            "gid": found.st_gid,
        }
        attributes = _read_attributes(descriptor)
        return {**entry, "xattrs": attributes} if attributes else entry
    finally:
        os.close(descriptor)


def _read_link(name: str, directory: int) -> str | None:
    """Returns the target of a symbolic link, None if there is another kind of file."""
    try:
        return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return None
        raise


def _read_attributes(descriptor: int) -> dict[str, str]:
    try:
        names = set(os.listxattr(descriptor)) - _OF_THE_KERNEL
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return {}
        raise
    return {name: base64.b64encode(os.getxattr(descriptor, name)).decode() for name in sorted(names)}


def _drop_access_list(descriptor: int) -> None:
    """Take away what a new file has from its directory's default access list (acl(5)), which chmod would widen."""
    try:
        os.removexattr(descriptor, "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):
            raise


def _set_attribute(descriptor: int, name: str, value: bytes) -> None:
    try:
        os.setxattr(descriptor, name, value)
    except OSError as error:
        raise OSError(error.errno, f"its attribute {name} cannot be set: {error.strerror}") from None
