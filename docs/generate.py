"""Write what the program can say of itself: completions, .env.example, docs/commands.md and tables of the README.

Run it after a command, setting or exit status changed: python docs/generate.py
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer import core
from typer._click import Context

from dumacle_cli import commands, errors, settings
from dumacle_cli.commands import shells

TOP = Path(__file__).resolve().parent.parent
WIDTH = 100


def documents() -> dict[Path, str]:
    """Return every generated file with its whole text."""
    made = {TOP / "completions" / shell.file: shells.script(name) for name, shell in shells.SHELLS.items()}
    made[TOP / ".env.example"] = env_example()
    made[TOP / "docs" / "commands.md"] = reference()
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
    rows = [f"| `dumacle {path}` | {leaf.get_short_help_str(200)} |" for path, leaf in commands.walk()]
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
