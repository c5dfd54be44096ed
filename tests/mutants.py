"""How many faults put into services, ingest and store the tests notice, by a sample that is always the same.

    python -m tests.mutants [COUNT]

What is mutated, and which tests may notice, stands in pyproject.toml under [tool.mutmut].
"""

import random
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents
from mutmut.utils.file_utils import walk_mutatable_files
from mutmut.utils.format_utils import get_mutant_name

SEED = 2
COUNT = 100
AT_ONCE = "2"
"""Each mutant's tests start servers of their own."""
MUTMUT = Path(sysconfig.get_path("scripts"), "mutmut")


def sample(count: int) -> list[str]:
    """Choose mutants among all; the same ones as long as the code is the same."""
    names = [
        get_mutant_name(path, name)
        for path in sorted(walk_mutatable_files())
        for name in mutate_file_contents(str(path), path.read_text()).mutant_names
    ]
    return random.Random(SEED).sample(names, count)


def verdicts(names: list[str]) -> dict[str, str]:
    """Run the tests against each mutant; returns what became of it, such as `killed` or `survived`."""
    subprocess.run([MUTMUT, "run", "--max-children", AT_ONCE, *names], check=True)
    lines = subprocess.run([MUTMUT, "results", "--all", "true"], check=True, capture_output=True, text=True).stdout
    found = dict(line.strip().split(": ") for line in lines.splitlines())
    return {name: found[name] for name in names}


def main(count: int) -> None:
    """Print each mutant that no test noticed, and how many there are of each kind."""
    found = verdicts(sample(count))
    for name, verdict in found.items():
        if verdict != "killed":
            print(f"{verdict}: {name}")
    print(*(f"{number} {verdict}" for verdict, number in Counter(found.values()).most_common()), sep=", ")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else COUNT)
