#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep the files and running kernel values of one concern, and be able to put back what was there before."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

RECORDS = "/var/lib/hosttune"

if TYPE_CHECKING:  # Python 3.9 on a host would not evaluate these
    # What is at a path: nothing, {"link": target} or {"content": text, "mode": "0644"}.
    Entry = dict[str, str] | None
    # Path to (what is there, what shall be there).
    FileChanges = dict[str, tuple[Entry, Entry]]
    ValueChanges = dict[str, tuple[str, str]]


class Refused(Exception):
    """The host cannot hold what is wanted; the message is for the user."""


class Host:
    """Files of a host below `root`, which is `/` except in tests."""

    def __init__(self, root: str = "/") -> None:
        self.root = root

    def at(self, path: str) -> str:
        return os.path.join(self.root, path.lstrip("/"))

    def look(self, path: str) -> Entry:
        """Return what is at `path`: None, {'link': target} or {'content': text, 'mode': '0644'}."""
        real = self.at(path)
        try:
            status = os.lstat(real)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(status.st_mode):
            return {"link": os.readlink(real)}
        if not stat.S_ISREG(status.st_mode):
            raise Refused(f"{path} is there and is not a regular file")
        with open(real, encoding="utf-8", errors="surrogateescape") as file:
            return {"content": file.read(), "mode": f"{stat.S_IMODE(status.st_mode):04o}"}

    def put(self, path: str, wanted: Entry) -> None:
        """Make `path` what :meth:`look` shall return. Atomic, so a killed run leaves the old or the new file."""
        real = self.at(path)
        if wanted is None:
            os.unlink(real)
            return
        if "link" in wanted:
            # mkdtemp on the same file system, since a link cannot be created under a name that is taken.
            directory = tempfile.mkdtemp(prefix=".hosttune-", dir=os.path.dirname(real))
            temporary = os.path.join(directory, "link")
            os.symlink(wanted["link"], temporary)
            os.replace(temporary, real)
            os.rmdir(directory)
            return
        descriptor, temporary = tempfile.mkstemp(prefix=".hosttune-", dir=os.path.dirname(real))
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(wanted["content"])
            file.flush()
            os.fsync(descriptor)
        os.chmod(temporary, int(wanted["mode"], 8))
        os.replace(temporary, real)

    def missing_parents(self, path: str) -> list[str]:
        """Return the directories above `path` that are not there, outermost first."""
        missing: list[str] = []
        directory = os.path.dirname(path)
        while not os.path.isdir(self.at(directory)):
            missing.insert(0, directory)
            directory = os.path.dirname(directory)
        return missing

    def make_parents(self, path: str) -> None:
        for directory in self.missing_parents(path):
            os.mkdir(self.at(directory))
            os.chmod(self.at(directory), 0o755)

    def drop_parents(self, path: str, made: Iterable[str]) -> None:
        """Remove empty directories above `path` that a role made, or that are hosttune's own."""
        directory = os.path.dirname(path)
        while directory in made or "/hosttune" in directory:
            try:
                os.rmdir(self.at(directory))
            except FileNotFoundError:  # a killed run came this far
                pass
            except OSError:  # not empty: someone else uses it
                return
            directory = os.path.dirname(directory)

    def value(self, path: str) -> str:
        """Return a kernel value as words, or raise :class:`Refused` saying how far the path exists."""
        try:
            with open(self.at(path), encoding="ascii") as file:
                text = file.read()
        except FileNotFoundError:
            parent = os.path.dirname(path)
            while not os.path.isdir(self.at(parent)):
                parent = os.path.dirname(parent)
            names = sorted(os.listdir(self.at(parent)))
            there = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise Refused(f"{path} does not exist on this host ({parent} holds: {there})") from None
        except OSError as error:
            raise Refused(f"{path} cannot be read: {error.strerror}") from None
        choice = re.search(r"\[(\S+)\]", text)
        return choice.group(1) if choice else " ".join(text.split())

    def set_value(self, path: str, wanted: str) -> None:
        """Write a kernel value and read it back."""
        try:
            with open(self.at(path), "w", encoding="ascii") as file:
                file.write(wanted)
        except OSError as error:
            raise Refused(f"{path}: the kernel refused {wanted!r}: {error.strerror}") from None
        found = self.value(path)
        if found != wanted:
            raise Refused(f"{path}: wrote {wanted!r}, and the kernel made it {found!r}")


