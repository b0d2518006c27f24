"""Reaching a guest: OpenSSH with literal options, so that the user's own configuration has no say, and the first
contact that gives a host keys of its own, entropy of its own and the right time."""

from __future__ import annotations

import base64
import os
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from testhost.errors import TesthostError

LOOPBACK = "127.0.0.1"

# Reads lines from stdin: seconds since the epoch (after saying that it waits for them), entropy in base64.
_SETTLE = r"""
set -eu
echo waiting
IFS= read -r now
date --utc --set "@$now" > /dev/null
IFS= read -r entropy
# RNDADDENTROPY and RNDRESEEDCRNG, random(4): guests restored from one snapshot must not share random numbers.
python3 -I -S -c 'import base64, fcntl, struct, sys
seed = base64.b64decode(sys.argv[1])
with open("/dev/urandom", "wb") as device:
    fcntl.ioctl(device, 0x40085203, struct.pack("ii", 8 * len(seed), len(seed)) + seed)
    fcntl.ioctl(device, 0x5207)' "$entropy"
"""

# Then: name, public key of the host's user, private ssh host key until the end.
_IDENTITY = r"""
IFS= read -r name
IFS= read -r key
umask 077
cat > /etc/ssh/ssh_host_ed25519_key.new
mv /etc/ssh/ssh_host_ed25519_key.new /etc/ssh/ssh_host_ed25519_key
ssh-keygen -y -f /etc/ssh/ssh_host_ed25519_key > /etc/ssh/ssh_host_ed25519_key.pub
chmod 0644 /etc/ssh/ssh_host_ed25519_key.pub
for home in /root /home/ops; do printf '%s\n' "$key" > $home/.ssh/authorized_keys; done
umask 022
printf '%s\n' "$name" > /etc/hostname
printf '%s\n' "$name" > /proc/sys/kernel/hostname
sed -i "s/^127\.0\.1\.1 .*/127.0.1.1 $name/" /etc/hosts
sync -f /
# As `systemctl reload ssh` does, without its way through systemd.
kill -HUP "$(cat /run/sshd.pid)"
"""


@dataclass(frozen=True)
class Access:
    """How to reach a guest: forwarded port on the loopback, private key file, known_hosts file."""

    port: int
    key: Path
    known_hosts: Path

    def options(self, connect_timeout: float = 20) -> dict[str, str]:
        """ssh_config(5) options; the same for the command line, ssh-config and the inventory."""
        return {
            "IdentityFile": str(self.key),
            "IdentitiesOnly": "yes",
            "PasswordAuthentication": "no",
            "BatchMode": "yes",
            "UserKnownHostsFile": str(self.known_hosts),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "ConnectTimeout": str(max(1, round(connect_timeout))),
            "LogLevel": "ERROR",
        }

    def argv(self, user: str, command: Sequence[str] = (), connect_timeout: float = 20) -> list[str]:
        """The ssh command; the words of `command` arrive in the guest as they are, whatever the shell there."""
        options = [word for key, value in self.options(connect_timeout).items() for word in ("-o", f"{key}={value}")]
        argv = ["ssh", "-F", "none", "-p", str(self.port), *options, f"{user}@{LOOPBACK}"]
        return [*argv, "--", shlex.join(command)] if command else argv


def known_hosts_line(port: int, public_key: str) -> str:
    """A known_hosts entry for a guest; `public_key` is the content of a .pub file."""
    kind, key = public_key.split()[:2]
    return f"[{LOOPBACK}]:{port} {kind} {key}\n"


def generate_key(path: Path, comment: str) -> str:
    """Makes an ed25519 key pair, the private half 0600, and returns the public one."""
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        raise TesthostError(f"ssh-keygen failed: {done.stderr.strip()}")
    return path.with_name(path.name + ".pub").read_text(encoding="ascii").strip()


def settle(access: Access, timeout: float, identity: tuple[str, str, bytes] | None) -> None:
    """Sets the guest's clock to ours and adds entropy; with `identity` (host name, public key, private ssh host key)
    also replaces the keys that it has from the image. Raises TesthostError with what ssh said.

    The clock is right to the round trip of one line, since the time is sent only when the guest waits for it.
    """
    script = _SETTLE if identity is None else _SETTLE + _IDENTITY
    argv = access.argv("root", ["sh", "-c", script], connect_timeout=timeout)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        try:
            data = b""
            if process.stdout.readline().strip() == b"waiting":
                data = f"{time.time():.3f}\n".encode() + base64.b64encode(os.urandom(64)) + b"\n"
                if identity is not None:
                    name, public_key, host_key = identity
                    data += f"{name}\n{public_key}\n".encode() + host_key
            _, err = process.communicate(data)
        finally:
            timer.cancel()
            if process.poll() is None:
                process.kill()
    if process.returncode == -signal.SIGKILL:
        raise TesthostError(f"first contact by ssh was not over within {timeout:.0f} s")
    if process.returncode != 0:
        said = err.decode(errors="replace").strip() or f"status {process.returncode}"
        raise TesthostError(f"first contact by ssh failed: {said}")
