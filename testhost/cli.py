"""The command line: `python -m testhost COMMAND`. Exit status 0 done, 1 failed, 2 usage or something is missing."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from testhost import image as images
from testhost.cache import Cache
from testhost.errors import TesthostError, UsageError
from testhost.host import BOOT_TIMEOUT_S, LIVE, Host
from testhost.inventory import ansible, ssh_config
from testhost.output import print_message, write_out
from testhost.systems import KERNELS, RELEASES, System
from testhost.topology import NIC_MODELS, Topology


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m testhost", description="Debian 12 and 13 guests under QEMU.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="build the guest's image, if it is not in the cache")
    build.add_argument("--rebuild", action="store_true", help="build it although it is there (newer packages)")
    build.add_argument("--mirror", metavar="URL", help="Debian mirror to use for the main archive alone")

    start = commands.add_parser("start", help="start a host and wait until ssh answers")
    start.add_argument("name", metavar="NAME")
    for command in (build, start):
        command.add_argument("--release", choices=list(RELEASES), default="bookworm", help="Debian (default bookworm)")
        command.add_argument(
            "--kernel", choices=list(KERNELS), default="stock", help="stock (default), or rt: Debian's PREEMPT_RT"
        )
    start.add_argument("--cpus", type=int, default=4, metavar="N", help="vCPUs (default 4)")
    start.add_argument("--memory", type=int, default=3072, metavar="MIB", help="MiB of memory (default 3072)")
    start.add_argument("--numa", type=int, default=2, metavar="N", help="NUMA nodes (default 2)")
    start.add_argument("--nic", choices=sorted(NIC_MODELS), default="vmxnet3", help="NIC model (default vmxnet3)")
    start.add_argument("--queues", type=int, metavar="N", help="queues per NIC (default: what its driver opens)")
    start.add_argument(
        "--nics", type=int, default=1, metavar="N", help="NICs, each on a network of its own (default 1)"
    )
    start.add_argument(
        "--accel", choices=["auto", "kvm", "tcg"], default="auto", help="auto: KVM if a guest boots with it"
    )
    how = start.add_mutually_exclusive_group()
    how.add_argument("--fresh", dest="boot", action="store_const", const="fresh", help="boot the image")
    restored = "restore the state after a first boot, or fail (default: boot when that does not work)"
    how.add_argument("--snapshot", dest="boot", action="store_const", const="snapshot", help=restored)
    start.add_argument("--open", action="store_true", help="let the guest reach this machine and its networks")
    start.add_argument("--no-wait", action="store_true", help="return when QEMU runs; `wait` must follow")
    start.add_argument(
        "--timeout", type=float, default=BOOT_TIMEOUT_S, metavar="S", help="bound of the wait (default 300)"
    )
    start.set_defaults(boot="auto")

    wait = commands.add_parser("wait", help="wait until ssh answers and the clock is right")
    wait.add_argument("name", metavar="NAME")
    wait.add_argument("--timeout", type=float, default=BOOT_TIMEOUT_S, metavar="S", help="default 300")

    ssh = commands.add_parser("ssh", help="a shell or a command in the guest")
    ssh.add_argument("-l", "--user", default="root", help="root (default) or ops, who has sudo")
    ssh.add_argument("name", metavar="NAME")
    ssh.add_argument(
        "cmd", nargs=argparse.REMAINDER, metavar="CMD", help="one word is given to the guest's shell as it is"
    )

    config = commands.add_parser("ssh-config", help="print an ssh_config block")
    config.add_argument("-l", "--user", default="root")
    config.add_argument("name", metavar="NAME")

    inventory = commands.add_parser("inventory", help="print an Ansible inventory")
    inventory.add_argument("-l", "--user", default="ops")
    inventory.add_argument("--group", default="trading", help="group of the hosts (default trading)")
    inventory.add_argument("names", nargs="+", metavar="NAME")

    commands.add_parser("list", help="hosts and saved first boots")

    serial = commands.add_parser("serial", help="print the serial log")
    serial.add_argument("name", metavar="NAME")

    stop = commands.add_parser("stop", help="end hosts and remove what they had")
    stop.add_argument("names", nargs="*", metavar="NAME")
    stop.add_argument("--all", action="store_true", help="every host of this cache")

    for name, text in (("snapshot", "save the whole machine state"), ("restore", "go back to a saved state")):
        command = commands.add_parser(name, help=text)
        command.add_argument("name", metavar="NAME")
        command.add_argument("tag", metavar="TAG")

    commands.add_parser("clean", help="end all hosts and remove images, saved states and logs")
    return parser


def _hosts(cache: Cache) -> list[Host]:
    if not cache.hosts.is_dir():
        return []
    return [Host(cache, entry.name) for entry in sorted(cache.hosts.iterdir()) if entry.is_dir()]


def _list(cache: Cache) -> None:
    rows: list[tuple[str, ...]] = [("NAME", "PHASE", "PORT", "ACCEL", "CPUS", "NODES", "MIB", "NIC", "DIRECTORY")]
    for host in _hosts(cache):
        phase = host.state()["phase"]
        try:
            config = host.config()
        except TesthostError:
            rows.append((host.name, phase, *["-"] * 6, str(host.directory)))
            continue
        hardware = config["topology"]
        nic = f"{hardware['nics']}x{hardware['nic']}/{hardware['queues']}"
        numbers = [str(hardware[key]) for key in ("cpus", "numa", "memory")]
        rows.append((host.name, phase, str(config["port"]), config["accel"], *numbers, nic, str(host.directory)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        write_out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")


def _run(args: argparse.Namespace, cache: Cache) -> int:
    match args.command:
        case "build":
            live = [host.name for host in _hosts(cache) if host.state()["phase"] in LIVE]
            if args.rebuild and live:
                raise UsageError(f"--rebuild replaces the disk under running hosts; stop them first: {' '.join(live)}")
            system = System(args.release, args.kernel)
            image = images.build(cache, print_message, system, rebuild=args.rebuild, mirror=args.mirror)
            write_out(f"{image.directory}\n")
        case "start":
            started = time.monotonic()
            topology = Topology(args.cpus, args.memory, args.numa, args.nic, args.queues, args.nics)
            host = Host(cache, args.name)
            others = host.state()["phase"] in LIVE if host.directory.exists() else False
            try:
                host.start(
                    topology,
                    System(args.release, args.kernel),
                    asked_accel=args.accel,
                    boot=args.boot,
                    open_network=args.open,
                    progress=print_message,
                )
                if not args.no_wait:
                    host.wait(args.timeout)
            except BaseException:  # also a signal that comes when start() has returned
                if not others:
                    host.stop()
                raise
            if not args.no_wait:
                print_message(f"{args.name} answers on port {host.port} after {time.monotonic() - started:.1f} s")
        case "wait":
            Host(cache, args.name).wait(args.timeout)
        case "ssh":
            words = args.cmd[1:] if args.cmd[:1] == ["--"] else args.cmd
            argv = Host(cache, args.name).access.argv(args.user)
            words = words if len(words) == 1 else Host(cache, args.name).access.argv(args.user, words)[len(argv) + 1 :]
            sys.stdout.flush()
            os.execvp(argv[0], [*argv, "--", *words] if words else argv)
        case "ssh-config":
            write_out(ssh_config(args.name, Host(cache, args.name).access, args.user))
        case "inventory":
            write_out(ansible({name: Host(cache, name).access for name in args.names}, args.group, args.user))
        case "list":
            _list(cache)
        case "serial":
            host = Host(cache, args.name)
            host.config()
            write_out(host.serial().read_bytes().decode(errors="replace").replace("\r\n", "\n"))
        case "stop":
            if bool(args.names) == args.all:
                raise UsageError("stop: name hosts, or say --all")
            _stop(_hosts(cache) if args.all else [Host(cache, name) for name in args.names])
        case "snapshot":
            Host(cache, args.name).save(args.tag)
        case "restore":
            Host(cache, args.name).restore(args.tag)
        case "clean":
            _stop(_hosts(cache))
            for directory in (cache.images, cache.snapshots, cache.hosts, cache.logs):
                shutil.rmtree(directory, ignore_errors=True)
            (cache.root / "kvm-probe.json").unlink(missing_ok=True)
    return 0


def _stop(hosts: list[Host]) -> None:
    unknown = [host.name for host in hosts if not host.stop()]
    if unknown:
        raise TesthostError(f"no such host: {', '.join(unknown)}")


def _terminated(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. A SIGTERM unwinds as Ctrl-C does, so that nothing half started is left."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGHUP, _terminated)
    try:
        return _run(args, Cache())
    except TesthostError as error:
        print_message(f"testhost: {error}")
        return error.status
    except KeyboardInterrupt:
        print_message("testhost: interrupted")
        return 130
