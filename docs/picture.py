"""Write docs/demo.svg, a picture of the output of `dumacle demo`, run on embedded servers of its own.

    python docs/picture.py

It omits the link and the password, which are useless once the servers are gone.
"""

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

TOP = Path(__file__).resolve().parents[1]
WIDTH = 80


def demo() -> str:
    """Run the demo in a scratch folder and return its output, with colours."""
    sys.path.insert(0, str(TOP))
    from tests.servers import scratch_folder

    folder = scratch_folder()
    program = [sys.executable, "-m", "dumacle_cli"]
    environment = {"PATH": os.defpath, "PYTHONPATH": str(TOP), "DUMACLE_CONFIG": str(folder / "config.toml")}
    environment |= {"DUMACLE_DATA_DIR": str(folder / "data"), "TERM": "xterm-256color"}
    try:
        run = subprocess.run(
            [*program, "demo", "--color", "always"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
        )
        return run.stdout
    finally:
        subprocess.run([*program, "local", "stop", "--quiet"], env=environment, check=True)
        shutil.rmtree(folder)


def shown(printed: str) -> str:
    """Return the output without the password and the link."""
    without = re.sub(r".*shown once: .*\n", "", printed)
    return re.sub(r"(http://127\.0\.0\.1:\d+/)\S+", r"\1…", without)


def main() -> None:
    """Write the picture."""
    screen = Console(record=True, width=WIDTH, file=io.StringIO())
    screen.print(Text("$ dumacle demo", style="bold"))
    screen.print(Text.from_ansi(shown(demo())))
    # Use the reader's monospace font: a picture in a README cannot load one.
    form = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace("Fira Code", "Menlo")
    screen.save_svg(str(TOP / "docs" / "demo.svg"), title="dumacle demo", code_format=form)


if __name__ == "__main__":
    main()
