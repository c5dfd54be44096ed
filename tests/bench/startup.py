"""Start-up of an installed wheel against `aws --version`.

    python -m tests.bench.startup DUMACLE AWS

DUMACLE and AWS are the console scripts, each in an environment of its own. The profile in use must be the embedded
one, running. Goals: --help at most 0.35 x, --version 0.1 x, users list 1.75 x.
"""

import sys
from functools import partial

from tests.bench.measure import interleaved, report, run

ROUNDS = 21


def main(dumacle: str, aws: str) -> None:
    """Measure and print the ratios."""
    commands = {
        "aws --version": [aws, "--version"],
        "dumacle --version": [dumacle, "--version"],
        "dumacle --help": [dumacle, "--help"],
        "dumacle users list": [dumacle, "users", "list"],
        "dumacle files list": [dumacle, "files", "list"],
    }
    for command in commands.values():
        run(command)
    found = interleaved(ROUNDS, **{name: partial(run, command) for name, command in commands.items()})
    report(f"start-up, median of {ROUNDS}", found, "aws --version")


if __name__ == "__main__":
    main(*sys.argv[1:3])
