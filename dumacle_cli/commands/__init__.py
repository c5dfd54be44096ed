"""What is typed: the registry of groups, each imported only when it is used."""

import importlib
from collections.abc import Iterator
from typing import Any

from typer import core
from typer.main import get_command, get_group

from dumacle_cli.commands import usage
from dumacle_cli.commands.contract import Command, Group

REGISTRY: dict[str, tuple[str, str]] = {
    "demo": ("demo", "Show the whole product on this machine, in half a minute."),
    "auth": ("auth", "Log in and out; who one is, and where one is logged in."),
    "users": ("users", "Create, look at, change and remove users."),
    "pods": ("pods", "Storage pods: capacity, providers, grants."),
    "plans": ("plans", "What is sold: prices and limits."),
    "files": ("files", "Upload, list, link, download, move and remove files."),
    "transcode": ("transcode", "Turn uploaded video and sound into what players take."),
    "webhooks": ("webhooks", "Listen to Stripe; look at what it delivered."),
    "worker": ("worker", "Do what waits: transcodes, and what Stripe reported."),
    "key": ("key", "The key that credentials are encrypted with."),
    "audit": ("audit", "Who changed what, when and how; for superadmins."),
    "quotas": ("quotas", "Monthly limits and their counters."),
    "db": ("db", "The database: bootstrap, schema, seed, check."),
    "local": ("local", "The embedded PostgreSQL and S3 server on this machine."),
    "config": ("config", "Show and change settings."),
    "doctor": ("doctor", "Check everything Dumacle depends on, with a fix for each finding."),
    "schema": ("schema", "Print the JSON Schema of a command's output."),
    "completion": ("completion", "Shell completion for bash, zsh, fish and PowerShell."),
}


class Root(Group):
    """The program itself: knows the groups by name and imports one when it is used."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names in the order of the registry."""
        return list(REGISTRY)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Import the group or command of this name, or return None."""
        return load(cmd_name) if cmd_name in REGISTRY else None

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups, and what `main` answers before any of this is imported."""
        super().format_options(ctx, formatter)
        usage.write(formatter, "Options", [("-V, --version", "Say which version this is.")])

    def summaries(self) -> usage.Rows:
        """Return the registry's own summaries, so that help imports no group."""
        return [(name, about) for name, (_, about) in REGISTRY.items()]


def load(name: str) -> Any:
    """Import a group or a single command of the registry."""
    module = importlib.import_module(f"dumacle_cli.commands.{REGISTRY[name][0]}")
    app = module.app
    single = len(app.registered_commands) == 1 and not app.registered_groups and getattr(app, "path", None) == ""
    loaded: Any = get_command(app) if single else get_group(app)
    loaded.name = name
    return loaded


def root() -> Root:
    """Make the program's command tree; no group is imported yet."""
    about = "Administer storage pods for media, directly on PostgreSQL and S3-compatible storage."
    epilog = "Start with: dumacle demo"
    return Root(
        name="dumacle",
        help=about,
        epilog=epilog,
        commands=dict.fromkeys(REGISTRY),
        params=[],
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def walk() -> Iterator[tuple[str, Command]]:
    """Iterate over every leaf command with its path, importing them all."""
    for name in REGISTRY:
        yield from _leaves(name, load(name))


def _leaves(path: str, node: Any) -> Iterator[tuple[str, Command]]:
    if isinstance(node, core.TyperGroup):
        if alone := getattr(node, "alone", None):
            yield path, alone
        for name, child in node.commands.items():
            yield from _leaves(f"{path} {name}", child)
    else:
        yield path, node
