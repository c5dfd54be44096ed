"""Run as a program, `confine.py PARENT LIMITS PROGRAM ARGUMENT...`: applies the limits, then becomes the program.

It is a separate program, because nothing may run between fork and exec in a process with threads. It is
started by its path and imports nothing of Dumacle, so that it takes 20 ms.
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38


def main(parent: int, limits: dict[str, int], command: list[str]) -> None:
    """Arrange to be killed when `parent` ends, apply `limits` (by name of RLIMIT_*), and become `command`.

    `CORES` among the limits is how many processors it may use.
    """
    if sys.platform == "linux":
        _restrict()
    if os.getppid() != parent:
        # The parent ended before PR_SET_PDEATHSIG was set.
        sys.exit(1)
    for name, value in limits.items():
        if hasattr(resource, f"RLIMIT_{name}"):
            _limit(getattr(resource, f"RLIMIT_{name}"), value)
    if "CORES" in limits and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: limits["CORES"]])
    os.execv(command[0], command)  # noqa: S606 - there is no shell on purpose


def _restrict() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # At the soft limit of CPU time the program is told by a signal of its own; at the hard one it is killed.
    spare = int(kind == resource.RLIMIT_CPU and limit != hard)
    resource.setrlimit(kind, (limit, limit + spare))


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3:])
