"""Write the generated files: completions, .env.example, and docs/{commands,settings,permissions,media,licences}.md.

Run it after changing a command or a setting: python docs/generate.py
"""

import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from typer import core
from typer._click import Context

from dumacle_cli import commands, settings
from dumacle_cli.commands import command, shells
from dumacle_cli.store import rights, sql
from dumacle_cli.transcode import accepted

TOP = Path(__file__).resolve().parent.parent
WIDTH = 100
COLUMNS = ("kind", "name", *rights.EVERYBODY)
WORDS = {"SELECT": "read", "INSERT": "add", "UPDATE": "change", "DELETE": "delete", "EXECUTE": "call"}
COMMANDS = """\
# Commands

This file is generated from the help of the program (`--help`).

{commands}

"""
SETTINGS = """\
# Settings

This file is generated from `dumacle_cli/settings.py`.

Sources, strongest first:

1. `--set NAME=VALUE`
2. the profile named with `--profile`
3. the environment
4. another profile: `DUMACLE_PROFILE`, or `profile` in a file
5. the user's configuration file
6. `/etc/dumacle/config.toml`
7. the default

`dumacle config path` shows where the files are. `dumacle config list --show-origin` shows which source won and what it
overrides.

Dumacle refuses to guess. It reports an error if a profile and a variable explicitly name different databases, folders
or local stores, if a file exists but cannot be read, and if a variable is empty or its name almost matches a setting.
Secrets are refused on the command line.

{settings}
"""
PERMISSIONS = """\
# Permissions

This file is generated from `matrix.sql`, `policies.sql` and the declaration of each command.
[security.md](security.md) says what these permissions defend and what they do not. `dumacle doctor rls` compares
them with those in the database.

`superadmin`, `admin` and `enduser` are roles of people; `ingest`, `worker`, `listener` and `cron` are duties of
services. Each is a group role in PostgreSQL, and each login belongs to exactly one. PostgreSQL refuses everything that
is not listed here (42501, exit 5).

## Tables

Columns in brackets: only these; `(*)` means all but `created_at` and the ids, which PostgreSQL assigns. The
[policies](#rows) select the rows: endusers see only their own, admins change no users but endusers, and nobody
changes the audit log (`app.audit`), which triggers write.

{tables}

## Functions

Functions that run with their owner's rights check the caller first. Functions that are not listed can be called only
by the owner.

{functions}

## Rows

Every table of `app` has row-level security. `app.actor()` is the user of `session_user`, which cannot be forged;
`app.sees_all()` is true for everyone but endusers.

```sql
{policies}
```

## Commands

If a user has a lower role, PostgreSQL refuses the statements of the command, or hides the rows that it names: both are
reported as `forbidden`. `files url` and `files download` also need the bucket's credentials. A service uses its login
for its duty: `ingest` for `files upload`, `worker` for `worker`, `listener` for `webhooks serve`, `cron` for the
lines of [crontab](crontab).

{commands}
"""
MEDIA = """\
# Accepted media

This file is generated from `dumacle_cli/transcode/accepted.py`, which is what FFmpeg is told to accept.

The content decides, not the name of the file. Each stream is judged by itself. Of several videos the default is taken,
else the largest; of several sounds the default, else the first, but a commentary only if there is no other. Sound that
is not accepted does not prevent a poster.

Photos are accepted as videos of one picture. Whatever else a file contains (covers, data) is left out; it may have up
to 255 streams. If the picture or the sound is shorter, its last picture stays or silence follows. The last picture of
slides is shown for as long as the others at least.

Damage, such as packets that a recording lost, is counted in pictures and blocks of sound. Up to 1 % is repaired, of a
short video up to three pictures, and `transcode show` tells the share as `damaged`; more is refused. `transcode submit
--damage refuse` refuses any. A file that is cut off is always refused.

Each output is compared with its source, which is decoded again for that: the shape and the pictures at several
instants, and how loud each second is. An output that differs is not published.

## What is made, and what it costs

Outputs have constant quality: what is simple takes few bytes. A picture takes at most the bit rate that Apple
recommends for its area, and at most that of the source, except that there are always enough bits for key frames. The
smallest size takes more CPU time, and so does one for which the source has few bits.

The largest size is the source's own video, copied, if it is H.264 that every player shows as it is: 8 bits, 4:2:0, not
interlaced, rotated or of pixels that are not square, with pictures at regular times, at most 2 s from one key frame to
the next (10.5 s in a single file), and no more bits than Apple recommends. All sizes then have the source's key frames.
Else key frames are 2 s apart, and segments last 6 s.

Films of three minutes and more are encoded in chunks of half a minute and more, which all workers share; the sound is
encoded at once, and one worker puts everything together. Pictures, times, key frames and segments are those of a film
that is encoded as a whole. A film stays whole if its largest size is copied, if it is not MP4, MOV, Matroska or WebM,
if it has key frames more than 15 s apart, or if it has chapters and becomes a single file; and so does one in which
FFmpeg, having sought the beginning of a chunk, found another picture there than the worker of the chunk before.

HLS has beside the pictures, to choose from:

* up to 8 sounds, the default first, each with its title or the name of its language; each is filled up with silence or
  cut to the length of the film, and compared with its source;
* with `"audio": {{"surround": true}}` in the preset, 5.1 beside stereo where the source has it, for two and a half
  times the bits;
* up to 32 subtitles that are text, as WebVTT, with their language, and forced or shown first as the source says;
* captions inside the pictures (CEA-608 and 708), which stay there and are announced if there are some;
* the key frame at the start of each segment as a playlist of its own, from which players show pictures while viewers
  look for a place;
* chapters in `chapters.json`, as Apple's players read them. MP4 and M4A keep them too.

A single file has one sound and no subtitles. Titles are shown as text, without what would break a playlist.

`transcode plan` shows the most bytes, the CPU time to expect, the number of chunks, and what is charged; with `-o json`
also the sizes, why a size of the ladder is not made, and which `tracks` are left out and why (subtitles that are
pictures, as of DVD, Blu-ray and DVB). Charged is:

* hls and mp4: the length of the film, but no more than a second for every 20 pictures (slides have few), and a
  tenth of that if the video is copied in its only size;
* audio: a tenth of the length of the sound;
* poster: one second;
* sprite: one second for every 20 pictures in it.

Parts of a second count as whole ones. Several presets of a file are charged each by its own rule. Nothing is charged
for what fails or is cancelled; `transcode show` tells the `seconds` that were charged.

## Formats

{formats}

## Video

{video}

## Audio

{audio}

## Subtitles

{subtitles}

Playlists (HLS, DASH, concat), SVG and other formats that refer to other files are never opened.
"""


