"""docs/licences.md lists every installed package, and what it says of the binaries is what they report."""

import ctypes
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution
from pathlib import Path, PurePath

import imageio_ffmpeg
import pytest

from tests.test_documents import TOP, script

pytestmark = pytest.mark.unit

LICENCES = script("licences")
NEEDED: dict[str, Distribution] = LICENCES.needed("embedded")
PAGE = (TOP / "docs" / "licences.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([\w-]+)` \| (.+?) \| (?:embedded)? ?\|$", PAGE, re.MULTILINE))


def libraries(name: str) -> list[Path]:
    """The shared libraries that a wheel bundles beside its own modules."""
    files = distribution(name).files or []
    return [Path(str(file.locate())) for file in files if PurePath(file).parts[0].endswith(".libs")]


def test_each_package_has_a_line_with_a_licence() -> None:
    missing, extra = set(NEEDED) - set(ROWS), set(ROWS) - set(NEEDED)
    assert (missing, extra if sys.version_info[:2] == LICENCES.PYTHON else set()) == (set(), set())
    known = re.compile(r"(LGPL|GPL|MPL|MIT|BSD|Apache|PSF|ISC|MIT-0)[\w.-]*( OR [\w.-]+)?")
    assert {name: terms for name, terms in ROWS.items() if not known.fullmatch(terms)} == {}


def test_each_package_is_of_a_version_that_is_fixed() -> None:
    fixed = {LICENCES._key(line.partition("==")[0]) for line in (TOP / "constraints.txt").read_text().splitlines()}
    assert set(NEEDED) <= fixed


def test_each_library_in_a_wheel_is_named() -> None:
    unnamed = {
        f"{name}: {library.name}"
        for name in NEEDED
        for library in libraries(name)
        if not library.name.startswith(tuple(LICENCES.BUNDLED.get(name, {"/": ()})))
    }
    assert unnamed == set()
    assert set(LICENCES.BUNDLED) <= {name for name in NEEDED if libraries(name)}
    assert set(LICENCES.PROGRAMS) <= set(NEEDED)


def test_ffmpeg_is_under_the_gpl_as_the_page_says() -> None:
    program = imageio_ffmpeg.get_ffmpeg_exe()
    said = subprocess.run([program, "-hide_banner", "-L"], capture_output=True, text=True, check=True)
    assert "GNU General Public License" in said.stdout
    assert "version 3 of the License" in " ".join(said.stdout.split())
    assert LICENCES.PROGRAMS["imageio-ffmpeg"][1] == "GPL-3.0-or-later"


def test_the_libraries_of_av_hold_x264_and_call_themselves_lgpl() -> None:
    found = {library.name.partition("-")[0]: library for library in libraries("av")}
    assert {"libx264", "libx265"} <= set(found)
    library = ctypes.CDLL(str(found["libavutil"]))
    library.avutil_license.restype = ctypes.c_char_p
    assert library.avutil_license() == b"LGPL version 3 or later"


def test_readme_and_image_lead_to_the_page() -> None:
    assert "[docs/licences.md](docs/licences.md)" in (TOP / "README.md").read_text("utf-8").partition("## Licence")[2]
    assert "COPY docs/licences.md /usr/share/doc/dumacle/" in (TOP / "docs" / "deploy" / "Dockerfile").read_text()
    assert "`/usr/share/doc/dumacle/licences.md`" in PAGE
