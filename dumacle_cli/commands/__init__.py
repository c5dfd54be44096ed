"""What is typed: the groups of commands, each imported only when it is used."""

import importlib
from collections.abc import Iterator
from typing import Any

from dumacle_cli.commands import deferred, help
from dumacle_cli.commands.tree import Branch, Group, Leaf, node

GROUPS = {
    "demo": "Try the whole product on this machine, in half a minute.",
    "auth": "Log in and out, and manage your sessions.",
    "users": "Create, show, change and remove users.",
    "pods": "Manage storage pods: capacity, providers, grants.",
    "plans": "Manage plans: prices, limits, subscriptions.",
    "files": "Upload, list, share, download, move and remove files.",
    "transcode": "Transcode uploaded video and audio for playback.",
    "webhooks": "Receive webhooks from Stripe and inspect them.",
    "worker": "Run queued jobs: transcodes and Stripe updates.",
    "key": "Manage the key that encrypts credentials.",
    "audit": "Search the audit log: who changed what, and when.",
    "quotas": "Manage monthly limits and their counters.",
    "db": "Manage the database: create, upgrade, seed, check.",
    "local": "Manage the embedded PostgreSQL and S3 server on this machine.",
    "config": "Show and change settings.",
    "doctor": "Check everything Dumacle depends on, with a fix for each finding.",
    "schema": "Print the JSON Schema of a command's output.",
    "completion": "Install shell completion for bash, zsh, fish or PowerShell.",
}
"""The name of each module here that declares commands, with the summary of its group."""


class Root(Branch):
    """The program itself; its help imports no group."""

    def child(self, name: str) -> Any:
        """Import the group or command of this name."""
        return load(name)

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the groups, and the option that `main` answers before any of this is imported."""
        super().format_options(ctx, formatter)
        help.write(formatter, "Options", [("-V, --version", "Print the version.")])


def load(name: str) -> Leaf | Group:
    """Import a group or a single command."""
    with deferred.imports():
        module = importlib.import_module(f"dumacle_cli.commands.{name}")
    return node(module.app, GROUPS[name])


def root() -> Root:
    """Make the program; no group is imported yet."""
    return Root(
        GROUPS,
        name="dumacle",
        help="Administer storage pods for media, directly on PostgreSQL and S3-compatible storage.",
        epilog="Start with: dumacle demo",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )


def walk() -> Iterator[tuple[str, Leaf]]:
    """Yield every command with its path, importing them all."""
    for name in GROUPS:
        yield from _leaves(name, load(name))


def _leaves(path: str, found: Leaf | Group) -> Iterator[tuple[str, Leaf]]:
    if isinstance(found, Leaf):
        yield path, found
        return
    if own := found.own_command():
        yield path, own
    for name, child in found.children().items():
        yield from _leaves(f"{path} {name}", child)
