"""Chromium without a screen, for pages that talk to stores themselves."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import ROOT

CHROMIUM = shutil.which("chromium")
HLS_JS = Path(os.environ.get("DUMACLE_TEST_HLS_JS", ROOT / "node_modules/hls.js/dist/hls.min.js"))
_OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-proxy-server", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"),
    "--autoplay-policy=no-user-gesture-required",
)


@contextmanager
def browser(url: str, home: Path) -> Iterator[None]:
    """Open a page, with a profile in this folder."""
    command = [str(CHROMIUM), *_OPTIONS, f"--user-data-dir={home}", url]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
        try:
            yield
        finally:
            run.terminate()
