"""Run as a program, `confine.py PARENT LIMITS PATHS PROGRAM ARGUMENT...`: confines itself, then becomes the program.

It is a separate program, because nothing may run between fork and exec in a process with threads. It is
started by its path and imports nothing of Dumacle, so that it takes 20 ms.
"""

import ctypes
import json
import os
import resource
import signal
import stat
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# Landlock's numbers, the same on every architecture.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
VERSION, PATH_BENEATH = 1, 1
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG, TRUNCATE = 1, 2, 4, 8, 32, 128, 256, 1 << 14
OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
READS = EXECUTE | READ_FILE | READ_DIR
WRITES = WRITE_FILE | READ_FILE | READ_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | TRUNCATE
# What each version of Landlock can deny to files; to TCP from the fourth, and to signals and sockets from the sixth.
FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}


def main(parent: int, limits: dict[str, int], paths: dict[str, list[str]], command: list[str]) -> None:
    """Arrange to be killed when `parent` ends, apply `limits` (by name of RLIMIT_*), and become `command`.

    `CORES` among the limits is how many processors it may use. Only the `paths` that it `reads` and `writes` are there.
    """
    if sys.platform == "linux":
        _restrict(paths)
    if os.getppid() != parent:
        # The parent ended before PR_SET_PDEATHSIG was set.
        sys.exit(1)
    for name, value in limits.items():
        if hasattr(resource, f"RLIMIT_{name}"):
            _limit(getattr(resource, f"RLIMIT_{name}"), value)
    if "CORES" in limits and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: limits["CORES"]])
    os.execv(command[0], command)  # noqa: S606 - there is no shell on purpose


def _restrict(paths: dict[str, list[str]]) -> None:
    """Leave the network, and keep away from all other files, as far as the system can."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Root needs no user namespace of its own; others may be refused one, and then Landlock denies TCP at least.
    libc.unshare(CLONE_NEWNET if os.geteuid() == 0 else CLONE_NEWUSER | CLONE_NEWNET)
    # After that: a change of credentials would take it back.
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _lock(libc, paths)


def _lock(libc: ctypes.CDLL, paths: dict[str, list[str]]) -> None:
    version = libc.syscall(CREATE_RULESET, None, 0, VERSION)
    if version < 1:
        return
    denied = FILES[max(each for each in FILES if each <= version)]
    wanted = struct.pack("QQQ", denied, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = libc.syscall(CREATE_RULESET, wanted, size, 0)
    for path in paths["reads"]:
        _allow(libc, rules, path, READS & denied)
    for path in paths["writes"]:
        _allow(libc, rules, path, WRITES & denied)
    if rules < 0 or libc.syscall(RESTRICT_SELF, rules, 0):
        sys.exit(f"Landlock {version} refused: {os.strerror(ctypes.get_errno())}")
    os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: str, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    allowed = rights if stat.S_ISDIR(os.fstat(beneath).st_mode) else rights & OF_FILES
    libc.syscall(ADD_RULE, rules, PATH_BENEATH, struct.pack("=Qi", allowed, beneath), 0)
    os.close(beneath)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # At the soft limit of CPU time the program is told by a signal of its own; at the hard one it is killed.
    spare = int(kind == resource.RLIMIT_CPU and limit != hard)
    resource.setrlimit(kind, (limit, limit + spare))


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:])
