"""Wall time and memory of whole processes, as medians over interleaved runs."""

import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a process: wall and CPU seconds, and its peak resident memory in bytes."""

    seconds: float
    peak: int
    cpu: float


def run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Run:
    """Run a command to its end and measure it; raises where it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    complaint = process.stderr.read() if process.stderr else b""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {complaint.decode(errors='replace')[-500:]}")
    return Run(seconds, _bytes(usage), usage.ru_utime + usage.ru_stime)


def _bytes(usage: resource.struct_rusage) -> int:
    return usage.ru_maxrss * 1024


def interleaved(rounds: int, **commands: Callable[[], Run]) -> dict[str, list[Run]]:
    """Run each command once per round, so that a noisy moment hits all of them."""
    found: dict[str, list[Run]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            found[name].append(command())
    return found


def median(runs: Sequence[Run]) -> float:
    """Return the median of the wall times in seconds."""
    return statistics.median(each.seconds for each in runs)


def report(title: str, runs: Mapping[str, Sequence[Run]], peer: str) -> None:
    """Print each command's median, spread, memory, and its ratio to the peer."""
    print(f"\n{title}")
    base = median(runs[peer])
    for name, found in runs.items():
        seconds = sorted(each.seconds for each in found)
        memory = max(each.peak for each in found) / 1024**2
        print(
            f"  {name:<28}{median(found) * 1000:>9.0f} ms  ({seconds[0] * 1000:.0f} to {seconds[-1] * 1000:.0f})"
            f"  {memory:>5.0f} MiB  {median(found) / base:>6.2f} x {peer}"
        )
