"""Write what the program can say of itself: completions, .env.example, docs/commands.md, docs/permissions.md,
docs/licences.md and tables of the README.

Run it after a command, setting or exit status changed: python docs/generate.py
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

from dumacle_cli import commands, errors, settings
from dumacle_cli.commands import command, shells
from dumacle_cli.store import rights, sql

TOP = Path(__file__).resolve().parent.parent
WIDTH = 100
COLUMNS = ("kind", "name", *rights.EVERYBODY)
WORDS = {"SELECT": "read", "INSERT": "add", "UPDATE": "change", "DELETE": "delete", "EXECUTE": "call"}
PERMISSIONS = """\
# Who may do what

This file is generated from `matrix.sql`, `policies.sql` and what each command declares. What that is good for, and what
it is not, stands in [security.md](security.md). `dumacle doctor rls` compares the rights with those in the database.

`superadmin`, `admin` and `enduser` are roles of people; `ingest`, `worker`, `listener` and `cron` are duties of
services. Each is a group in PostgreSQL; whoever logs in is in exactly one. What a row lacks here, PostgreSQL refuses
(42501, exit 5).

## Tables

Columns in brackets: these only; `(*)` is all but `created_at` and the numbers, which PostgreSQL gives. Which rows, the
[policies](#rows) say: an enduser meets only his own, an admin writes no user but endusers, and nobody changes the
record (`app.audit`), which triggers write.

{tables}

## Functions

A function that acts with its owner's rights asks first who calls it. What is not listed, only the owner calls.

{functions}

## Rows

Every table of `app` has row-level security. `app.actor()` is the user of `session_user`, which nobody can forge;
`app.sees_all()` holds for all but endusers.

```sql
{policies}
```

## Commands

Of a user with a lower role, PostgreSQL refuses the statements behind a command, or does not show whom or what it names:
both are told as `forbidden`. `files url` and `files download` need the keys to the bucket besides. A service does with
its login what its duty takes: `ingest` runs `files upload`, `worker` `worker`, `listener` `webhooks serve`, `cron` the
lines of [crontab](crontab).

{commands}
"""


def documents() -> dict[Path, str]:
    """Return every generated file with its whole text."""
    sys.path.insert(0, str(TOP / "docs"))
    import licences

    made = {TOP / "completions" / shell.file: shells.script(name) for name, shell in shells.SHELLS.items()}
    made[TOP / ".env.example"] = env_example()
    made[TOP / "docs" / "commands.md"] = reference()
    made[TOP / "docs" / "permissions.md"] = permissions()
    made[TOP / "docs" / "licences.md"] = licences.page()
    made[TOP / "README.md"] = readme((TOP / "README.md").read_text("utf-8"))
    return made


def readme(text: str) -> str:
    """Return the README with its generated blocks made anew."""
    blocks = {"commands": command_list(), "exit codes": exit_codes(), "settings": settings_table()}
    for name, block in blocks.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not pattern.search(text):
            raise SystemExit(f"README.md has no place for: {name}")
        text = pattern.sub(lambda found, block=block: f"{found[1]}\n{block}\n{found[2]}", text)  # type: ignore[misc]
    return text


def command_list() -> str:
    """Return a table of every command."""
    rows = [
        f"| `dumacle {path}` | {leaf.declaration.summary if leaf.declaration else ''} |"
        for path, leaf in commands.walk()
    ]
    return "\n".join(["| command | |", "|---|---|", *map(_safe, rows), ""])


def exit_codes() -> str:
    """Return a table of the exit statuses."""
    rows = [f"| {int(status)} | {meaning} |" for status, meaning in errors.MEANING.items()]
    return "\n".join(["| status | meaning |", "|---|---|", *rows, ""])


def settings_table() -> str:
    """Return a table of the settings with their environment names and defaults."""
    rows = []
    for name, field in settings.Settings.model_fields.items():
        variables = ", ".join(f"`{variable}`" for variable in settings.environment_names(name))
        default = "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `{name}` | {field.description} | {default} | {variables} |")
    return "\n".join(["| setting | | default | environment |", "|---|---|---|---|", *rows, ""])


def env_example() -> str:
    """Return a file of environment variables with every setting as a comment."""
    lines = ["# Every setting of Dumacle; take the # away from what you set. See also: dumacle config list"]
    for name, field in settings.Settings.model_fields.items():
        first, *others = settings.environment_names(name)
        also = f"; also {', '.join(others)}" if others else ""
        lines += ["", f"# {field.description}{also}", f"#{first}={'' if field.default is None else field.default}"]
    return "\n".join(lines) + "\n"


def reference() -> str:
    """Return the full help of the program, of every group and of every command."""
    root = commands.root()
    top = Context(root, info_name="dumacle", terminal_width=WIDTH, **root.context_settings)
    sections = [f"## {path}\n\n```text\n{_help(context)}\n```\n" for path, context in _contexts("dumacle", top)]
    return "# Commands\n\nThis file is generated; the program says the same under `--help`.\n\n" + "\n".join(sections)


def permissions() -> str:
    """Return who may do what: the matrix of rights as tables, the policies, and the least role of each command."""
    rows = matrix()
    return PERMISSIONS.format(
        tables=_table([row for row in rows if row["kind"] in ("table", "queue")]),
        functions=_table([row for row in rows if row["kind"] in ("function", "login")]),
        commands=_least_roles(),
        policies=sql.read("policies").strip(),
    )


def matrix() -> list[dict[str, str]]:
    """Return the rows of matrix.sql: kind, name, and what each role and duty may do with it."""
    values = re.search(r"\((VALUES\n.*)\) AS matrix", sql.read("matrix"), re.DOTALL)
    if values is None:
        raise SystemExit("matrix.sql has no VALUES")
    with closing(sqlite3.connect(":memory:")) as database:  # it reads VALUES as PostgreSQL does, and needs no server
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
    rows.append(("nobody is asked: no database", [path for declaration, path in found if declaration.offline]))
    lines = [f"| {who} | {', '.join(f'`{path}`' for path in paths)} |" for who, paths in rows]
    return "\n".join(["| from this role on | |", "|---|---|", *lines])


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
    return row.replace("<", "&lt;")  # GitHub takes <word> for a tag


if __name__ == "__main__":
    for file, text in documents().items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, "utf-8")