class Record:
    """What was there before the first change: files, values (None: not known) and directories made."""

    def __init__(self, host: Host, name: str) -> None:
        self.host = host
        self.path = f"{RECORDS}/{name}/original.json"
        saved = host.look(self.path)
        self.exists = saved is not None
        data = json.loads(saved["content"]) if saved else {}
        self.files: dict[str, Entry] = data.get("files", {})
        self.values: dict[str, str | None] = data.get("values", {})
        self.directories: list[str] = data.get("directories", [])
        # Files were changed, and systemd was not told yet.
        self.pending = data.get("pending", False)

    def save(self) -> None:
        data = {
            "files": self.files,
            "values": self.values,
            "directories": self.directories,
            "pending": self.pending,
        }
        self.host.make_parents(self.path)
        self.host.put(self.path, {"content": json.dumps(data, indent=1, sort_keys=True) + "\n", "mode": "0600"})

    def delete(self) -> None:
        """Forget everything; last, so that a killed revert can be repeated."""
        for path in self.files:
            self.host.drop_parents(path, self.directories)
        if self.exists:
            self.host.put(self.path, None)
        self.host.drop_parents(self.path, self.directories)


def plan_present(
    host: Host, record: Record, files: dict[str, Entry], values: dict[str, str]
) -> tuple[FileChanges, ValueChanges, list[str]]:
    """Return what has to change, and the values that this host does not have."""
    dropped_files = {path: past for path, past in record.files.items() if path not in files}
    dropped_values = {path: past for path, past in record.values.items() if path not in values and past is not None}
    value_changes: ValueChanges = {}
    problems: list[str] = []
    for path, after in {**dropped_values, **values}.items():
        try:
            before = host.value(path)
        except Refused as problem:
            problems.append(str(problem))
            continue
        if before != after:
            value_changes[path] = (before, after)
    return plan_files(host, {**dropped_files, **files}), value_changes, problems


def plan_files(host: Host, wanted: dict[str, Entry]) -> FileChanges:
    """Return the paths that are not as wanted."""
    found = {path: host.look(path) for path in wanted}
    return {path: (found[path], after) for path, after in wanted.items() if found[path] != after}


def was_baked(host: Host, record: Record, files: Iterable[str]) -> bool:
    """Tell whether our files came with the image: they are there, and nobody recorded what was before."""
    return not record.exists and any(host.look(path) for path in files if "hosttune" in path)


def plan_absent(
    host: Host, record: Record, files: dict[str, Entry], values: dict[str, str]
) -> tuple[FileChanges, ValueChanges, list[str]]:
    """Return what has to change to undo the concern, and the values whose past is not known."""
    past_files, past_values = record.files, record.values
    if was_baked(host, record, files):
        past_files = {path: past_of_baked(host, path, after) for path, after in files.items()}
        past_values = dict.fromkeys(values)
    value_changes: ValueChanges = {}
    left: list[str] = []
    for path, after in past_values.items():
        if after is None:
            left.append(path)
            continue
        try:
            before = host.value(path)
        except Refused:  # gone with its device or module, and so is our value
            continue
        if before != after:
            value_changes[path] = (before, after)
    return plan_files(host, past_files), value_changes, left


def past_of_baked(host: Host, path: str, after: Entry) -> Entry:
    found = host.look(path)
    return None if "hosttune" in path or found == after else found


def remember(host: Host, record: Record, files: dict[str, Entry], values: dict[str, str]) -> bool:
    """Add to the record what may be changed for the first time. Returns whether it grew."""
    baked = was_baked(host, record, files)
    grew = False
    for path, after in files.items():
        if path not in record.files:
            record.files[path] = past_of_baked(host, path, after) if baked else host.look(path)
            record.directories += [parent for parent in host.missing_parents(path) if parent not in record.directories]
            grew = True
    for path in values:
        if path not in record.values:
            record.values[path] = None if baked else host.value(path)
            grew = True
    return grew


def forget(record: Record, files: dict[str, Entry], values: dict[str, str]) -> bool:
    """Drop from the record what is no longer asked for and was put back. Returns whether it shrank."""
    dropped = (set(record.files) - set(files)) | (set(record.values) - set(values))
    record.files = {path: past for path, past in record.files.items() if path in files}
    record.values = {path: past for path, past in record.values.items() if path in values}
    return bool(dropped)


def apply_files(host: Host, record: Record, changes: FileChanges) -> None:
    for path, (_, after) in changes.items():
        if after is None:
            host.put(path, None)
            host.drop_parents(path, record.directories)
        else:
            host.make_parents(path)
            host.put(path, after)


def apply_values(host: Host, changes: ValueChanges) -> None:
    """Write the values; those after a refused one are still written. Raises :class:`Refused` with all of them."""
    problems = []
    for path, (_, after) in changes.items():
        try:
            host.set_value(path, after)
        except Refused as problem:
            problems.append(str(problem))
    if problems:
        raise Refused("; ".join(problems))


