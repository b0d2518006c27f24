"""Opens sessions by the real pam_limits, for a test: usage pam_session.py SECURITY_DIRECTORY ACCOUNTS_DIRECTORY.

In a mount namespace of its own, /etc/security is the first directory, /etc/passwd and /etc/group are files of the
second, and /etc/pam.d is its `pam.d`. Each line of standard input is a case, {"user": NAME, "files": {NAME: TEXT},
"services": {NAME: TEXT}}, of which the service `session` is opened; each line of standard output its answer,
{"code": what the start and then pam_open_session returned, "limits": [[number, soft, hard], ...]}.
"""

import ctypes
import ctypes.util
import json
import os
import shutil
import subprocess
import sys

security, accounts = sys.argv[1:]
for source, target in (
    (security, "/etc/security"),
    (f"{accounts}/passwd", "/etc/passwd"),
    (f"{accounts}/group", "/etc/group"),
    (f"{accounts}/pam.d", "/etc/pam.d"),
):
    subprocess.run(["mount", "--bind", source, target], check=True)


class Conversation(ctypes.Structure):
    _fields_ = [("function", ctypes.c_void_p), ("data", ctypes.c_void_p)]


pam = ctypes.CDLL(ctypes.util.find_library("pam") or "libpam.so.0")
for name in ("pam_start_confdir", "pam_open_session", "pam_end"):
    getattr(pam, name).restype = ctypes.c_int
reader, writer = os.pipe()
os.set_blocking(reader, False)
os.environ["REPORT"] = str(writer)
# The C library has its own copy of the environment.
ctypes.CDLL(None).setenv(b"REPORT", str(writer).encode(), 1)


def open_session(user: str) -> int:
    handle = ctypes.c_void_p()
    conversation = Conversation(None, None)
    code = pam.pam_start_confdir(
        b"session", user.encode(), ctypes.byref(conversation), b"/etc/pam.d", ctypes.byref(handle)
    )
    if code == 0:
        code = pam.pam_open_session(handle, 0)
        pam.pam_end(handle, code)
    return int(code)


def write_services(services: dict[str, str]) -> None:
    for name in os.listdir("/etc/pam.d"):
        os.unlink(f"/etc/pam.d/{name}")
    for name, text in services.items():
        with open(f"/etc/pam.d/{name}", "w", encoding="utf-8", newline="") as file:
            file.write(text)


for line in sys.stdin:
    case = json.loads(line)
    write_services(case.get("services", {"session": "session required pam_limits.so\n"}))
    for name in os.listdir(security):
        path = f"{security}/{name}"
        shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    os.mkdir(f"{security}/limits.d")
    for name, text in case["files"].items():
        with open(f"{security}/{name}", "w", encoding="utf-8", newline="") as file:
            file.write(text)
    code = open_session(case["user"])
    try:
        reported = os.read(reader, 1 << 16).decode()
    except BlockingIOError:
        reported = ""
    limits = [[int(word) for word in each.split()] for each in reported.splitlines()]
    print(json.dumps({"code": code, "limits": limits}), flush=True)
