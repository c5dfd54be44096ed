"""Memory does not grow with the rows: importing and listing ten times as many users takes as much of it."""

import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from dumacle_cli.store.database import Database
from tests.processes import ROOT, unmeasured

pytestmark = pytest.mark.integration
FEW, MANY, GROWTH = 5_000, 30_000, 5
"""Users, and by how many MiB the peaks may differ; the many, kept as objects, take more."""
# What a process was before `exec` counts in ru_maxrss, and that is a copy of the one that runs the tests.
PROGRAM = """
import sys
from pathlib import Path
from dumacle_cli.__main__ import main
status = main(sys.argv[1:])
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0], file=sys.stderr)
sys.exit(status)
"""


def peak(*argv: str | Path) -> float:
    """Run the program, and return the most memory it held, in MiB."""
    command = [sys.executable, "-c", PROGRAM, *argv]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=unmeasured(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    return int(done.stderr.split()[-1]) / 1024


def test_as_much_for_many_as_for_few(configured: None, database: Database, tmp_path: Path) -> None:
    def peaks(number: int) -> tuple[float, float]:
        file = tmp_path / f"{number}.csv"
        file.write_text("email\n" + "".join(f"{user}@{number}.example.com\n" for user in range(number)))
        return peak("users", "import", file), peak("users", "list", "--all", "-o", "csv")

    imported, listed = peaks(FEW)
    more_imported, more_listed = peaks(MANY)
    with database.session() as session:
        assert session.scalar(text("SELECT count(*) FROM app.users WHERE role = 'enduser'")) == FEW + MANY
    assert more_imported - imported < GROWTH
    assert more_listed - listed < GROWTH