def documents() -> dict[Path, str]:
    """Return every generated file with its content."""
    sys.path.insert(0, str(TOP / "docs"))
    import licences

    made = {TOP / "completions" / shell.file: shells.script(name) for name, shell in shells.SHELLS.items()}
    made[TOP / ".env.example"] = env_example()
    made[TOP / "docs" / "commands.md"] = reference()
    made[TOP / "docs" / "settings.md"] = SETTINGS.format(settings=settings_table())
    made[TOP / "docs" / "permissions.md"] = permissions()
    made[TOP / "docs" / "media.md"] = media()
    if sys.version_info[:2] == licences.PYTHON:
        made[TOP / "docs" / "licences.md"] = licences.page()
    return made


def command_list() -> str:
    """Return a table of all commands."""
    found = [(path, leaf.declaration) for path, leaf in commands.walk() if leaf.declaration]
    rows = [
        f"| [`dumacle {path}`](#dumacle-{path.replace(' ', '-')}) | {declaration.summary} |"
        for path, declaration in found
    ]
    return "\n".join(["| command | |", "|---|---|", *map(_safe, rows)])


def settings_table() -> str:
    """Return a table of the settings with their environment variables and defaults."""
    rows = []
    for name, field in settings.Settings.model_fields.items():
        variables = ", ".join(f"`{variable}`" for variable in settings.environment_names(name))
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {field.description} | {default} | {variables} |")
    return "\n".join(["| setting | | default | environment |", "|---|---|---|---|", *rows])


