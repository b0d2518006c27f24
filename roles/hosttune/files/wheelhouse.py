"""Collect the wheels that a trading host needs, and refuse a host that they do not fit.

Trading hosts have no internet. This runs on the controller and makes a directory with our own wheel, all its
dependencies for the *target's* Python and C library (not the controller's), and pip itself:

    wheelhouse.json          what the wheels need of a host, and what each flavour consists of
    hosttune-RELEASE.tar     the light flavour: wheels/, requirements.txt with hashes, wheelhouse.json
    agent-RELEASE.tar        the same with what the agent needs

A host is described by the JSON that `probe.py`, beside this file, prints there.

    wheelhouse.py build DIR --host HOST.json     build, unless DIR is up to date with the sources
    wheelhouse.py check DIR --host HOST.json     only compare; for a directory that was built elsewhere
    wheelhouse.py wheel DIR                      compile our own wheel only, the one that `build` in DIR takes too

Each prints one JSON object. Exit status: 0 done, and fits; 1 does not fit (the reasons are on standard error);
2 usage, or the build failed.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from hosttune_wheelhouse import build, fit, manifests
from hosttune_wheelhouse.wheels import Broken

TREE = Path(__file__).resolve().parents[3]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="wheelhouse.py", description=__doc__.partition("\n\n")[0] if __doc__ else "")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, text in (
        ("build", "build DIR/KIND for the host's kind, unless it is up to date"),
        ("check", "compare a wheelhouse that was built elsewhere with the host"),
        ("wheel", "compile our own wheel, unless the one in DIR is up to date"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("directory", metavar="DIR", type=Path)
        if name != "wheel":
            command.add_argument(
                "--host",
                required=True,
                metavar="HOST.json",
                help="what probe.py printed there: a file, or the JSON itself",
            )
        if name != "check":
            command.add_argument("--source", metavar="TREE", type=Path, default=TREE, help=f"default: {TREE}")
        if name == "build":
            command.add_argument("--dry-run", action="store_true", help="only say whether it would be built")
    arguments = parser.parse_args(argv)
    try:
        directory: Path = arguments.directory.resolve()
        if arguments.command == "wheel":
            with build.locked(directory):
                wheel, changed = build.own_wheel(arguments.source.resolve(), directory)
            print(json.dumps({"wheel": str(wheel), "changed": changed}))
            return 0
        text = arguments.host if arguments.host.lstrip().startswith("{") else manifests.read_text(Path(arguments.host))
        host = fit.Host.parse(text)
        if reasons := fit.misfits_of_any_build(host):
            raise fit.Refusal("\n".join(reasons))
        changed = False
        if arguments.command == "check":
            manifest: dict[str, Any] | None = build.load(directory)
        else:
            tree: Path = arguments.source.resolve()
            with build.locked(directory):
                directory /= host.directory
                manifest = build.up_to_date(tree, directory, host)
                changed = manifest is None
                if changed and not arguments.dry_run:
                    manifest = build.build(tree, directory, host)
        if manifest and (reasons := fit.misfits(manifest, host)):
            raise fit.Refusal("\n".join(reasons))
    except fit.Refusal as refusal:
        print(printable(f"{arguments.directory}: this host is refused\n{refusal}"), file=sys.stderr)
        return 1
    except (Broken, OSError, ValueError) as error:
        print(printable(f"wheelhouse.py: {error}"), file=sys.stderr)
        return 2
    flavours = {
        name: {
            "release": flavour["release"],
            "archive": str(directory / flavour["archive"]),
            "size": (directory / flavour["archive"]).stat().st_size,
        }
        for name, flavour in (manifest["flavours"] if manifest else {}).items()
    }
    print(json.dumps({"directory": str(directory), "changed": changed, "flavours": flavours}))
    return 0


def printable(text: str) -> str:
    """What pip repeats of an index, and what a host says of itself, gives the terminal no orders."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


if __name__ == "__main__":
    sys.exit(main())