def normal_files(files: Mapping[str, Any]) -> dict[str, Entry]:
    """Bring the `files` option into the shape of :meth:`Host.look`."""
    normal: dict[str, Entry] = {}
    for path, wanted in files.items():
        if not path.startswith("/"):
            raise Refused(f"files: {path!r} is not an absolute path")
        if isinstance(wanted, str):
            wanted = {"content": wanted}
        if set(wanted) == {"link"}:
            normal[path] = {"link": wanted["link"]}
        elif set(wanted) <= {"content", "mode"} and "content" in wanted:
            normal[path] = {"content": wanted["content"], "mode": wanted.get("mode", "0644")}
        else:
            raise Refused(f"files: {path}: expected content and mode, or link; found {sorted(wanted)}")
    return normal


def normal_values(values: Mapping[str, Any]) -> dict[str, str]:
    """Bring the `values` option into the words that the kernel shows."""
    normal = {}
    for path, wanted in values.items():
        if not path.startswith(("/proc/", "/sys/")):
            raise Refused(f"values: {path!r} is not below /proc or /sys")
        if isinstance(wanted, bool):
            raise Refused(f"values: {path}: {wanted} is a YAML boolean; quote kernel words")
        words = wanted if isinstance(wanted, list) else [wanted]
        normal[path] = " ".join(" ".join(str(word).split()) for word in words)
    return normal


def show(content: Entry) -> str:
    if content is None:
        return ""
    return f"-> {content['link']}\n" if "link" in content else content["content"]


def diffs(file_changes: FileChanges, value_changes: ValueChanges) -> list[dict[str, str]]:
    shown = [
        {
            "before_header": path,
            "after_header": path,
            "before": show(before),
            "after": show(after),
        }
        for path, (before, after) in file_changes.items()
    ]
    if value_changes:
        before, after = (
            "".join(f"{path} = {change[side]}\n" for path, change in value_changes.items()) for side in (0, 1)
        )
        shown.append({"before_header": "running", "after_header": "running", "before": before, "after": after})
    return shown


def run(
    host: Host,
    name: str,
    state: str,
    files: Mapping[str, Any],
    values: Mapping[str, Any],
    reload: Callable[[], object] | None = None,
    offline: bool = False,
    check: bool = False,
) -> dict[str, Any]:
    """Do, or in check mode only plan, everything. Returns the module's result; raises :class:`Refused`.

    `reload` is called after files were changed; None if there is nobody to tell.
    """
    wanted_files = normal_files(files)
    wanted_values = {} if offline else normal_values(values)
    record = Record(host, name)
    resumed = record.pending and reload is not None
    if state == "present":
        file_changes, value_changes, problems = plan_present(host, record, wanted_files, wanted_values)
        left: list[str] = []
        if problems:
            raise Refused("; ".join(problems))
        if not check:
            if offline:
                apply_files(host, record, file_changes)
            else:
                converge(host, record, wanted_files, wanted_values, file_changes, value_changes, reload)
    else:
        file_changes, value_changes, left = plan_absent(host, record, wanted_files, wanted_values)
        if not check:
            apply_values(host, {} if offline else value_changes)
            apply_files(host, record, file_changes)
            if reload and not offline and (file_changes or record.exists):
                reload()
            record.delete()
    return {
        "changed": bool(file_changes or value_changes or resumed),
        "paths": list(file_changes),
        "running": {path: {"before": before, "after": after} for path, (before, after) in value_changes.items()},
        "left": left,
        "diff": diffs(file_changes, value_changes),
    }


def converge(
    host: Host,
    record: Record,
    files: dict[str, Entry],
    values: dict[str, str],
    file_changes: FileChanges,
    value_changes: ValueChanges,
    reload: Callable[[], object] | None,
) -> None:
    """Apply a plan in an order that a killed run can be repeated from."""
    grew = remember(host, record, files, values)
    if reload and file_changes:
        record.pending = grew = True
    if grew:
        record.save()
    apply_files(host, record, file_changes)
    apply_values(host, value_changes)
    shrank = forget(record, files, values)
    if record.pending and reload:
        reload()
        record.pending = False
        shrank = True
    if shrank:
        record.save()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "files": {"type": "dict", "default": {}},
            "values": {"type": "dict", "default": {}},
            "reload_systemd": {"type": "bool", "default": False},
            "offline": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )

    def reload() -> None:
        module.run_command(["systemctl", "daemon-reload"], check_rc=True)

    options = dict(module.params)
    options["reload"] = reload if options.pop("reload_systemd") else None
    try:
        result = run(Host(), check=module.check_mode, **options)
    except Refused as problem:
        module.fail_json(msg=str(problem))
    except OSError as error:
        module.fail_json(msg=f"{error.filename}: {error.strerror}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