def env_example() -> str:
    """Return a file with every setting as a commented environment variable."""
    lines = ["# Every setting of Dumacle. Uncomment what you set. See also: dumacle config list"]
    for name, field in settings.Settings.model_fields.items():
        first, *others = settings.environment_names(name)
        also = f"; also {', '.join(others)}" if others else ""
        lines += ["", f"# {field.description}{also}", f"#{first}={'' if field.default is None else field.default}"]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return the list of commands, and the full help of the program, every group and every command."""
    root = commands.root()
    top = Context(root, info_name="dumacle", terminal_width=WIDTH, **root.context_settings)
    sections = [f"## {path}\n\n```text\n{_help(context)}\n```\n" for path, context in _contexts("dumacle", top)]
    return COMMANDS.format(commands=command_list()) + "\n".join(sections)


def permissions() -> str:
    """Return the rights of each role as tables, the policies, and the lowest role of each command."""
    rows = matrix()
    return PERMISSIONS.format(
        tables=_table([row for row in rows if row["kind"] in ("table", "queue")]),
        functions=_table([row for row in rows if row["kind"] in ("function", "login")]),
        commands=_least_roles(),
        policies=sql.read("policies").strip(),
    )


def media() -> str:
    """Return the formats and codecs that transcoding accepts, with FFmpeg's names."""
    tables = {
        "formats": accepted.FORMATS,
        "video": accepted.VIDEO,
        "audio": accepted.AUDIO,
        "subtitles": accepted.SUBTITLES,
    }
    return MEDIA.format(**{name: _names(table) for name, table in tables.items()})


def _names(table: dict[str, str]) -> str:
    rows = [f"| {name} | {', '.join(f'`{each}`' for each in names.split(','))} |" for name, names in table.items()]
    return "\n".join(["| accepted | FFmpeg's names |", "|---|---|", *rows])


def matrix() -> list[dict[str, str]]:
    """Return the rows of matrix.sql: kind, name, and the rights of each role and duty."""
    values = re.search(r"\((VALUES\n.*)\) AS matrix", sql.read("matrix"), re.DOTALL)
    if values is None:
        raise SystemExit("matrix.sql has no VALUES")
    with closing(sqlite3.connect(":memory:")) as database:  # SQLite reads VALUES as PostgreSQL does, without a server
        return [dict(zip(COLUMNS, row, strict=True)) for row in database.execute(values[1])]


def _table(rows: list[dict[str, str]]) -> str:
    lines = [["", *rights.EVERYBODY], ["---"] * (1 + len(rights.EVERYBODY))]
    for row in rows:
        given = list(rights.of_row(row))
        cells = [", ".join(_in_words(right) for right in given if right.role == role) for role in rights.EVERYBODY]
        lines.append([f"`{given[0].schema}.{row['name'].replace('every function', '*')}`", *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _in_words(right: rights.Right) -> str:
    return WORDS[right.privilege] + (f" ({', '.join(right.columns)})" if right.columns else "")


def _least_roles() -> str:
    found = [(leaf.declaration, path) for path, leaf in commands.walk() if leaf.declaration]
    asked = [(declaration.role, path) for declaration, path in found if not declaration.offline]
    rows = [(role, [path for least, path in asked if least == role]) for role in command.RANKS]
    rows.append(("none: uses no database", [path for declaration, path in found if declaration.offline]))
    lines = [f"| {role} | {', '.join(f'`{path}`' for path in paths)} |" for role, paths in rows]
    return "\n".join(["| lowest role | commands |", "|---|---|", *lines])


def _contexts(path: str, context: Context) -> Iterator[tuple[str, Context]]:
    yield path, context
    node: Any = context.command
    if isinstance(node, core.TyperGroup):
        for name in node.list_commands(context):
            command: Any = node.get_command(context, name)
            yield from _contexts(f"{path} {name}", Context(command, context, name, terminal_width=WIDTH))


def _help(context: Context) -> str:
    return "\n".join(line.rstrip() for line in context.command.get_help(context).strip().splitlines())


def _safe(row: str) -> str:
    return row.replace("<", "&lt;")  # GitHub parses <word> as a tag


if __name__ == "__main__":
    for file, text in documents().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
