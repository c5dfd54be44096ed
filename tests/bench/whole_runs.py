"""Uploads as a whole, at a store that costs nothing (null_store.py): memory, two processes in one run, a killed film.

    python -m tests.bench.whole_runs DUMACLE [--only memory,joined,killed] [--files 1000000]

* memory: peak memory and rate, of 10 thousand planned files of 1 KiB and of a million.
* joined: 4,000 files of 16 KiB at a store that answers after 200 ms, by one process with `--concurrency 32`, and by two
  of them in one run. No file may be sent twice.
* killed: a film of 2 GiB, whose upload is killed (-9) at 70 % and repeated. How much is sent again?

DUMACLE is that of an installed wheel.
"""

import argparse
import subprocess
import time
from collections.abc import Callable
from functools import partial

from tests.bench.measure import Run, interleaved, median, run
from tests.bench.null_store import null_store
from tests.bench.upload import Bench, Tools, database, tree

MIB = 1024**2
FEW, SMALL = 10_000, 1024
JOINED, JOINED_SIZE, ROUNDS = 4_000, 16 * 1024, 3
FILM, SHARE = 2 * 1024**3, 0.7


def main() -> None:
    """Measure what was chosen and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("dumacle")
    parser.add_argument("--only", default="memory,joined,killed")
    parser.add_argument("--files", type=int, default=1_000_000)
    chosen = parser.parse_args()
    measures: dict[str, Callable[[str], None]] = {
        "memory": partial(_memory, most=chosen.files),
        "joined": _joined,
        "killed": _killed,
    }
    for name in chosen.only.split(","):
        measures[name](chosen.dumacle)


def _memory(dumacle: str, most: int) -> None:
    for count in (FEW, most):
        with database() as (owner, login), tree(count, SMALL) as files, null_store(0.02) as endpoint:
            bench = Bench(Tools(dumacle), files, endpoint, owner, login, (count, count * SMALL))
            first = bench.first()
            again, requests, _ = bench.sent(bench.upload)
        for title, found in (("first", first), ("second", again)):
            peak, seconds = found.peak / MIB, found.seconds
            print(f"{count:>9,} files, {title:<6}: {peak:4.0f} MiB, {seconds:6.1f} s, {count / seconds:6.0f} files/s")
        print(f"{'':>17} the second run made {requests} requests")


def _joined(dumacle: str) -> None:
    with database() as (owner, login), tree(JOINED, JOINED_SIZE) as files, null_store(0.2) as endpoint:
        bench = Bench(Tools(dumacle), files, endpoint, owner, login, (JOINED, JOINED * JOINED_SIZE))
        options = ("--concurrency", "32", "--join")
        one = partial(bench.first, *options)
        two = partial(bench.first, *options, work=lambda: _two(bench.command(*options), bench.environment()))
        found = interleaved(ROUNDS, one=one, two=two)
    one_seconds, two_seconds = median(found["one"]), median(found["two"])
    print(f"one process {one_seconds:.1f} s, two {two_seconds:.1f} s: {one_seconds / two_seconds:.2f} x as fast")


def _two(command: list[str], environment: dict[str, str]) -> Run:
    """Run the command twice at the same time."""
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as other:
        found = run(command, environment)
    assert other.returncode == 0, f"the other process ended with {other.returncode}"
    return Run(time.perf_counter() - started, found.peak, found.cpu)


def _killed(dumacle: str) -> None:
    with database() as (owner, login), tree(1, FILM) as files, null_store(0.02) as endpoint:
        bench = Bench(Tools(dumacle), files, endpoint, owner, login, (1, FILM))
        bench.place()
        with subprocess.Popen(bench.command(), env=bench.environment(), stderr=subprocess.DEVNULL) as process:
            while bench.counts()[1] < SHARE * FILM:
                time.sleep(0.005)
            process.kill()
        before = bench.counts()[1]
        _, _, rest = bench.sent(bench.upload)
    twice = before + rest - FILM
    print(
        f"killed at {before / FILM:.0%} of 2 GiB; {rest / MIB:.0f} MiB sent then, {twice / MIB:.0f} MiB of them again"
    )


if __name__ == "__main__":
    main()
